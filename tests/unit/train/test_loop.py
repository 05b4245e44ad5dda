"""The step: independent of micro-batches, stops before damage, tells experts' load."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

import numpy as np
import pytest
import tiny_run
import torch

from yaongi.core.config import parse
from yaongi.core.errors import DataError, NumericsError
from yaongi.model.lm import LM, LMConfig
from yaongi.train.loop import LoopConfig, Step, accumulate, expert_load, train_steps
from yaongi.train.objectives import Sums, next_token
from yaongi.train.optim.adamw import AdamW
from yaongi.train.optim.muon import Muon
from yaongi.train.precision import Precision, choose_precision
from yaongi.train.schedule import WSD

CPU = torch.device("cpu")
FP32 = choose_precision("fp32", CPU)
CONSTANT = LoopConfig(schedule=WSD(warmup_fraction=0, decay_fraction=0))


@dataclass(frozen=True)
class Rows:
    ids: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    doc_ids: np.ndarray


class RandomBatches:
    """Rows of random tokens whose weights differ wildly between rows."""

    def __init__(self, rows: int = 6, length: int = 24) -> None:
        self.shape = (rows, length)

    def batch(self, step: int) -> Rows:
        draw = np.random.default_rng(step)
        ids = draw.integers(0, 512, self.shape)
        weights = (draw.random(self.shape) < np.linspace(0, 1, self.shape[0])[:, None]).astype("f4")
        doc_ids = np.sort(draw.integers(0, 3, self.shape), axis=1).astype("i4")
        return Rows(ids, np.roll(ids, -1, 1), weights, doc_ids)


def hybrid(seed: int = 0) -> LM:
    model = LM(parse(LMConfig, {**tiny_run.HYBRID, "init_std": 0.1}))
    model.init_weights(seed)
    return model


def off(precision: Precision = FP32) -> torch.amp.GradScaler:
    return torch.amp.GradScaler("cpu", enabled=precision.scaled)


def gradients(micro_batch: int | None, objective=next_token):
    model = hybrid()
    model.train()
    totals = accumulate(model, RandomBatches().batch(0), objective, micro_batch, FP32, off())
    return totals, [p.grad for p in model.parameters()]


@pytest.mark.parametrize("micro_batch", [1, 2, 4])
def test_loss_and_gradients_do_not_depend_on_the_micro_batch(micro_batch):
    whole, expected = gradients(None)
    parts, found = gradients(micro_batch)
    assert parts.loss == pytest.approx(whole.loss, rel=1e-6)
    for a, b in zip(found, expected, strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-7)
    for layer, counts in whole.counts.items():
        assert torch.equal(parts.counts[layer], counts)
    assert sum(int(c.sum()) for c in whole.counts.values()) == 6 * 24 * 2  # top_k = 2, one layer


def test_recomputing_activations_changes_nothing():
    plain, expected = gradients(2)
    recomputed, found = gradients(2, partial(next_token, checkpoint=True))
    assert recomputed.loss == plain.loss
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert all(torch.equal(recomputed.counts[k], plain.counts[k]) for k in plain.counts)


def run(model, steps, *, cfg=CONSTANT, precision=FP32, lr=0.01, **more):
    optimizer = AdamW(lr=lr).build(model)
    return train_steps(
        model, optimizer, RandomBatches(), next_token, cfg, steps=steps, precision=precision, **more
    )


def test_learns_and_reports():
    model = hybrid()
    steps = list(run(model, 12))
    assert [s.index for s in steps] == list(range(1, 13))
    assert steps[-1].last and not steps[-2].last
    load = {"expert_load_max", "experts_idle", "expert_load_max/3", "expert_entropy/3"}
    assert {"lr", "grad_norm", *load} <= set(steps[0].metrics)
    assert steps[0].tokens == 6 * 24
    assert all(s.seconds > 0 for s in steps)


def test_gradients_are_clipped_together():
    losses = {}
    for clip in (1e-6, 1e6):
        model = hybrid()
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        cfg = CONSTANT.model_copy(update={"clip": clip})
        before = [p.detach().clone() for p in model.parameters()]
        step = next(
            train_steps(model, optimizer, RandomBatches(), next_token, cfg, steps=1, precision=FP32)
        )
        moved = [
            (a.detach() - b).flatten() for a, b in zip(model.parameters(), before, strict=True)
        ]
        losses[clip] = (float(torch.cat(moved).norm()), step.metrics["grad_norm"])
    assert losses[1e-6][0] == pytest.approx(1e-6, rel=0.1)
    assert losses[1e6][0] == pytest.approx(losses[1e6][1], rel=1e-4)


@pytest.mark.parametrize("checkpoint", [False, True])
def test_router_bias_moves_once_per_step_by_the_counts_of_all_micro_batches(checkpoint):
    model = hybrid()
    before = model.layers[3].mixer.gate.e_score_correction_bias.clone()
    cfg = CONSTANT.model_copy(update={"micro_batch": 1})
    objective = partial(next_token, checkpoint=checkpoint)
    optimizer = AdamW().build(model)
    batches = RandomBatches()
    step = next(train_steps(model, optimizer, batches, objective, cfg, steps=1, precision=FP32))
    whole, _ = gradients(None)
    counts = whole.counts[3]
    assert {k: step.metrics[k] for k in expert_load(whole.counts)} == expert_load(whole.counts)
    rate = model.cfg.moe.bias_rate
    expected = before + rate * torch.sign(counts.float().mean() - counts)
    assert torch.allclose(model.layers[3].mixer.gate.e_score_correction_bias, expected)


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_number_that_is_not_finite_stops_before_the_step(where):
    def broken(model, batch, *, checkpoint=False):
        sums = next_token(model, batch)
        if where == "loss":
            return replace(sums, nll=sums.nll * float("nan"))
        p = model.norm_f.weight
        return Sums(sums.nll + (p - p).abs().sum().sqrt(), sums.aux)  # gradient of sqrt at 0

    model = hybrid()
    optimizer = AdamW().build(model)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    steps = train_steps(
        model,
        optimizer,
        RandomBatches(),
        broken,
        CONSTANT,
        steps=9,
        start=6,
        precision=FP32,
        last_good=lambda: "somewhere/step-6",
    )
    with pytest.raises(NumericsError) as caught:
        next(steps)
    message = str(caught.value)
    assert "Step 7" in message and "somewhere/step-6" in message
    assert ("loss nan" if where == "loss" else "norm nan") in message
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert caught.value.exit_code == 1


def test_fp16_overflow_skips_the_step_and_lowers_the_scale():
    precision = choose_precision("fp16", CPU)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
    model = hybrid()
    before = model.embeddings.weight.detach().clone()
    steps = run(model, 40, precision=precision, scaler=scaler)
    next(steps)
    assert torch.equal(model.embeddings.weight, before)
    assert scaler.get_scale() == 2.0**39
    list(islice(steps, 36))
    assert not torch.equal(model.embeddings.weight, before)


def test_fp16_that_never_recovers_is_an_error():
    def broken(model, batch, *, checkpoint=False):
        p = model.norm_f.weight
        sums = next_token(model, batch)
        return Sums(sums.nll + (p - p).abs().sum().sqrt(), sums.aux)

    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    model = hybrid()
    steps = train_steps(
        model,
        AdamW().build(model),
        RandomBatches(),
        broken,
        CONSTANT,
        steps=9,
        precision=choose_precision("fp16", CPU),
        scaler=scaler,
    )
    with pytest.raises(NumericsError):
        list(steps)


def test_bf16_is_close_to_fp32():
    fp32 = [s.loss for s in run(hybrid(), 3)]
    bf16 = [s.loss for s in run(hybrid(), 3, precision=choose_precision("bf16", CPU))]
    assert fp32 != bf16
    assert np.allclose(fp32, bf16, rtol=0.01)


def test_a_batch_without_anything_to_learn_is_refused():
    class Empty(RandomBatches):
        def batch(self, step):
            return replace(super().batch(step), weights=np.zeros(self.shape, "f4"))

    model = hybrid()
    with pytest.raises(DataError, match="no token to learn"):
        next(
            train_steps(
                model, AdamW().build(model), Empty(), next_token, CONSTANT, steps=1, precision=FP32
            )
        )


def test_due_counts_steps_and_the_last_is_always_due():
    def step(index):
        return Step(index, 10, 0.0, 1, 0.1, {}, RandomBatches().batch(0))

    assert [i for i in range(1, 11) if step(i).due(4)] == [4, 8, 10]
    assert [i for i in range(1, 11) if step(i).due(0)] == [10]


def test_expert_load_of_even_and_lopsided_layers():
    assert expert_load({}) == {}
    even, lopsided = torch.tensor([5, 5, 5, 5]), torch.tensor([0, 0, 10, 30])
    assert expert_load({1: even}) == {
        "expert_load_max": 1.0,
        "experts_idle": 0.0,
        "expert_load_max/1": 1.0,
        "expert_entropy/1": pytest.approx(1.0),
    }
    both = expert_load({1: even, 3: lopsided})
    assert (both["expert_load_max"], both["experts_idle"]) == (3.0, 0.25)
    assert (both["expert_load_max/1"], both["expert_load_max/3"]) == (1.0, 3.0)
    expected = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75)) / math.log(4)
    assert both["expert_entropy/3"] == pytest.approx(expected)
    assert expert_load({0: torch.tensor([0, 7])})["expert_entropy/0"] == 0
    assert expert_load({0: torch.tensor([7])})["expert_entropy/0"] == 1


def test_momentum_warms_up_with_the_learning_rate():
    model = hybrid()
    optimizer = Muon(momentum=0.95).build(model)
    cfg = LoopConfig(schedule=WSD(warmup_fraction=0.5, decay_fraction=0))
    steps = train_steps(model, optimizer, RandomBatches(), next_token, cfg, steps=4, precision=FP32)
    seen = [optimizer.param_groups[0]["warmup"] for _ in steps]
    assert seen == pytest.approx([min(1, (i + 1) / 3) for i in range(4)])


def test_the_schedule_sets_every_group():
    model = hybrid()
    optimizer = AdamW(lr=0.5).build(model)
    optimizer.param_groups[1]["lr"] = 0.1
    cfg = LoopConfig(schedule=WSD(warmup_fraction=0.5, decay_fraction=0))
    seen = [
        [g["lr"] for g in optimizer.param_groups]
        for _ in train_steps(
            model, optimizer, RandomBatches(), next_token, cfg, steps=4, precision=FP32
        )
    ]
    expected = [min(1, (i + 1) / 3) for i in range(4)]
    assert np.allclose(seen, [[0.5 * e, 0.1 * e] for e in expected])
