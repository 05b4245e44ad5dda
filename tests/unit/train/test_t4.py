"""A T4 (compute capability 7.5): no bfloat16, no Triton, no grouped products; every op still runs.

Capabilities are pretended; what is then chosen is run on the CPU, in float16 with a loss scaler.
"""

from __future__ import annotations

import kernel_stand_ins
import numpy as np
import pytest
import shapes
import torch

from yaongi.core.install import install_command
from yaongi.data.batches import Batch
from yaongi.model.layer import OPS
from yaongi.train.loop import LoopConfig, train_steps
from yaongi.train.objectives import next_token
from yaongi.train.optim.muon import Muon
from yaongi.train.precision import Precision, choose_precision, fast_matmul_dtype

T4 = torch.device("cuda")
NEEDS_SM80 = {"mamba_ssm", "fla", "grouped"}


@pytest.fixture
def t4(monkeypatch):
    """A T4 with all optional kernels installed."""
    kernel_stand_ins.install(monkeypatch)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    fast_matmul_dtype.cache_clear()
    yield
    fast_matmul_dtype.cache_clear()


def picked() -> dict[str, str]:
    return {op.name: next(r.backend for r in op.explain(T4) if r.chosen) for op in OPS}


def test_every_op_has_a_backend_that_runs_there(t4):
    chosen = picked()
    assert set(chosen) == {op.name for op in OPS}
    assert not NEEDS_SM80 & set(chosen.values())
    assert chosen["conv1d"] == "taps"  # causal_conv1d would run there too, when it is named
    reasons = {row.backend: row.reason for op in OPS for row in op.explain(T4)}
    for name in NEEDS_SM80:
        assert reasons[name] == "it needs compute capability 8.0, this GPU has 7.5"


def test_it_needs_no_optional_package(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    reasons = {row.backend: row.reason for op in OPS for row in op.explain(T4)}
    assert install_command("gpu", "--no-build-isolation") in (reasons["causal_conv1d"] or "")
    assert picked()["conv1d"] == "taps"


def test_it_trains_in_float16_with_a_scaler_and_orthogonalises_in_float32(t4):
    chosen = choose_precision("auto", T4)
    assert (chosen.name, chosen.scaled) == ("fp16", True)
    assert fast_matmul_dtype(T4) == torch.float32


class Repeats:
    """The same three packed rows again and again."""

    def batch(self, step: int) -> Batch:
        ids = shapes.tokens(3, 33).numpy()
        docs = np.tile(np.repeat([0, 1], 16), (3, 1)).astype(np.int32)
        weights = np.ones((3, 32), np.float32)
        return Batch(ids[:, :-1], ids[:, 1:], weights, docs, np.zeros(3, np.int64))


def test_the_chosen_backends_learn_in_float16(t4):
    names = picked()
    model = shapes.model("ME*-", init_std=0.1)
    model.kernels = type(model.kernels)(
        **{op.name: next(b.run for b in op.backends if b.name == names[op.name]) for op in OPS}
    )
    steps = train_steps(
        model, Muon(lr=0.02).build(model), Repeats(), next_token, LoopConfig(), steps=12,
        precision=Precision("fp16", torch.device("cpu"), "as on a T4"),
    )  # fmt: skip
    losses = [step.loss for step in steps]
    assert all(np.isfinite(losses)) and losses[-1] < losses[0] - 0.5
