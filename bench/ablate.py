"""Small studies on real text: which optimizer, which memory, which architecture.

Every arm gets the same text in the same order, its own learning rate (swept on one seed) and three
seeds. A finished run is one JSON file named by the hash of its settings, so a study that was
stopped, or shares an arm with another, never trains anything twice.

    python bench/ablate.py --budget                      # the plan and its hours; trains nothing
    python bench/ablate.py [--studies optimizer engram] [--tokens 800K] [--cpu-hours 6]

Text comes from a recipe's ``data`` section (below $YAONGI_DATA); results: bench/results/ablate.
"""

from __future__ import annotations

import argparse
import math
import shutil
import statistics
import sys
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cache, cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from ablate_plan import Arm, Look, Result, Run, Study, missing, runs_of
from ablate_report import figure, markdown
from ledger import Ledger

from yaongi.cli.recipe import make_recipe
from yaongi.cli.road import Road
from yaongi.core.artifact import Artifact, git_commit, machine, versions
from yaongi.core.config import load_recipe, parse
from yaongi.core.errors import ConfigError, NumericsError, YaongiError
from yaongi.core.files import read_json, sha256_json, write_bytes, write_json
from yaongi.core.runlog import read_metrics
from yaongi.core.units import human_time
from yaongi.evals.run import bpb_probes
from yaongi.model.count import count
from yaongi.model.lm import LM, LMConfig
from yaongi.ops.backend import choose_device
from yaongi.train.dryrun import RandomRows
from yaongi.train.loop import train_steps
from yaongi.train.objectives import next_token
from yaongi.train.optim.build import build_optimizer
from yaongi.train.precision import choose_precision
from yaongi.train.pretrain import PretrainConfig, pretrain

ROOT = Path(__file__).parents[1]
MOST_TOKENS = 3_000_000
MOST_ROWS = 1 << 20  # of an Engram table
HEAD_DIM = 12  # two orders of eight heads read as many numbers as the model is wide
EVALUATIONS, EVAL_TOKENS = 5, 15_000
"""Per run, and held-out tokens per domain at each."""

# What is compared ----------------------------------------------------------------------------

DENSE: dict[str, Any] = {
    "vocab_size": 8192,
    "d_model": 192,
    "pattern": "(*-)x8",
    "attention": {"n_heads": 6, "n_kv_heads": 2, "head_dim": 32, "rope_theta": 10_000.0},
    "mlp": {"d_ff": 512, "activation": "swiglu"},
}
HYBRID: dict[str, Any] = {  # as many active parameters as DENSE
    "vocab_size": 8192,
    "d_model": 192,
    "pattern": "MEM*EMEM*E",
    "mamba": {"n_heads": 6, "head_dim": 64, "n_groups": 1, "d_state": 64},
    "attention": {"n_heads": 6, "n_kv_heads": 2, "head_dim": 32},
    "moe": {"n_experts": 16, "top_k": 4, "d_ff": 192, "d_shared": 512, "scale": 2.5},
}


@cache
def with_engram(*layers: int) -> dict[str, Any]:
    """HYBRID with a quarter of its idle experts' weights in tables instead, as many in all.

    A quarter is what arXiv:2601.07372 found best for the memory.
    """
    moe = HYBRID["moe"]
    fewer = moe["n_experts"] - (moe["n_experts"] - moe["top_k"]) // 4

    def sized(rows: int) -> dict[str, Any]:
        engram = {"layers": list(layers), "head_dim": HEAD_DIM, "rows": rows}
        return {**HYBRID, "moe": {**moe, "n_experts": fewer}, "engram": engram}

    too_many = bisect_left(
        range(1, MOST_ROWS), True, key=lambda rows: total(sized(rows)) > total(HYBRID)
    )
    return sized(too_many)  # an index from 1 on, so the last number of rows that fits


MODELS: dict[str, Callable[[], dict[str, Any]]] = {
    "dense": lambda: DENSE,
    "hybrid": lambda: HYBRID,
    "engram 2": lambda: with_engram(2),
    "engram 2 7": lambda: with_engram(2, 7),
}
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "adamw": {"kind": "adamw"},
    "muon": {"kind": "muon"},
    "teon": {"kind": "teon"},
}
STUDIES = {
    "optimizer": Study(
        "AdamW, Muon or TEON, on a dense model?",
        {name: Arm("dense", name.lower()) for name in ("AdamW", "Muon", "TEON")},
        halves=("Muon", "TEON"),
    ),
    "hybrid": Study(
        "Dense or hybrid, at equal active parameters and tokens?",
        {"dense": Arm("dense", "muon"), "hybrid": Arm("hybrid", "muon")},
    ),
    "engram": Study(
        "Experts or Engram tables, at equal total parameters?",
        {
            "no Engram": Arm("hybrid", "muon"),
            "Engram [2]": Arm("engram 2", "muon"),
            "Engram [2, 7]": Arm("engram 2 7", "muon"),
        },
    ),
    "optimizer-hybrid": Study(
        "AdamW, Muon or TEON, on a hybrid?",
        {name: Arm("hybrid", name.lower()) for name in ("AdamW", "Muon", "TEON")},
        halves=("Muon", "TEON"),
    ),
}
TRAINING: dict[str, Any] = {
    "batch_tokens": 4096,
    "seq_len": 256,
    "schedule": {"kind": "wsd", "warmup_fraction": 0.05, "decay_fraction": 0.4},
    "log_every": 1,
    "compile": "off",
    "keep": 1,
    "save_s": "60s",
}

# Running it ----------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> int:
    """Plan, train what is missing, write tables and curves."""
    args = _arguments().parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    try:
        tokens = _tokens(args.tokens)
        lab = Lab(args.recipe, tokens, args.out, args.work)
        chosen = {name: STUDIES[name] for name in args.studies}
        hours = print_plan(lab, chosen)
        if args.budget:
            return 0
        if args.time_steps:
            lab.time_steps(arms_of(chosen))
            write_report(chosen, lab.look, args.out)
            return 0
        _check_budget(hours, args.cpu_hours, tokens)
        try:
            run_all(lab, list(chosen.values()), args.cpu_hours)
        finally:
            write_report(chosen, lab.look, args.out)
    except KeyboardInterrupt:
        print("\nStopped. Run the same command again to go on from here.")
        return 130
    except YaongiError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Small studies on real text.")
    parser.add_argument("--studies", nargs="+", choices=list(STUDIES), default=list(STUDIES))
    parser.add_argument("--tokens", default="800K", help="of a whole run, at most 3M")
    parser.add_argument("--cpu-hours", type=float, default=6.0, help="for all runs in --out")
    parser.add_argument("--budget", action="store_true", help="show plan and hours, then stop")
    parser.add_argument("--time-steps", action="store_true",
                        help="only time the arms' steps, one after another: for a quiet machine, "
                        "where runs went side by side")  # fmt: skip
    parser.add_argument("--threads", type=int, help="CPU threads; torch's choice by default")
    parser.add_argument("--recipe", type=Path, default=ROOT / "recipes/korean-small.yaml")
    parser.add_argument("--out", type=Path, default=ROOT / "bench/results/ablate")
    parser.add_argument("--work", type=Path, default=ROOT / "runs/ablate", help="data, checkpoints")
    return parser


def _tokens(text: str) -> int:
    """``--tokens`` as a number."""
    tokens = parse(PretrainConfig, {"model": DENSE, "tokens": text}).tokens or 0
    if tokens > MOST_TOKENS:
        raise ConfigError("--tokens {tokens} is more than {most}.", tokens=text, most=MOST_TOKENS)
    return tokens


def _check_budget(hours: float, allowed: float, tokens: int) -> None:
    if hours > allowed:
        raise ConfigError(
            "The runs need about {hours:.1f} CPU-hours, and --cpu-hours allows {allowed:.1f}. Use "
            "--tokens {fits}, fewer --studies, or more --cpu-hours.",
            hours=hours,
            allowed=allowed,
            fits=int(tokens * allowed / hours),
        )


class Lab:
    """The text all runs read, and the folder where each is kept once it is finished.

    Args:
        tokens: of a whole run.
        out: gets ``runs/<hash>.json``; work: gets data and what an unfinished run needs.
    """

    def __init__(self, recipe: Path, tokens: int, out: Path, work: Path) -> None:
        self.tokens, self.runs, self.work = tokens, out / "runs", work
        self.ledger, self.quiet = Ledger(out / "cpu.jsonl"), out / "step_s.json"
        self.runs.mkdir(parents=True, exist_ok=True)
        settings = load_recipe(recipe)
        model = MODELS["dense"]()
        words = {**settings.get("tokenizer", {}), "vocab_size": model["vocab_size"]}
        training = {"model": model, "tokens": tokens}
        changes = {"name": "ablate", "tokenizer": words, "pretrain": training, "sft": None}
        self.road = Road(make_recipe({**settings, **changes}), work)
        self._trials: dict[Arm, tuple[float, int]] = {}

    @cached_property
    def shards(self) -> Artifact:
        """The recipe's text as tokens."""
        return self.road.shards

    def settings(self, run: Run) -> dict[str, Any]:
        """The settings of ``PretrainConfig`` for a run."""
        tokens = round(self.tokens * run.share)
        steps = math.ceil(tokens / TRAINING["batch_tokens"])
        return {
            **TRAINING,
            "model": MODELS[run.arm.model](),
            "optimizer": {**OPTIMIZERS[run.arm.optimizer], "lr": run.lr},
            "steps": steps,
            "eval_every": max(1, steps // EVALUATIONS),
        }

    def key(self, run: Run) -> str:
        """What a run is known by: its settings, its seed and its text."""
        text = {"shards": self.shards.hash, "mix": self.road.recipe.mix, "eval": EVAL_TOKENS}
        return sha256_json({"settings": self.settings(run), "seed": run.seed, **text})[:16]

    def look(self, run: Run) -> Result | None:
        """The result of a run if it is finished; with the quiet machine's step time if known."""
        path = self.runs / f"{self.key(run)}.json"
        if not path.is_file():
            return None
        result = read_json(path)["result"]
        if self.quiet.is_file():
            result["step_s"] = read_json(self.quiet).get(" ".join(run.arm), result["step_s"])
        return Result(**result)

    def time_steps(self, arms: Sequence[Arm], steps: int = 20) -> None:
        """Keep the median wall time of each arm's step, the arms in turn."""
        times: dict[str, list[float]] = {" ".join(arm): [] for arm in arms}
        for arm in [*arms, *reversed(arms)]:  # twice, so that a slow minute hits no arm alone
            cfg = parse(PretrainConfig, self.settings(Run(arm, 1e-3)))
            times[" ".join(arm)] += _trial(cfg, steps)[2]
        write_json(self.quiet, {arm: round(statistics.median(t), 4) for arm, t in times.items()})

    def train(self, run: Run) -> Result:
        """Train, or go on training, and keep the result; the weights are thrown away."""
        key, cfg = self.key(run), parse(PretrainConfig, self.settings(run))
        folder = self.work / "unfinished" / key
        why = None
        numbers: dict[str, Any] = {"val_bpb": None}
        with self.ledger.charged(key):
            try:
                numbers = measured(self._pretrain(cfg, run.seed, folder), cfg, self.road.recipe.mix)
            except NumericsError as error:  # too high a rate: that is a result too
                why = str(error)
        sizes, steps = count(cfg.model), cfg.steps or 0
        result = Result(
            tokens=steps * cfg.batch_tokens,
            steps=steps,
            cpu_s=round(self.ledger.spent(key), 1),
            optimizer_bytes=self.trial(run.arm)[1],
            params_total=sizes.params_total,
            params_active=sizes.params_active,
            **numbers,
        )
        write_json(self.runs / f"{key}.json", {**_about(run, cfg, why), "result": asdict(result)})
        for path in (folder, folder.with_name(f"{folder.name}.partial")):
            shutil.rmtree(path, ignore_errors=True)
        return result

    def _pretrain(self, cfg: PretrainConfig, seed: int, folder: Path) -> Artifact:
        probes = bpb_probes(self.shards, max_tokens=EVAL_TOKENS, seq_len=cfg.seq_len)
        mix = self.road.recipe.mix
        return pretrain(
            cfg, self.shards, self.road.tokenizer, folder, mix=mix, seed=seed, probes=probes
        )

    def trial(self, arm: Arm) -> tuple[float, int]:
        """(CPU seconds of an optimizer step, bytes of the optimizer's state), on random tokens."""
        if arm not in self._trials:
            self._trials[arm] = _trial(parse(PretrainConfig, self.settings(Run(arm, 1e-3))))[:2]
        return self._trials[arm]

    def cost(self, run: Run) -> float:
        """CPU seconds a run will need: as its kind has needed so far, else by a trial."""
        tokens = self.tokens * run.share
        kept = [read_json(path) for path in sorted(self.runs.glob("*.json"))]
        same = [k["result"] for k in kept if k["run"]["arm"] == run.arm._asdict()]
        if same:
            return tokens * statistics.fmean(r["cpu_s"] / r["tokens"] for r in same)
        evaluated = EVALUATIONS * EVAL_TOKENS * len(self.road.recipe.mix) / 3  # forward only
        return self.trial(run.arm)[0] / TRAINING["batch_tokens"] * (tokens + evaluated)


def _about(run: Run, cfg: PretrainConfig, why: str | None) -> dict[str, Any]:
    """What a run's file says besides its result."""
    return {
        "run": {"arm": run.arm._asdict(), "lr": run.lr, "seed": run.seed, "share": run.share},
        "diverged": why,
        "settings": cfg.as_json(),
        "precision": choose_precision(cfg.precision, choose_device(cfg.device)).name,
        "threads": torch.get_num_threads(),
        "hardware": machine(),
        "versions": versions(),
        "git_commit": git_commit(),
    }


def measured(base: Artifact, cfg: PretrainConfig, mix: dict[str, float]) -> dict[str, Any]:
    """What ``metrics.jsonl`` of a finished run says; its loss is logged at every step."""
    lines = read_metrics(base.path)
    shares = {domain: share / sum(mix.values()) for domain, share in mix.items()}
    probed = [line for line in lines if f"val_bpb/{next(iter(shares))}" in line]
    curve = [
        (line["tokens"], sum(s * line[f"val_bpb/{d}"] for d, s in shares.items()))
        for line in probed
    ]
    return {
        "val_bpb": curve[-1][1],
        "by_domain": {d: probed[-1][f"val_bpb/{d}"] for d in shares},
        "curve": curve,
        "step_s": statistics.median(cfg.batch_tokens / line["tokens_per_s"] for line in lines),
    }


def run_all(lab: Lab, studies: list[Study], cpu_hours: float) -> None:
    """Train until nothing is missing, or the next run would not fit into the budget."""
    while left := missing(studies, lab.look, guess=True):  # the finished sweeps decide the rest
        run = missing(studies, lab.look)[0]
        spent = lab.ledger.spent()
        if spent + lab.cost(run) > cpu_hours * 3600:
            print(f"{len(left)} runs are left, but {spent / 3600:.2f} CPU-hours are spent.")
            return
        name = f"{run.arm.model}, {run.arm.optimizer}, lr {run.lr:g}, seed {run.seed}"
        name += "" if run.share == 1 else ", half as long"
        result = lab.train(run)
        score = "diverged" if result.val_bpb is None else f"val_bpb {result.val_bpb:.4f}"
        print(f"{name}: {score}, {human_time(result.cpu_s)} CPU; {len(left) - 1} left", flush=True)


def print_plan(lab: Lab, studies: dict[str, Study]) -> float:
    """A line per study: runs, how many are done, CPU-hours. Returns the hours of everything."""
    seen: set[Run] = set()
    hours = lab.ledger.spent() / 3600
    print(f"{lab.tokens:,} tokens a run; {hours:.2f} CPU-hours spent so far")
    for name, study in studies.items():
        runs = [run for run in runs_of(study, lab.look, guess=True) if run not in seen]
        seen |= set(runs)
        left = [run for run in runs if lab.look(run) is None]
        more = sum(lab.cost(run) for run in left) / 3600
        hours += more
        sizes = " · ".join(f"{label} {total(MODELS[arm.model]()) / 1e6:.1f} M"
                           for label, arm in study.arms.items())  # fmt: skip
        print(f"{name}: {len(runs)} runs, {len(left)} left, about {more:.2f} CPU-hours ({sizes})")
    print(f"in all about {hours:.2f} CPU-hours on {torch.get_num_threads()} threads")
    return hours


def write_report(studies: dict[str, Study], look: Look, out: Path) -> None:
    """``tables.md`` and a figure per study."""
    write_bytes(out / "tables.md", markdown(studies, look).encode())
    for name, study in studies.items():
        figure(study, look, out / f"{name}.png")
    print(f"written to {out / 'tables.md'}")


def arms_of(studies: dict[str, Study]) -> list[Arm]:
    """Every arm once."""
    return list(dict.fromkeys(arm for study in studies.values() for arm in study.arms.values()))


def _trial(cfg: PretrainConfig, steps: int = 3) -> tuple[float, int, list[float]]:
    """(CPU seconds of the fastest step, bytes of the optimizer's state, wall times of steps)."""
    device = choose_device(cfg.device)
    model = LM(cfg.model).to(device)
    optimizer = build_optimizer(cfg.optimizer, model)
    precision = choose_precision(cfg.precision, device)
    times, walls = [time.process_time()], [time.perf_counter()]
    for _ in train_steps(
        model, optimizer, RandomRows(cfg), next_token, cfg, steps=steps, precision=precision
    ):
        times.append(time.process_time())
        walls.append(time.perf_counter())
    tensors = [t for state in optimizer.state_dict()["state"].values() for t in state.values()]
    size = sum(t.numel() * t.element_size() for t in tensors if isinstance(t, torch.Tensor))
    return min(b - a for a, b in pairwise(times)), size, [b - a for a, b in pairwise(walls)][1:]


def total(model: dict[str, Any]) -> int:
    """All parameters of a model."""
    return count(parse(LMConfig, model)).params_total


if __name__ == "__main__":
    sys.exit(main())
