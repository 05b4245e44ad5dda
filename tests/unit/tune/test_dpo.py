"""DPO as a stage: what it compares, what it logs, that it resumes and refuses."""

import pytest
import tiny
import tiny_pairs
import torch

import yaongi
from yaongi.core.artifact import open_artifact
from yaongi.core.config import parse
from yaongi.core.errors import ArtifactError, ConfigError, DataError
from yaongi.core.runlog import read_metrics
from yaongi.core.seeds import Seed
from yaongi.data.pair_batches import PackedPairs
from yaongi.model.io import load_model
from yaongi.train.objectives import to_device
from yaongi.tune.dpo import DPOConfig, dpo, preference
from yaongi.tune.pairs import answers_of, evaluate_pairs
from yaongi.tune.preference_losses import DPO, SimPO
from yaongi.tune.reference import live_reference, no_reference


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return tiny_pairs.road(tmp_path_factory.mktemp("road"))


def config(**changes):
    given = {**tiny_pairs.SETTINGS, **changes}
    return parse(DPOConfig, {k: v for k, v in given.items() if v is not None})


def packed(made, **changes):
    return PackedPairs(
        made["pairs"], **{"batch_rows": 4, "seq_len": 96, "seed": Seed(0), **changes}
    )


def alone(model, ids, weights):
    """Log-probability of an answer, its conversation in a row of its own."""
    ids = torch.as_tensor(ids)[None]
    with torch.no_grad():
        logits = model.logits(model(ids).hidden).float().log_softmax(-1)
    found = logits[0, :-1].gather(1, ids[0, 1:, None])[:, 0]
    return float(found[torch.as_tensor(weights.copy())[1:] > 0].sum())


def test_packed_log_probs_equal_each_conversation_alone(made):
    model, pairs = tiny.lm(seed=4), packed(made)
    table = {}
    for batch in pairs.in_order():
        part = to_device(batch, 0, len(batch.ids), model.device)
        answers = answers_of(part)
        found = live_reference(model)(part, answers)
        table |= dict(zip(answers.pairs.tolist(), found.reshape(-1, 2).tolist(), strict=True))
    assert sorted(table) == list(range(len(pairs)))
    shard = pairs._shards[0]
    for p in (0, 7, len(pairs) - 1):
        for side in (0, 1):
            where = slice(*shard.offsets[2 * p + side : 2 * p + side + 2])
            expected = alone(model, shard.tokens[where].astype("int64"), shard.mask[where])
            assert table[p][side] == pytest.approx(expected, rel=1e-4, abs=1e-3)


def test_the_loss_does_not_depend_on_the_micro_batch(made, tmp_path):
    runs = [
        dpo(config(steps=2, micro_batch=n), made["base"], made["pairs"], tmp_path / str(n))
        for n in (1, 4)
    ]
    one, four = ([row for row in read_metrics(run.path) if row["step"]] for run in runs)
    for a, b in zip(one, four, strict=True):
        for name in ("loss", "margin", "accuracy", "log_prob_chosen", "tokens_rejected"):
            assert a[name] == pytest.approx(b[name], rel=1e-4, abs=1e-5)


def test_tuning_prefers_the_chosen_answers_on_held_out_pairs(made, tmp_path):
    done = dpo(config(steps=25), made["base"], made["pairs"], tmp_path / "dpo", seed=1)
    first, *_, last = [row for row in read_metrics(done.path) if "val_accuracy" in row]
    assert first["val_margin"] == pytest.approx(0, abs=1e-4)  # the model is its reference
    assert first["val_loss"] == pytest.approx(0.6931, abs=1e-3)
    assert last["val_accuracy"] > 0.9 and last["val_margin"] > 0.5
    assert last["val_loss"] < 0.5
    assert done.manifest.metrics["val_accuracy"] == last["val_accuracy"]
    assert yaongi.load(done.path).context_len == 96


def test_lengths_and_rewards_are_logged_for_both_splits(made, tmp_path):
    done = dpo(config(steps=2, eval_every=1), made["base"], made["pairs"], tmp_path / "dpo")
    row = read_metrics(done.path)[-1]
    names = ("reward_chosen", "reward_rejected", "margin", "accuracy", "log_prob_chosen",
             "log_prob_rejected", "tokens_chosen", "tokens_rejected")  # fmt: skip
    for name in names:
        assert name in row and f"val_{name}" in row
    assert row["margin"] == pytest.approx(row["reward_chosen"] - row["reward_rejected"], abs=1e-5)
    pairs = done.manifest.counts["pairs"]
    assert pairs["pairs"] + done.manifest.counts["val_pairs"]["pairs"] == 40
    assert pairs["chosen_tokens"] > 0 and 0 < pairs["chosen_longer"] < 1
    assert [p.kind for p in done.manifest.parents] == ["base", "pairs"]
    assert not (done.path / "checkpoints").exists()


def test_a_precomputed_reference_is_the_live_one(made, tmp_path):
    runs = [
        dpo(config(steps=3, reference=how), made["base"], made["pairs"], tmp_path / how)
        for how in ("precomputed", "live")
    ]
    a, b = (load_model(run.path).state_dict() for run in runs)
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-4, atol=1e-5)


def test_a_reference_is_computed_once(made, tmp_path, monkeypatch):
    class Stop(Exception):
        pass

    def stop(step):
        raise Stop

    asked = []
    from yaongi.tune import reference

    real = reference.log_prob_table
    monkeypatch.setattr(
        reference, "log_prob_table", lambda *args: asked.append(args) or real(*args)
    )
    for _ in range(2):
        with pytest.raises(Stop):
            dpo(config(), made["base"], made["pairs"], tmp_path / "dpo", on_step=stop)
    assert len(asked) == 2  # of the training and of the held-out pairs, not once more on resuming


def test_an_interrupted_run_continues_bit_for_bit(made, tmp_path):
    whole = dpo(config(), made["base"], made["pairs"], tmp_path / "whole")

    class Stop(Exception):
        pass

    def stop_at_four(step):
        if step.index == 4:
            raise Stop

    cfg = config(save_s=0)
    with pytest.raises(Stop):
        dpo(cfg, made["base"], made["pairs"], tmp_path / "cut", on_step=stop_at_four)
    resumed = dpo(cfg, made["base"], made["pairs"], tmp_path / "cut")
    a, b = (load_model(x.path).state_dict() for x in (whole, resumed))
    assert all(torch.equal(a[k], b[k]) for k in a)
    losses = [[r["loss"] for r in read_metrics(x.path) if r["step"]] for x in (whole, resumed)]
    assert losses[0] == losses[1]
    again = dpo(cfg, made["base"], made["pairs"], tmp_path / "cut")
    assert again.manifest.created == resumed.manifest.created


@pytest.mark.parametrize("loss", ["ipo", "simpo", "orpo"])
def test_the_other_losses_learn_too(made, tmp_path, loss):
    done = dpo(config(steps=12, loss=loss), made["base"], made["pairs"], tmp_path / "out")
    rows = [row for row in read_metrics(done.path) if "val_accuracy" in row]
    assert rows[-1]["val_loss"] < rows[0]["val_loss"]
    assert rows[-1]["val_margin"] > rows[0]["val_margin"]


def test_losses_without_a_reference_ask_for_none(made, tmp_path, monkeypatch):
    monkeypatch.setattr("yaongi.tune.reference.log_prob_table", None)  # calling it would fail
    dpo(config(steps=1, loss="simpo"), made["base"], made["pairs"], tmp_path / "out")


def test_a_model_is_measured_on_every_pair_once(made):
    model, pairs = tiny.lm(std=0.02), packed(made)
    found = evaluate_pairs(model, pairs, preference(SimPO(), no_reference))
    assert found["tokens_chosen"] == pytest.approx(pairs.report.chosen_tokens)
    assert 0 <= found["accuracy"] <= 1
    same = evaluate_pairs(model, pairs, preference(DPO(), live_reference(model)))
    assert same["accuracy"] == 0.5 and same["loss"] == pytest.approx(0.6931, abs=1e-3)


def test_pairs_of_another_tokenizer_are_refused(made, tmp_path):
    other = tiny_pairs.road(tmp_path / "other", tiny_pairs.rows(12))
    with pytest.raises(DataError, match=r"encoded with the tokenizer .* learnt with"):
        dpo(config(), made["base"], other["pairs"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_text_instead_of_pairs_is_refused(made, tmp_path):
    with pytest.raises(ArtifactError, match="'base' artifact; expected 'pairs'"):
        dpo(config(), made["base"], made["base"], tmp_path / "out")


def test_a_row_must_hold_both_answers():
    with pytest.raises(ConfigError, match=r"multiple of twice seq_len.* 1024"):
        parse(DPOConfig, {"seq_len": 512, "batch_tokens": 512})


def test_the_budget_in_epochs(made):
    pairs = packed(made)
    assert config(steps=None).steps_of(pairs) == -(-pairs.rows_per_epoch // 4)
    assert config(steps=None, epochs=3).steps_of(pairs) == -(-3 * pairs.rows_per_epoch // 4)


def test_without_held_out_pairs_nothing_is_validated(tmp_path):
    made = tiny_pairs.road(tmp_path, tiny_pairs.rows(9), val_fraction=0)
    done = dpo(config(steps=2), made["base"], made["pairs"], tmp_path / "dpo")
    assert [row["step"] for row in read_metrics(done.path)] == [1, 2]
    assert done.manifest.counts["val_pairs"] is None
    assert "val_loss" not in done.manifest.metrics


def test_tuning_goes_on_from_a_tuned_model(made, tmp_path):
    done = dpo(config(steps=1), made["base"], made["pairs"], tmp_path / "one")
    again = dpo(config(steps=1), done, made["pairs"], tmp_path / "two")
    assert open_artifact(again.path).manifest.parents[0].kind == "dpo"
