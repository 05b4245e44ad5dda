"""The memory a step is said to take, beside steps that were taken."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from tiny_run import HYBRID

from yaongi.core.config import parse
from yaongi.model.layer import Workload
from yaongi.model.lm import LM, LMConfig
from yaongi.train.dryrun import RandomRows
from yaongi.train.loop import train_steps
from yaongi.train.memory import OptimizerMemory, optimizer_memory, step_memory
from yaongi.train.objectives import next_token
from yaongi.train.optim.build import build_optimizer
from yaongi.train.precision import choose_precision
from yaongi.train.pretrain import PretrainConfig

ENGRAM = {"engram": {"layers": [1], "head_dim": 8, "rows": 211}}
WIDE: dict[str, Any] = {
    "vocab_size": 512,
    "d_model": 128,
    "pattern": "MEM*-E*",
    "attention": {"n_heads": 8, "n_kv_heads": 2, "head_dim": 32, "rope_theta": 1e4},
    "mamba": {"n_heads": 8, "head_dim": 32, "n_groups": 2, "d_state": 48},
    "mlp": {"d_ff": 320, "activation": "swiglu"},
    "moe": {"n_experts": 8, "top_k": 3, "d_ff": 96, "d_shared": 160},
    "engram": {"layers": [2], "head_dim": 16, "rows": 900},
}


def config(model: dict[str, Any], optimizer: str, **changes: Any) -> PretrainConfig:
    settings = {"model": model, "optimizer": optimizer, "seq_len": 64, "batch_tokens": 128}
    return parse(PretrainConfig, {**settings, "steps": 2, "precision": "fp32", **changes})


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    """The benchmark that asks this of models of a gigabyte and more."""
    path = Path(__file__).parents[3] / "bench" / "plan_memory.py"
    spec = importlib.util.spec_from_file_location("plan_memory", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "how",
    [
        {"optimizer": "teon"},
        {"optimizer": "muon", "micro_batches": 2},
        {"optimizer": "adamw", "precision": "bf16"},
        {"optimizer": "adamw", "checkpoint_activations": True},
    ],
    ids=str,
)
def test_the_peak_of_a_real_step(bench: ModuleType, how: dict[str, Any]) -> None:
    how, rows, length = dict(how), 4, 192
    batch_tokens = rows * length * how.pop("micro_batches", 1)
    sizes = {"seq_len": length, "micro_batch": rows, "batch_tokens": batch_tokens}
    found = bench.compare(config(WIDE, how.pop("optimizer"), **sizes, **how))
    assert found["predicted_over_measured"] == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("optimizer", ["adamw", "muon", "teon"])
def test_the_optimizers_state_to_the_byte(optimizer: str) -> None:
    model = {**HYBRID, **ENGRAM, "pattern": "M-*E*"}
    cfg = config(model, optimizer)
    said = optimizer_memory(cfg.optimizer, cfg.model)
    lm = LM(cfg.model)
    real = build_optimizer(cfg.optimizer, lm)
    cpu = choose_precision("fp32", torch.device("cpu"))
    next(train_steps(lm, real, RandomRows(cfg), next_token, cfg, steps=1, precision=cpu))
    states = real.state_dict()["state"].values()
    assert said.state == sum(t.nbytes for s in states for t in s.values())
    table = lm.engrams()[1].table.weight
    assert said.tables == 2 * table.nbytes + 4 * len(table)


def shape(**changes: Any) -> LMConfig:
    return LMConfig.model_validate({**WIDE, **changes})


def test_more_rows_take_more_and_recomputing_takes_less() -> None:
    state = OptimizerMemory(1000, 100)

    def peak(rows: int, checkpoint: bool = False) -> int:
        return step_memory(shape(), state, Workload(rows, 256), checkpoint=checkpoint).peak

    assert peak(1) < peak(4) < peak(16)
    assert peak(16, checkpoint=True) < 0.6 * peak(16)


def test_tables_on_the_host_are_not_on_the_device() -> None:
    cfg, state = shape(), OptimizerMemory(5_000_000, 0, tables=4_000_000)
    here = step_memory(cfg, state, Workload(2, 64))
    there = step_memory(cfg, state, Workload(2, 64), tables_on_host=True)
    assert here.weights == there.weights and here.host == 0
    assert there.host > state.tables
    assert there.peak < here.peak - state.tables


def test_gradients_of_all_micro_batches_wait_for_the_last() -> None:
    cfg, state = shape(engram=None), OptimizerMemory(0, 0)
    once = step_memory(cfg, state, Workload(8, 256))
    often = step_memory(cfg, state, Workload(8, 256), micro_batches=4)
    assert once.peak < often.peak <= once.peak + once.gradients
