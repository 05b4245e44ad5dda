"""The router: selection, weights, counts, balancing."""

from __future__ import annotations

import pytest
import torch
from shapes import SETTINGS, model, tokens


def moe(**changes):
    return model("E", moe={**SETTINGS["moe"], **changes})


def routed(lm, ids):
    mixer, x = lm.mixers()[0], torch.randn(*ids.shape, lm.cfg.d_model)
    scores = mixer.gate(x)
    return scores, *mixer.gate.choose(scores)


@pytest.mark.parametrize("router", ["sigmoid", "softmax"])
def test_weights_are_the_scores_of_the_chosen(router):
    scores, chosen, weights = routed(moe(router=router, normalize=False, scale=1.0), tokens(2, 9))
    torch.testing.assert_close(weights, scores.gather(-1, chosen))
    scores, chosen, weights = routed(moe(router=router, scale=2.5), tokens(2, 9))
    torch.testing.assert_close(weights.sum(-1), torch.full((2, 9), 2.5))


def test_bias_selects_but_does_not_weigh():
    lm = moe(normalize=False, scale=1.0)
    lm.mixers()[0].gate.e_score_correction_bias[3] = 100.0
    scores, chosen, weights = routed(lm, tokens(2, 9))
    assert (chosen == 3).any(-1).all()
    torch.testing.assert_close(weights, scores.gather(-1, chosen))


def test_counts_are_the_tokens_sent_to_each_expert():
    lm = model("(*E)x2")
    counts = lm(tokens(3, 20)).aux.expert_counts
    assert sorted(counts) == [1, 3]
    assert all(c.sum() == 3 * 20 * 2 and c.shape == (5,) for c in counts.values())


def test_after_step_moves_each_bias_against_its_load():
    lm = moe(bias_rate=0.5)
    lm.after_step({0: torch.tensor([10, 0, 4, 4, 2])})
    bias = lm.mixers()[0].gate.e_score_correction_bias
    assert bias.tolist() == [-0.5, 0.5, 0.0, 0.0, 0.5]


def test_the_bias_levels_the_load():
    lm, ids = moe(bias_rate=0.02), tokens(4, 64)

    def spread():
        counts = lm(ids).aux.expert_counts
        lm.after_step(counts)
        return (counts[0].max() / counts[0].mean()).item()

    before = spread()
    after = min([spread() for _ in range(60)][-10:])  # sign steps keep it trembling
    assert before > 1.3
    assert after < 1.1


def test_the_bias_is_saved_and_stays_float32():
    lm = moe().to(torch.bfloat16)
    assert "layers.0.mixer.gate.e_score_correction_bias" in lm.state_dict()
    assert lm.mixers()[0].gate.e_score_correction_bias.dtype == torch.float32


def test_balance_loss_only_trains_and_is_the_same_for_any_split_of_rows():
    lm, ids = moe(balance=0.3), tokens(4, 16)
    whole = lm(ids).aux.loss
    parts = [lm(ids[i : i + 1]).aux.loss for i in range(4)]
    torch.testing.assert_close(whole, torch.stack(parts).mean())
    assert whole >= 0.3 * 0.9  # 1 when perfectly even
    assert lm.eval()(ids).aux.loss == 0


def test_balance_loss_grows_with_imbalance():
    lm, ids = moe(balance=1.0), tokens(4, 16)
    even = lm(ids).aux.loss
    with torch.no_grad():
        lm.mixers()[0].gate.weight.zero_()
    lm.mixers()[0].gate.e_score_correction_bias[:2] = 1.0  # everything to two experts
    torch.testing.assert_close(lm(ids).aux.loss, torch.tensor(1.0))  # p even: f cannot matter
    lm.mixers()[0].gate.e_score_correction_bias.zero_()
    assert even > 0.9


def test_no_shared_expert():
    lm = moe(d_shared=0)
    assert lm(tokens(1, 5)).hidden.shape == (1, 5, 22)
    assert not any("shared" in name for name, _ in lm.named_parameters())


def test_the_router_stays_in_float32_where_the_rest_is_narrow():
    lm, seen = moe(), []
    lm.mixers()[0].gate.register_forward_hook(lambda gate, args, out: seen.append((*args, out)))
    with torch.autocast("cpu", torch.bfloat16):
        lm(tokens(2, 9))
    (x, scores), weight = seen[0], lm.mixers()[0].gate.weight
    assert x.dtype == torch.bfloat16 and scores.dtype == torch.float32
    exact = (x.double() @ weight.double().T).sigmoid()
    torch.testing.assert_close(scores.double(), exact, rtol=0, atol=1e-6)
