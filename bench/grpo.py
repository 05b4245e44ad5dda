"""Does GRPO teach a small model what more of its demonstrations do not? Sums in a new short form.

The base model of ``yaongi quickstart`` adds and subtracts two digits in a form of its own. For each
seed it is fine-tuned on a hundred sums worked in a shorter one, which leaves it right on about half
of held-out ones. From there it learns for the same time in each of three ways: GRPO on questions of
which only the answers are known; more fine-tuning on the same demonstrations; and, as a user would
who can make demonstrations without end, fine-tuning on new ones, none seen twice.

    python bench/grpo.py --base runs/quickstart --budget       # the plan and its minutes
    python bench/grpo.py --base runs/quickstart [--steps 80] [--seeds 0 2] [--arms grpo sft]

Time is computing time of one thread, so that a busy machine changes nothing: GRPO makes its steps,
and fine-tuning as many as take equally long. A finished run is a file of bench/results/grpo and is
not repeated; one that was stopped goes on where it was. The page is docs/results/grpo.md.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from ablate_report import interval

from yaongi.cli.quickstart import recipe
from yaongi.cli.road import Road
from yaongi.core.artifact import Artifact, git_commit, machine, open_artifact, versions
from yaongi.core.config import parse
from yaongi.core.errors import YaongiError
from yaongi.core.files import read_json, write_bytes, write_json
from yaongi.core.intervals import wilson
from yaongi.core.runlog import read_metrics
from yaongi.core.seeds import Seed
from yaongi.data.corpus import CorpusConfig, build_corpus
from yaongi.data.shards import ShardsConfig, build_shards
from yaongi.data.synthetic.splits import split_of
from yaongi.infer.generate import generate_greedy
from yaongi.model.io import load_model
from yaongi.text.foreign import load_tokenizer
from yaongi.train.loop import Step
from yaongi.tune.grpo import GRPOConfig, grpo
from yaongi.tune.prompts import file_prompts
from yaongi.tune.rewards.arithmetic import answer
from yaongi.tune.sft import SFTConfig, sft

ROOT = Path(__file__).parents[1]
RUNS, SEEDS = 3, range(8)
START_RANGE = (0.3, 0.6)
"""What a start must get right for its seed to count; others are passed over before any arm."""
DEMONSTRATIONS, QUESTIONS, HELD_OUT, FRESH = 100, 20_000, 300, 20_000
TRAINING: dict[str, Any] = {"seq_len": 256, "threads": 1, "save_s": "60s", "keep": 1}
START: dict[str, Any] = {**TRAINING, "optimizer": {"kind": "muon", "lr": 1e-3},
                         "batch_tokens": 1024, "epochs": 8}  # fmt: skip
CONTINUED: dict[str, Any] = {k: v for k, v in START.items() if k != "epochs"}
GRPO: dict[str, Any] = {
    **TRAINING,
    "optimizer": {"kind": "adamw", "lr": 1e-4, "weight_decay": 0.0},
    "rewards": ["arithmetic"],
    "prompts": 16,
    "group_size": 8,
    "minibatches": 2,
    "max_tokens": 32,
    "kl": 0.0,
    "micro_batch": 32,
    "rollout_rows": 128,
    "log_every": 2,
}
STEP_S = 3.0
"""Roughly the computing time of a step of GRPO, for the plan."""
ARMS = {
    "grpo": "GRPO",
    "sft": "more SFT, same demonstrations",
    "fresh": "more SFT, new demonstrations",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Plan, run what is missing, write the page."""
    args = _arguments().parse_args(argv)
    torch.set_num_threads(1)
    lab = Lab(args.base, args.work, args.out, args.steps)
    if args.budget:
        found = len(list(lab.out.glob("*-[0-9].json")))
        missing = range(max(0, RUNS * len(args.arms) - found))
        print(f"{len(missing)} of {RUNS * len(args.arms)} runs are missing")
        minutes = args.steps * STEP_S / 60
        print(f"about {len(missing) * (minutes + 0.5) + 2 * RUNS:.0f} CPU-minutes")
        return 0
    try:
        fair = [seed for seed in args.seeds if lab.fair(seed)] if args.seeds else lab.first_fair()
        for seed in fair:
            for arm in args.arms:
                lab.run(seed, arm)
        write_page(lab, args.page)
    except KeyboardInterrupt:
        print("\nStopped. Run the same command again to go on from here.")
        return 130
    except YaongiError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="GRPO against more fine-tuning.")
    parser.add_argument(
        "--base",
        type=Path,
        default=ROOT / "runs/quickstart",
        help="a quickstart's folder; made in ten minutes if it is not there",
    )
    parser.add_argument("--steps", type=int, default=80, help="of GRPO")
    parser.add_argument(
        "--seeds", type=int, nargs="*", help="by default the first three with a start in range"
    )
    parser.add_argument("--arms", nargs="*", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--budget", action="store_true", help="show the plan, then stop")
    parser.add_argument("--out", type=Path, default=ROOT / "bench/results/grpo")
    parser.add_argument("--page", type=Path, default=ROOT / "docs/results/grpo.md")
    parser.add_argument("--work", type=Path, default=ROOT / "runs/grpo", help="data and models")
    return parser


class Lab:
    """Data and models, each made when first asked for."""

    def __init__(self, base: Path, work: Path, out: Path, steps: int) -> None:
        self.root, self.work, self.out, self.steps = base, work, out, steps
        self.ledger = work / "cpu.jsonl"
        self.work.mkdir(parents=True, exist_ok=True)

    @cached_property
    def road(self) -> Road:
        """The quickstart, whose stages are found or made."""
        return Road(recipe(10.0), self.root)

    @cached_property
    def base(self) -> Artifact:
        """The model that knows sums of two digits."""
        made = self.root / "5m" / "base"
        return open_artifact(made, "base") if made.is_dir() else self.road.base

    @cached_property
    def tokenizer(self) -> Artifact:
        made = self.root / "tokenizer"
        return open_artifact(made, "tokenizer") if made.is_dir() else self.road.tokenizer

    def shards(self, name: str, seed: int, n: int) -> Artifact:
        """``n`` worked sums as conversations, encoded."""
        file = self.work / f"{name}-{seed}.jsonl"
        rows = [
            {"messages": [_said("user", q), _said("assistant", reply)]}
            for q, reply, _ in islice(sums(Seed(seed).split(name), "train"), n)
        ]
        _write_rows(file, rows)
        cfg = parse(CorpusConfig, {
            "root": str(self.work.absolute()), "val_fraction": 0.01,
            "sources": [{"path": file.name, "domain": "sums", "licence": "Apache-2.0"}],
        })  # fmt: skip
        corpus = build_corpus(cfg, self.work / f"{name}-{seed}-corpus", Seed(seed))
        return build_shards(
            ShardsConfig(), corpus, self.tokenizer, self.work / f"{name}-{seed}-shards"
        )

    def questions(self, seed: int) -> Path:
        """Questions with their answers, nothing worked."""
        file = self.work / f"questions-{seed}.jsonl"
        found = islice(sums(Seed(seed).split("questions"), "train"), QUESTIONS)
        _write_rows(file, [{"prompt": q, "answer": value} for q, _, value in found])
        return file

    def start(self, seed: int) -> Artifact:
        """The model all arms of a seed begin with."""
        demonstrations = self.shards("demonstrations", seed, DEMONSTRATIONS)
        cfg = parse(SFTConfig, START)
        out = self.work / f"start-{seed}"
        return sft(cfg, self.base, demonstrations, out, seed=seed, on_step=self.timer(out.name))

    def train(self, seed: int, arm: str) -> Artifact:
        """The model of an arm."""
        start, out = self.start(seed), self.work / f"{arm}-{seed}-{self.steps}"
        if arm == "grpo":
            questions = file_prompts(str(self.questions(seed).absolute()), self.work)
            cfg = parse(GRPOConfig, {**GRPO, "steps": self.steps})
            return grpo(cfg, start, questions, out, seed=seed, on_step=self.timer(out.name))
        n = DEMONSTRATIONS if arm == "sft" else FRESH
        shards = self.shards("demonstrations" if arm == "sft" else "fresh", seed, n)
        budget_s = self.spent(self.train(seed, "grpo").path.name)
        step_s = self.spent(start.path.name) / start.manifest.counts["steps"]
        cfg = parse(SFTConfig, {**CONTINUED, "steps": round(budget_s / step_s)})
        return sft(cfg, start, shards, out, seed=seed + 1000, on_step=self.timer(out.name))

    def timer(self, what: str) -> Callable[[Step], None]:
        """Writes the computing time of every step into the ledger, as it is made."""
        began = time.process_time()

        def on_step(step: Step) -> None:
            nonlocal began
            now = time.process_time()
            with self.ledger.open("a", encoding="utf-8") as stream:
                line = {"run": what, "step": step.index, "cpu_s": round(now - began, 3)}
                stream.write(json.dumps(line) + "\n")
            began = time.process_time()

        return on_step

    def spent(self, what: str) -> float:
        """Computing time of a run's steps; of one repeated after a stop the last time counts."""
        lines = map(json.loads, self.ledger.read_text("utf-8").splitlines())
        return sum({x["step"]: x["cpu_s"] for x in lines if x["run"] == what}.values())

    def before(self, seed: int) -> float:
        """What the start of a seed gets right, measured once."""
        file = self.work / f"start-{seed}.json"
        start = self.start(seed)
        if not file.is_file():
            write_json(file, exact_match(start))
        return read_json(file)

    def fair(self, seed: int) -> bool:
        """Whether a seed's start is where there is something to gain and something to build on."""
        low, high = START_RANGE
        return low <= self.before(seed) <= high

    def first_fair(self) -> list[int]:
        """The first seeds that count."""
        return list(islice(filter(self.fair, SEEDS), RUNS))

    def path(self, seed: int, arm: str) -> Path:
        """Where a finished run's result is."""
        return self.out / f"{arm}-{seed}.json"

    def run(self, seed: int, arm: str) -> None:
        """Train and measure, unless that is done."""
        if self.path(seed, arm).is_file():
            return
        before = self.before(seed)
        model = self.train(seed, arm)
        counts = model.manifest.counts
        result = {
            "seed": seed,
            "arm": arm,
            "before": before,
            "after": exact_match(model),
            "cpu_s": round(self.spent(model.path.name), 1),
            "steps": counts["steps"],
            "tokens": counts["tokens"],
            "epochs": counts.get("epochs"),
            "curve": _curve(model),
            "config": model.manifest.config,
            "commit": git_commit(),
            "hardware": machine(),
            "versions": versions(),
        }
        self.out.mkdir(parents=True, exist_ok=True)
        write_json(self.path(seed, arm), result)
        print(f"{arm} {seed}: {before:.1%} -> {result['after']:.1%}")


def sums(seed: Seed, split: str) -> Iterator[tuple[str, str, str]]:
    """Question, worked reply and answer, without end; pairs of ``split`` only.

    Pairs are split as in the embedded corpus, so the base model has seen no held-out one either.
    """
    rng = random.Random(seed.int63)
    while True:
        op, a, b = rng.choice("+-"), rng.randrange(10, 100), rng.randrange(10, 100)
        if op == "-":
            a, b = max(a, b), min(a, b)
        if split_of(("pair", str(min(a, b)), str(max(a, b)))) != split:
            continue
        word = "더하기" if op == "+" else "빼기"
        question = rng.choice([f"{a}{op}{b}", f"{a} {op} {b} = ?", f"{a} {word} {b} = ?"])
        value = str(a + b if op == "+" else a - b)
        yield question, f"{worked(op, a, b)}\n답: {value}", value


def worked(op: str, a: int, b: int) -> str:
    """Column by column in short: 47+25 -> ``7+5=12 4+2+1=7``, 43-17 -> ``13-7=6 4-1-1=2``."""
    x, y = a % 10, b % 10
    carry = int(x + y > 9 if op == "+" else x < y)
    x += 10 * carry if op == "-" else 0
    ones = f"{x}{op}{y}={x + y if op == '+' else x - y}"
    more = f"{op}1" if carry else ""
    tens = a // 10 + b // 10 + carry if op == "+" else a // 10 - b // 10 - carry
    return f"{ones} {a // 10}{op}{b // 10}{more}={tens}"


def exact_match(model: Artifact) -> float:
    """The share of held-out questions answered right, greedily."""
    found = list(islice(sums(Seed(0).split("held-out"), "test"), HELD_OUT))
    tokenizer = load_tokenizer(model.path)
    prompts = [tokenizer.chat_ids([_said("user", q)]) for q, _, _ in found]
    said = generate_greedy(load_model(model.path), tokenizer, prompts, max_tokens=40)
    right = [
        answer(tokenizer.decode(s)) == int(v) for s, (_, _, v) in zip(said, found, strict=True)
    ]
    return sum(right) / len(right)


def _said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    write_bytes(path, "".join(lines).encode())


def _curve(model: Artifact) -> list[dict[str, float]]:
    kept = ("step", "loss", "reward", "completion_tokens", "groups_equal")
    return [{k: row[k] for k in kept if k in row} for row in read_metrics(model.path)]


# The page --------------------------------------------------------------------------------------


def write_page(lab: Lab, path: Path) -> None:
    """What came of all finished runs, as Markdown."""
    found = [read_json(file) for file in sorted(lab.out.glob("*-[0-9].json"))]
    if not found:
        return
    arms = {arm: {r["seed"]: r for r in found if r["arm"] == arm} for arm in ARMS}
    seeds = sorted({r["seed"] for r in found})
    rows = [
        [ARMS[arm], *(f"{runs[s]['before']:.1%} → {runs[s]['after']:.1%}" if s in runs else "–"
                      for s in seeds),
         _points([r["after"] - r["before"] for r in runs.values()])]
        for arm, runs in arms.items() if runs
    ]  # fmt: skip
    lines = ["| | " + " | ".join(f"seed {s}" for s in seeds) + " | gain, points |"]
    lines += ["| --- | " + "---: | " * (len(seeds) + 1)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    gaps = [
        f"- GRPO against {ARMS[other]}: "
        + _points([arms["grpo"][s]["after"] - arms[other][s]["after"] for s in both])
        + " points, seed by seed."
        for other in ("sft", "fresh")
        if (both := sorted(set(arms["grpo"]) & set(arms[other])))
    ]
    one, minutes = found[0], statistics.fmean(r["cpu_s"] for r in found) / 60
    low, high = wilson(round(one["after"] * HELD_OUT), HELD_OUT)
    text = [
        "# GRPO on sums in a new short form",
        (__doc__ or "").split("\n\n")[1].replace("\n", " "),
        f"Exact match on {HELD_OUT} held-out sums, greedy; a single figure is known to about "
        f"±{50 * (high - low):.0f} points. {minutes:.1f} minutes of one thread for every arm, "
        f"{one['hardware']['cpu']}; {DEMONSTRATIONS} demonstrations. Means over seeds with 95 % "
        "intervals (Student's t).",
        "\n".join(lines),
        "\n".join(gaps),
        "`python bench/grpo.py --base runs/quickstart`; settings, curves and versions are in "
        "bench/results/grpo. What GRPO is and how to run it: [grpo.md](../grpo.md).",
    ]
    write_bytes(path, ("\n\n".join(text) + "\n").encode())


def _points(values: Sequence[float]) -> str:
    """The mean in percentage points with its interval, if there is one."""
    mean, low, high = interval([100 * value for value in values])
    return f"{mean:+.1f} ({low:+.1f} – {high:+.1f})" if len(values) > 1 else f"{mean:+.1f}"


if __name__ == "__main__":
    sys.exit(main())
