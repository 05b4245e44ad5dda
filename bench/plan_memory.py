"""Is the memory ``yaongi plan`` promises the memory a step takes? Predicted beside measured.

Two real optimizer steps of a preset on random ids cut into documents; the second one, when the
optimizer's state is there, is recorded by torch's profiler, which sees every allocation of a
tensor. The peak is what was alive before plus the highest sum of what came and went.

    python bench/plan_memory.py 0.5b-a0.1b --rows 4 --seq-len 512 --out bench/results/plan.json
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from yaongi.core.artifact import git_commit, machine, versions
from yaongi.core.config import parse
from yaongi.core.files import write_json
from yaongi.model.layer import Workload
from yaongi.model.lm import LM
from yaongi.model.presets import preset
from yaongi.train.dryrun import RandomRows
from yaongi.train.loop import train_steps
from yaongi.train.memory import optimizer_memory, step_memory
from yaongi.train.objectives import next_token
from yaongi.train.optim.build import build_optimizer
from yaongi.train.precision import choose_precision
from yaongi.train.pretrain import PretrainConfig

CPU = torch.device("cpu")


def main() -> None:
    """Measure, print both, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("preset")
    parser.add_argument("--rows", type=int, default=4, help="of a micro-batch")
    parser.add_argument("--micro-batches", type=int, default=1)
    parser.add_argument("--seq-len", type=int, default=512)
    parser.add_argument("--optimizer", default="muon")
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument("--checkpoint", action="store_true", help="recompute activations")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    settings = {
        "model": preset(args.preset),
        "optimizer": args.optimizer,
        "precision": args.precision,
        "seq_len": args.seq_len,
        "micro_batch": args.rows,
        "batch_tokens": args.rows * args.micro_batches * args.seq_len,
        "checkpoint_activations": args.checkpoint,
        "steps": 2,
    }
    report = compare(parse(PretrainConfig, settings))
    for name, value in report.items():
        print(f"{name:20s} {value}")
    if args.out:
        facts = {"hardware": machine(), "versions": versions(), "git_commit": git_commit()}
        args.out.parent.mkdir(parents=True, exist_ok=True)
        write_json(args.out, {"command": sys.argv, **facts, **report})
    if abs(report["predicted_over_measured"] - 1) > 0.1:
        sys.exit("the estimate is more than 10 % off")


def compare(cfg: PretrainConfig) -> dict[str, Any]:
    """The plan's numbers for a step on this CPU, and the real ones."""
    width = 4 if cfg.precision == "fp32" else 2
    micro = cfg.micro_batch or cfg.batch_rows
    planned = step_memory(
        cfg.model,
        optimizer_memory(cfg.optimizer, cfg.model),
        Workload(micro, cfg.seq_len, width),
        micro_batches=-(-cfg.batch_rows // micro),
        checkpoint=cfg.checkpoint_activations,
    )
    start = time.perf_counter()
    measured = second_step_peak(cfg)
    fixed = planned.weights + planned.optimizer
    return {
        **vars(planned),
        "measured_peak": measured,
        "predicted_over_measured": planned.peak / measured,
        "besides_weights_and_optimizer": (planned.peak - fixed) / (measured - fixed),
        "seconds": time.perf_counter() - start,
    }


def second_step_peak(cfg: PretrainConfig) -> int:
    """Most bytes of tensors alive during the second step."""
    model = LM(cfg.model)
    optimizer = build_optimizer(cfg.optimizer, model)
    objective = partial(next_token, checkpoint=cfg.checkpoint_activations)
    precision = choose_precision(cfg.precision, CPU)
    steps = train_steps(
        model, optimizer, RandomRows(cfg), objective, cfg, steps=2, precision=precision
    )
    first = next(steps)
    del first
    gc.collect()
    alive = sum(t.nbytes for t in [*model.parameters(), *model.buffers()])
    alive += sum(t.nbytes for s in optimizer.state_dict()["state"].values() for t in s.values())
    return alive + peak_bytes(lambda: next(steps))


def peak_bytes(run: Callable[[], object]) -> int:
    """Highest sum of bytes allocated for tensors and not freed while ``run`` runs, CPU only."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        run()
    events: Any = recorded.profiler.kineto_results.events()  # type: ignore[union-attr]
    events = sorted((e for e in events if e.name() == "[memory]"), key=lambda e: e.start_ns())
    now = peak = 0
    for event in events:
        now += event.nbytes()
        peak = max(peak, now)
    return peak


if __name__ == "__main__":
    main()
