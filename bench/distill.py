"""Does a teacher help? A 5 M student of a 26 M teacher against the same student on text alone.

The teacher is pretrained on Korean text; each student then reads the same text, in the same order
and from the same first weights as its twin without a teacher, for equally many steps. What the
teacher says is asked once per seed and kept (top-k), so that every arm costs a student's training
only. A finished run is one JSON file named by the hash of its settings; a study that was stopped
goes on where it was.

    python bench/distill.py --budget                    # the plan and its minutes; trains nothing
    python bench/distill.py [--pair 5m] [--arms …] [--cpu-minutes 40] [--threads 1]

Text is below $YAONGI_DATA; results: bench/results/distill and docs/results/distill-PAIR.md.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from distill_report import Finished, page
from ledger import Ledger

from yaongi.cli.recipe import make_recipe
from yaongi.cli.road import Road
from yaongi.core.artifact import Artifact, git_commit, machine, versions
from yaongi.core.config import load_recipe, parse
from yaongi.core.errors import ConfigError, YaongiError
from yaongi.core.files import read_json, sha256_json, write_bytes, write_json
from yaongi.core.runlog import read_metrics
from yaongi.core.units import human_time
from yaongi.evals.run import bpb_probes
from yaongi.model.count import count
from yaongi.model.lm import LM, LMConfig
from yaongi.model.presets import preset_settings
from yaongi.train.dryrun import RandomRows
from yaongi.train.loop import train_steps
from yaongi.train.objectives import next_token
from yaongi.train.optim.build import build_optimizer
from yaongi.train.precision import choose_precision
from yaongi.train.pretrain import PretrainConfig, pretrain
from yaongi.tune.distill import DistillConfig, distill

ROOT = Path(__file__).parents[1]
SEEDS = (0, 1, 2)
DOMAIN = "ko"
MIX = {DOMAIN: 1.0}
TRAINING: dict[str, Any] = {
    "seq_len": 256,
    "schedule": {"kind": "wsd", "warmup_fraction": 0.05, "decay_fraction": 0.4},
    "compile": "off",
    "keep": 1,
    "save_s": "60s",
}


class Pair(NamedTuple):
    """A student and its teacher, with one vocabulary.

    Attributes:
        tokens: of the student; the teacher reads ``teacher_share`` times as many.
        evaluations, eval_tokens: per run, and held-out tokens at each.
    """

    student: dict[str, Any]
    teacher: dict[str, Any]
    teacher_lr: float
    teacher_batch: int
    tokens: str
    teacher_share: float
    top_k: int
    evaluations: int
    eval_tokens: int

    def training(self, of_teacher: bool) -> dict[str, Any]:
        """What a run has besides its steps."""
        lr, batch = (self.teacher_lr, self.teacher_batch) if of_teacher else (8e-3, 2048)
        shape = self.teacher if of_teacher else self.student
        optimizer = {"kind": "muon", "lr": lr}
        return {**TRAINING, "optimizer": optimizer, "batch_tokens": batch, "model": shape}


FIVE = preset_settings("5m")
PAIRS = {
    "5m": Pair(  # 26 M with the student's vocabulary
        FIVE, preset_settings("bench-dense", mlp={"d_ff": 1280}),
        4e-3, 4096, "240K", 2.25, top_k=256, evaluations=3, eval_tokens=30_000,
    ),
    "1m": Pair(  # the same a size smaller, in six minutes
        {
            "vocab_size": FIVE["vocab_size"],
            "d_model": 96,
            "pattern": "(*-)x4",
            "attention": {"n_heads": 3, "n_kv_heads": 1, "head_dim": 32, "rope_theta": 10_000.0},
            "mlp": {"d_ff": 256, "activation": "swiglu"},
        },
        FIVE, 8e-3, 2048, "120K", 2.5, top_k=64, evaluations=1, eval_tokens=10_000,
    ),
}  # fmt: skip
ALONE, TAUGHT = "text alone", "teacher"
ARMS: dict[str, dict[str, Any]] = {
    TAUGHT: {"soft": 0.5},
    "teacher, soft 0.9": {"soft": 0.9},
    "teacher, reverse": {"soft": 0.5, "divergence": "reverse"},
    "teacher, jsd": {"soft": 0.5, "divergence": "jsd"},
    "teacher, temperature 2": {"soft": 0.5, "temperature": 2.0},
}
"""Arms with a teacher: settings of ``DistillConfig`` that differ from its defaults."""


def main(argv: Sequence[str] | None = None) -> int:
    """Plan, train what is missing, write the page."""
    args = _arguments().parse_args(argv)
    torch.set_num_threads(args.threads)
    try:
        pair = PAIRS[args.pair]
        tokens = args.tokens or pair.tokens
        asked = parse(PretrainConfig, {"model": pair.student, "tokens": tokens})
        lab = Lab(pair, asked.tokens or 0, args.out / args.pair, args.work)
        runs = [(name, seed) for seed in SEEDS for name in (ALONE, *args.arms)]
        if args.budget:
            print_plan(lab, runs)
            return 0
        try:
            run_all(lab, runs, args.cpu_minutes)
        finally:
            write_page(lab, args.page or ROOT / f"docs/results/distill-{args.pair}.md")
    except KeyboardInterrupt:
        print("\nStopped. Run the same command again to go on from here.")
        return 130
    except YaongiError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="A student with a teacher, and without.")
    parser.add_argument("--pair", choices=list(PAIRS), default="5m", help="the student's size")
    parser.add_argument("--tokens", help="of a student; the pair's by default")
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=[TAUGHT])
    parser.add_argument("--cpu-minutes", type=float, default=40.0, help="for all runs in --out")
    parser.add_argument("--budget", action="store_true", help="show plan and minutes, then stop")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--out", type=Path, default=ROOT / "bench/results/distill")
    parser.add_argument("--page", type=Path, help="docs/results/distill-PAIR.md by default")
    parser.add_argument("--work", type=Path, default=ROOT / "runs/distill", help="data and models")
    return parser


class Lab:
    """Text, teacher and students, each made when first asked for.

    Args:
        pair: who learns from whom. tokens: of a student.
        out: gets ``runs/<hash>.json`` and the ledger; work: gets everything else.
    """

    def __init__(self, pair: Pair, tokens: int, out: Path, work: Path) -> None:
        self.pair, self.tokens, self.runs, self.work = pair, tokens, out / "runs", work
        self.ledger = Ledger(out / "cpu.jsonl")
        self.runs.mkdir(parents=True, exist_ok=True)
        listed = load_recipe(ROOT / "recipes/korean-small.yaml")["data"]["sources"]
        settings = {
            "name": "distill",
            "data": {"sources": [s for s in listed if s["domain"] == DOMAIN]},
            "mix": MIX,
            "tokenizer": {"vocab_size": FIVE["vocab_size"], "sample_bytes": "8MB"},
            "pretrain": self.settings(None),
        }
        self.road = Road(make_recipe(settings), work)

    def settings(self, arm: str | None) -> dict[str, Any]:
        """Of a run's training; of the teacher's for None."""
        training = self.pair.training(arm is None)
        tokens = self.tokens * (self.pair.teacher_share if arm is None else 1)
        steps = round(tokens / training["batch_tokens"])
        more = {"top_k": self.pair.top_k, **ARMS[arm]} if arm in ARMS else {}
        every = max(1, steps // self.pair.evaluations)
        return {**training, "steps": steps, "eval_every": every, **more}

    @cached_property
    def teacher(self) -> Artifact:
        """The larger model."""
        cfg = parse(PretrainConfig, self.settings(None))
        shards, tokenizer = self.road.shards, self.road.tokenizer
        if not self.teacher_folder.is_dir():
            print(f"teacher: {cfg.steps} steps", flush=True)
        with self.ledger.charged("teacher"):
            return pretrain(
                cfg, shards, tokenizer, self.teacher_folder, mix=MIX, probes=self._probes(cfg)
            )

    @property
    def teacher_folder(self) -> Path:
        """Where it is."""
        return self.work / f"teacher-{sha256_json(self.settings(None))[:16]}"

    def _probes(self, cfg: PretrainConfig | DistillConfig) -> Any:
        return bpb_probes(self.road.shards, max_tokens=self.pair.eval_tokens, seq_len=cfg.seq_len)

    def key(self, name: str, seed: int) -> str:
        """What a run is known by: everything it is made from but the program."""
        made = {"settings": self.settings(name), "name": name, "seed": seed}
        made["eval"] = self.pair.eval_tokens
        taught = {"teacher": self.settings(None)} if name in ARMS else {}
        return sha256_json({**made, **taught, "shards": self.road.shards.hash})[:16]

    def look(self, name: str, seed: int) -> Finished | None:
        """A run's result if it is finished."""
        path = self.runs / f"{self.key(name, seed)}.json"
        return Finished(**read_json(path)["result"]) if path.is_file() else None

    def train(self, name: str, seed: int) -> Finished:
        """Train a student, or go on training it, and keep the result."""
        key, folder = self.key(name, seed), self.work / "students" / self.key(name, seed)
        teacher = self.teacher if name in ARMS else None
        with self.ledger.charged(key):
            made = self._train(name, seed, folder, teacher)
        curve = [line for line in read_metrics(made.path) if f"val_bpb/{DOMAIN}" in line]
        result = Finished(
            curve=[(line["tokens"], line[f"val_bpb/{DOMAIN}"]) for line in curve],
            parameters=made.manifest.counts["parameters"],
            steps=made.manifest.counts["steps"],
            cpu_s=round(self.ledger.spent(key), 1),
        )
        write_json(self.runs / f"{key}.json", {**self._about(name, seed), "result": vars(result)})
        shutil.rmtree(made.path)
        return result

    def _train(self, name: str, seed: int, folder: Path, teacher: Artifact | None) -> Artifact:
        shards = self.road.shards
        if teacher is None:
            alone = parse(PretrainConfig, self.settings(name))
            return pretrain(
                alone, shards, self.road.tokenizer, folder, mix=MIX, seed=seed,
                probes=self._probes(alone),
            )  # fmt: skip
        cfg = parse(DistillConfig, self.settings(name))
        return distill(cfg, teacher, shards, folder, mix=MIX, seed=seed, probes=self._probes(cfg))

    def _about(self, name: str, seed: int) -> dict[str, Any]:
        """What a run's file says besides its result."""
        return {
            "run": {"name": name, "seed": seed},
            "settings": self.settings(name),
            "threads": torch.get_num_threads(),
            "hardware": machine(),
            "versions": versions(),
            "git_commit": git_commit(),
        }

    @cached_property
    def step_s(self) -> dict[str, float]:
        """CPU seconds of an optimizer step of the teacher and of a student, on random tokens."""
        return {name: _step_s(self.settings(arm)) for name, arm in _KINDS.items()}

    def cost(self, name: str, *, first: bool) -> float:
        """CPU seconds of a run; a forward pass is a third of a step.

        Args:
            first: the teacher has not been asked yet about this seed's text.
        """
        rate = {k: s / self.settings(_KINDS[k])["batch_tokens"] for k, s in self.step_s.items()}
        student = rate["student"] * (
            self.tokens + self.pair.evaluations * self.pair.eval_tokens / 3
        )
        return student + (rate["teacher"] * self.tokens / 3 if name in ARMS and first else 0.0)

    @property
    def teacher_cost(self) -> float:
        """CPU seconds of the teacher's own training, unless it is done."""
        settings = self.settings(None)
        return 0.0 if self.teacher_folder.is_dir() else self.step_s["teacher"] * settings["steps"]


_KINDS = {"teacher": None, "student": ALONE}


def _step_s(settings: dict[str, Any]) -> float:
    """The fastest of some."""
    cfg = parse(PretrainConfig, settings)
    model = LM(cfg.model)
    precision = choose_precision(cfg.precision, model.device)
    optimizer = build_optimizer(cfg.optimizer, model)
    times: list[float] = []
    began = time.process_time()
    for _ in train_steps(
        model, optimizer, RandomRows(cfg), next_token, cfg, steps=4, precision=precision
    ):
        times.append(time.process_time() - began)
        began = time.process_time()
    return min(times)


def run_all(lab: Lab, runs: Sequence[tuple[str, int]], cpu_minutes: float) -> None:
    """Train until nothing is missing, or the next run would not fit into the budget."""
    left = [run for run in runs if lab.look(*run) is None]
    for done, (name, seed) in enumerate(left, 1):
        needs = lab.cost(name, first=True) + (lab.teacher_cost if name in ARMS else 0.0)
        if lab.ledger.spent() + needs > cpu_minutes * 60:
            raise ConfigError(
                "{spent:.0f} CPU-minutes are spent and {runs} runs are left; --cpu-minutes allows "
                "{allowed:.0f}.",
                spent=lab.ledger.spent() / 60,
                runs=len(left) - done + 1,
                allowed=cpu_minutes,
            )
        result = lab.train(name, seed)
        spent = human_time(result.cpu_s)
        print(f"{name}, seed {seed}: val_bpb {result.val_bpb:.4f}, {spent} CPU; "
              f"{len(left) - done} left", flush=True)  # fmt: skip


def print_plan(lab: Lab, runs: Sequence[tuple[str, int]]) -> None:
    """What there is to do and how long it takes."""
    left = [run for run in runs if lab.look(*run) is None]
    asked = {next(((n, s) for n, s in left if n in ARMS and s == seed), None) for seed in SEEDS}
    seconds = lab.teacher_cost + sum(lab.cost(run[0], first=run in asked) for run in left)
    for name, arm in _KINDS.items():
        settings = lab.settings(arm)
        size = count(parse(LMConfig, settings["model"])).params_total
        plan = f"{settings['steps']} steps of {settings['batch_tokens']} tokens"
        print(f"{name}: {size / 1e6:.1f} M parameters, {plan}, {lab.step_s[name]:.2f} CPU-s each")
    print(f"{len(left)} students left: about {seconds / 60:.0f} CPU-minutes, "
          f"{lab.ledger.spent() / 60:.0f} spent so far")  # fmt: skip


def write_page(lab: Lab, path: Path) -> None:
    """The page, of the runs there are."""
    runs = [(name, seed) for name in (ALONE, *ARMS) for seed in SEEDS]
    done = {run: result for run in runs if (result := lab.look(*run)) is not None}
    if not done or not lab.teacher_folder.is_dir():
        return
    manifest = lab.teacher.manifest
    facts = {
        "teacher_parameters": manifest.counts["parameters"],
        "teacher_tokens": manifest.counts["tokens"],
        "teacher_bpb": manifest.metrics[f"val_bpb/{DOMAIN}"],
        "student_tokens": lab.tokens,
        "top_k": lab.pair.top_k,
        "eval_tokens": lab.pair.eval_tokens,
        "cpu_minutes": lab.ledger.spent() / 60,
        "hardware": f"{machine()['cpu']}, {torch.get_num_threads()} thread",
    }
    write_bytes(path, page(done, ALONE, facts).encode())
    print(f"written to {path}")


if __name__ == "__main__":
    sys.exit(main())
