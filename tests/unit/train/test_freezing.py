"""Frozen rows and weights stay to the last bit, whatever the optimizer; the rest learns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tiny
import torch

from yaongi.core.config import parse
from yaongi.core.errors import ConfigError
from yaongi.data.batches import Batch
from yaongi.model.lm import LM
from yaongi.train.freezing import Freezing, Stage, stage_at
from yaongi.train.loop import LoopConfig, train_steps
from yaongi.train.objectives import next_token
from yaongi.train.optim.adamw import AdamW
from yaongi.train.optim.build import build_optimizer, parts_of
from yaongi.train.optim.muon import Muon
from yaongi.train.optim.teon import Teon
from yaongi.train.precision import choose_precision

NEW = slice(450, 500)  # of 512 rows: 12 are padding
OPTIMIZERS = {
    "adamw": AdamW(lr=0.02, weight_decay=0.5),
    "muon": Muon(lr=0.02, weight_decay=0.5),
    "teon": Teon(lr=0.02, weight_decay=0.5),
}
STAGES = [
    (["all"], {"embeddings": "all", "head": "all", "layers": "all"}),
    (["new-in"], {"embeddings": "new"}),
    (["new-out"], {"head": "new"}),
    (["new-in", "new-out"], {"embeddings": "new", "head": "new"}),
    (["new-in", "head"], {"embeddings": "new", "head": "all"}),
    (["layers"], {"layers": "all"}),
    (["embeddings"], {"embeddings": "all"}),
    (["all"], {"embeddings": "all", "head": "all", "layers": "all"}),
]
STEPS = 2  # per stage


class Batches:
    def batch(self, step: int) -> Batch:
        draw = np.random.default_rng(step)
        ids = draw.integers(0, 512, (4, 17))
        ones = np.ones((4, 16), dtype="f4")
        docs = np.zeros((4, 16), dtype="i4")
        return Batch(ids[:, :-1], ids[:, 1:], ones, docs, np.zeros(4, dtype=int))


def model(tied: bool, engram: bool = False) -> LM:
    found = tiny.lm("M*-E*-", engram=tiny.ENGRAM if engram else None)
    if tied:
        return found
    untied = LM(found.cfg.model_copy(update={"tied": False}))
    untied.init_weights(1)
    for memory in untied.engrams().values():
        torch.nn.init.normal_(memory.conv, generator=torch.Generator().manual_seed(0))
    return untied


def everything(lm: LM, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Copies of all weights and buffers, and of all tensors of the optimizer's state."""
    names = {p: name for name, p in lm.named_parameters()}
    found = {name: value.detach().clone() for name, value in lm.state_dict().items()}
    for part in parts_of(optimizer):
        for p, state in part.state.items():
            for key, value in state.items():
                if isinstance(value, torch.Tensor) and value.dim():
                    found[f"{names[p]} {key}"] = value.clone()
    return found


def rows_that_may_change(lm: LM, learning: dict[str, str], name: str, rows: int) -> torch.Tensor:
    weight = name.partition(" ")[0]
    parts = {"embeddings.weight": ["embeddings"], "lm_head.weight": ["head"]}.get(weight)
    if parts == ["embeddings"] and lm.lm_head is None:
        parts = ["embeddings", "head"]
    allowed = torch.zeros(rows, dtype=torch.bool)
    for part in parts or ["layers"]:
        if learning.get(part) == "all":
            allowed[:] = True
        elif learning.get(part) == "new":
            allowed[NEW] = True
    return allowed


@pytest.mark.parametrize("engram", [False, True], ids=["plain", "engram"])
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("kind", list(OPTIMIZERS))
def test_what_is_frozen_stays_to_the_last_bit(kind: str, tied: bool, engram: bool) -> None:
    """After a stage that trains everything, so momenta, moments and decay all pull at it."""
    lm = model(tied, engram)
    stages = [Stage(share=1 / len(STAGES), train=tuple(t)) for t, _ in STAGES]
    freezing = Freezing(lm, stages, NEW)
    optimizer = build_optimizer(OPTIMIZERS[kind], lm)
    freezing.attach(optimizer)
    cfg = LoopConfig(micro_batch=2)
    fp32 = choose_precision("fp32", torch.device("cpu"))
    steps = STEPS * len(STAGES)
    run = train_steps(
        lm, optimizer, Batches(), next_token, cfg, steps=steps, precision=fp32,
        prepare=freezing.prepare,
    )  # fmt: skip
    before = everything(lm, optimizer)
    for number, (_, learning) in enumerate(STAGES):
        for _ in range(STEPS):
            step = next(run)
            assert step.metrics["grad_norm"] > 0
        after = everything(lm, optimizer)
        changed = dict.fromkeys(["embeddings", "head", "layers"], False)
        for name, value in after.items():
            old = before.get(name)
            if old is None:
                assert number == 0, f"{name} appeared in stage {number}"
                continue
            moved = (value != old).reshape(len(value), -1).any(1)
            allowed = rows_that_may_change(lm, learning, name, len(value))
            assert not (moved & ~allowed).any(), f"stage {number}: {name} changed"
            if moved.any():
                at = {"embeddings.weight": "embeddings", "lm_head.weight": "head"}
                changed[at.get(name.partition(" ")[0], "layers")] = True
        if number:  # in the first stage the states only appeared
            expected = dict.fromkeys(changed, False) | dict.fromkeys(learning, True)
            if tied:
                expected["embeddings"] |= expected.pop("head")
                changed.pop("head")
            assert changed == expected, f"stage {number}"
        before = after


def test_the_gradient_of_frozen_rows_does_not_count_in_the_norm() -> None:
    """Else clipping would make the new rows learn less for what does not learn at all."""
    norms = {}
    for train in (["new-in", "new-out"], ["all"]):
        lm = model(tied=True)
        freezing = Freezing(lm, [Stage(share=1, train=tuple(train))], NEW)
        optimizer = build_optimizer(AdamW(), lm)
        freezing.attach(optimizer)
        fp32 = choose_precision("fp32", torch.device("cpu"))
        run = train_steps(
            lm, optimizer, Batches(), next_token, LoopConfig(), steps=1, precision=fp32,
            prepare=freezing.prepare,
        )  # fmt: skip
        norms[train[0]] = next(run).metrics["grad_norm"]
    assert 0 < norms["new-in"] < norms["all"] / 2


def test_released_everything_learns_again_and_nothing_is_hooked() -> None:
    lm = model(tied=False)
    freezing = Freezing(lm, [Stage(share=1, train=("new-in",))], NEW)
    freezing.prepare(0, 10)
    assert [n for n, p in lm.named_parameters() if p.requires_grad] == ["embeddings.weight"]
    freezing.release()
    assert all(p.requires_grad for p in lm.parameters())
    hooks: Any = lm.embeddings.weight._post_accumulate_grad_hooks
    assert not hooks
    freezing.prepare(0, 10)  # the same stage again, after an optimizer was built
    assert sum(p.requires_grad for p in lm.parameters()) == 1


@pytest.mark.parametrize(
    ("step", "steps", "expected"),
    [(0, 100, 0), (9, 100, 0), (10, 100, 1), (29, 100, 1), (30, 100, 2), (99, 100, 2),
     (0, 3, 1), (2, 3, 2)],
)  # fmt: skip
def test_the_stage_of_a_step(step: int, steps: int, expected: int) -> None:
    stages = [Stage(share=s, train=("all",)) for s in (0.1, 0.2, 0.7)]
    assert stage_at(stages, step, steps) == expected


def test_new_rows_without_a_new_vocabulary_are_refused() -> None:
    with pytest.raises(ConfigError, match="trains 'new-in', but no tokens are new"):
        Freezing(model(tied=True), [Stage(share=1, train=("new-in", "layers"))])


def test_an_unknown_part_is_refused() -> None:
    with pytest.raises(ConfigError, match="must be one of"):
        parse(Stage, {"share": 1, "train": ["new"]})
