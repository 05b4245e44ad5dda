"""Adapting a small English and code model to Korean: what it learns and what it forgets.

A model is trained on English and code, with a vocabulary of English and code, so that Korean is
bytes to it. It then reads Korean in four ways: alone, with a fixed share of the old text, with the
controller that sets that share, and the last with a vocabulary that extends its own. Three seeds
each, and one run of domain-adaptive pretraining on statutes. A finished run is one JSON file named
by the hash of its settings, so a study that was stopped goes on where it was.

    python bench/adapt.py --budget                       # the plan and its minutes; trains nothing
    python bench/adapt.py [--tokens 400K] [--cpu-minutes 60] [--threads 1]

Text is below $YAONGI_DATA; results: bench/results/adapt and docs/results/adapting.md.
"""

from __future__ import annotations

import argparse
import math
import shutil
import sys
import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from adapt_report import Arm, Finished, page
from adapt_report import figure as draw
from ledger import Ledger

from yaongi.core.artifact import Artifact, git_commit, machine, open_artifact, versions
from yaongi.core.config import load_recipe, parse
from yaongi.core.errors import ConfigError, YaongiError
from yaongi.core.files import read_json, sha256_json, write_bytes, write_json
from yaongi.core.runlog import read_metrics
from yaongi.core.seeds import Seed
from yaongi.core.units import human_time
from yaongi.data.corpus import CorpusConfig, build_corpus, read_corpus, sample_texts
from yaongi.data.shards import ShardsConfig, build_shards
from yaongi.evals.run import bpb_probes
from yaongi.model.count import count
from yaongi.model.lm import LM
from yaongi.text.extend import ExtendConfig
from yaongi.text.extend import stage as extend
from yaongi.text.foreign import load_tokenizer
from yaongi.text.train import TokenizerConfig, compression
from yaongi.text.train import stage as train_tokenizer
from yaongi.train.continual import ContinueConfig, continue_pretraining
from yaongi.train.dryrun import RandomRows
from yaongi.train.loop import train_steps
from yaongi.train.objectives import next_token
from yaongi.train.optim.build import build_optimizer
from yaongi.train.precision import choose_precision
from yaongi.train.pretrain import PretrainConfig, pretrain

ROOT = Path(__file__).parents[1]
SEEDS = (0, 1, 2)
SOURCES = {  # of recipes/korean-small.yaml, which states their licences
    "ko": ("ko_president_speeches", "ko_nsmc_reviews", "ko_python_docs", "ko_news_sentences",
           "ko_fastapi_docs", "ko_d2l"),
    "laws": ("ko_laws",),
    "en": ("en_python_docs", "en_movie_reviews", "en_debian_handbook", "en_wikipedia_demo"),
    "code": ("code_python_stdlib", "code_thealgorithms_python"),
}  # fmt: skip
FIRST_MIX = {"en": 0.5, "code": 0.5}
VOCAB, ADDED = 4096, 2048
MODEL: dict[str, Any] = {
    "vocab_size": VOCAB,
    "d_model": 192,
    "pattern": "(*-)x6",
    "attention": {"n_heads": 6, "n_kv_heads": 2, "head_dim": 32, "rope_theta": 10_000.0},
    "mlp": {"d_ff": 512, "activation": "swiglu"},
}
TRAINING: dict[str, Any] = {
    "optimizer": {"kind": "muon", "lr": 2e-3},
    "batch_tokens": 4096,
    "seq_len": 256,
    "compile": "off",
    "keep": 1,
    "save_s": "60s",
}
FIRST_SHARE = 2.0
"""The first training reads so many times the tokens of an adaptation."""
EVALUATIONS, EVAL_TOKENS = 10, 6_000
"""Per run, and held-out tokens per domain at each."""

REPLAYED = {"ko": 0.8, "en": 0.1, "code": 0.1}
KNOWN = ["en", "code"]
EEVE = [
    {"share": 0.1, "train": ["new-in", "new-out"]},
    {"share": 0.1, "train": ["new-in", "head"]},
    {"share": 0.8, "train": ["all"]},
]
ARMS = {
    "no replay": Arm({"ko": 1.0}),
    "fixed replay": Arm(REPLAYED, {"replay": KNOWN, "forgetting": None}),
    "controller": Arm(REPLAYED, {"replay": KNOWN}),
    "controller, longer vocabulary": Arm(REPLAYED, {"replay": KNOWN, "stages": EEVE}, longer=True),
}
DAPT = Arm(
    {"laws": 0.7, "ko": 0.15, "en": 0.075, "code": 0.075}, {"replay": ["ko", *KNOWN]}, longer=True
)
"""Goes on from the last of ``ARMS`` on its first seed, for half as long."""


def main(argv: Sequence[str] | None = None) -> int:
    """Plan, train what is missing, write the page."""
    args = _arguments().parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    try:
        tokens = parse(PretrainConfig, {"model": MODEL, "tokens": args.tokens}).tokens or 0
        lab = Lab(tokens, args.out, args.work)
        if args.budget:
            print_plan(lab)
            return 0
        try:
            run_all(lab, args.cpu_minutes)
        finally:
            write_page(lab, args.page)
    except KeyboardInterrupt:
        print("\nStopped. Run the same command again to go on from here.")
        return 130
    except YaongiError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Adapting a small model to Korean.")
    parser.add_argument("--tokens", default="400K", help="of an adaptation")
    parser.add_argument("--cpu-minutes", type=float, default=60.0, help="for all runs in --out")
    parser.add_argument("--budget", action="store_true", help="show plan and minutes, then stop")
    parser.add_argument("--threads", type=int, help="CPU threads; torch's choice by default")
    parser.add_argument("--out", type=Path, default=ROOT / "bench/results/adapt")
    parser.add_argument("--page", type=Path, default=ROOT / "docs/results/adapting.md")
    parser.add_argument("--work", type=Path, default=ROOT / "runs/adapt", help="data and models")
    return parser


# What all runs share --------------------------------------------------------------------------


class Lab:
    """Text, vocabularies and models, each made when first asked for.

    Args:
        tokens: of an adaptation.
        out: gets ``runs/<hash>.json`` and the ledger; work: gets everything else.
    """

    def __init__(self, tokens: int, out: Path, work: Path) -> None:
        self.tokens, self.runs, self.work = tokens, out / "runs", work
        self.ledger = Ledger(out / "cpu.jsonl")
        self.runs.mkdir(parents=True, exist_ok=True)

    @cached_property
    def corpus(self) -> Artifact:
        """The four domains."""
        listed = load_recipe(ROOT / "recipes/korean-small.yaml")["data"]["sources"]
        known = {Path(source["path"]).name.partition(".")[0]: source for source in listed}
        sources = [{**known[n], "domain": d} for d, names in SOURCES.items() for n in names]
        cfg = parse(CorpusConfig, {"sources": sources, "val_fraction": 0.05})
        return build_corpus(cfg, self.work / "corpus", Seed(0))

    @cached_property
    def tokenizer(self) -> Artifact:
        """A vocabulary of English and code."""
        cfg = TokenizerConfig(vocab_size=VOCAB, sample_bytes=8_000_000)
        texts = sample_texts(self.corpus, FIRST_MIX, cfg.sample_bytes)
        return train_tokenizer(cfg, texts, self.work / "tokenizer", parents=[self.corpus])

    @cached_property
    def longer(self) -> Artifact:
        """The same with Korean behind it."""
        cfg = ExtendConfig(add=ADDED, sample_bytes=8_000_000)
        texts = sample_texts(self.corpus, {"ko": 1.0}, cfg.sample_bytes)
        return extend(
            cfg, self.tokenizer.path, texts, self.work / "longer",
            parents=[self.tokenizer, self.corpus],
        )  # fmt: skip

    def shards(self, longer: bool) -> Artifact:
        """The text in the tokens of one of the two."""
        words, name = (self.longer, "shards-longer") if longer else (self.tokenizer, "shards")
        return build_shards(ShardsConfig(), self.corpus, words, self.work / name)

    def vocabularies(self) -> dict[str, dict[str, dict[str, float]]]:
        """domain -> which vocabulary -> bytes per token and tokens per syllable, held out."""
        found: dict[str, dict[str, dict[str, float]]] = {}
        for domain in SOURCES:
            texts = [d.text[:20_000] for d in read_corpus(self.corpus, "val", domain)][:200]
            for name, words in (("first", self.tokenizer), ("longer", self.longer)):
                one = compression(load_tokenizer(words.path), texts)
                found.setdefault(domain, {})[name] = one
        return found

    def first_settings(self) -> dict[str, Any]:
        """Of ``PretrainConfig``, for the English and code model."""
        schedule = {"kind": "wsd", "warmup_fraction": 0.05, "decay_fraction": 0.4}
        steps = self._steps(FIRST_SHARE)
        return {**TRAINING, "model": MODEL, "schedule": schedule, "steps": steps}

    def settings(self, arm: Arm) -> dict[str, Any]:
        """Of ``ContinueConfig``, for an adaptation."""
        steps = self._steps(0.5 if arm is DAPT else 1.0)
        every = max(1, steps // EVALUATIONS)
        return {**TRAINING, "steps": steps, "eval_every": every, **arm.train}

    def _steps(self, share: float) -> int:
        return math.ceil(share * self.tokens / TRAINING["batch_tokens"])

    def base(self, seed: int) -> Artifact:
        """The English and code model."""
        with self.ledger.charged(f"base {seed}"):
            return pretrain(
                parse(PretrainConfig, self.first_settings()), self.shards(False), self.tokenizer,
                self.work / f"base-{seed}", mix=FIRST_MIX, seed=seed,
            )  # fmt: skip

    def look(self, name: str, seed: int) -> Finished | None:
        """A run's result if it is finished."""
        path = self.runs / f"{self.key(name, seed)}.json"
        return Finished(**read_json(path)["result"]) if path.is_file() else None

    def key(self, name: str, seed: int) -> str:
        """What a run is known by: everything it is made from but the program."""
        arm = _arm(name)
        made = {"first": self.first_settings(), "settings": self.settings(arm), "mix": arm.mix}
        text = {"corpus": self.corpus.hash, "vocabulary": [VOCAB, ADDED], "eval": EVAL_TOKENS}
        return sha256_json({**made, **text, "name": name, "seed": seed})[:16]

    def train(self, name: str, seed: int) -> Finished:
        """Adapt, or go on adapting, and keep the result."""
        arm, key = _arm(name), self.key(name, seed)
        start = self._start(arm, seed)
        shards = self.shards(arm.longer)
        cfg = parse(ContinueConfig, self.settings(arm))
        with self.ledger.charged(key):
            made = continue_pretraining(
                cfg,
                start,
                shards,
                self.work / key,
                mix=arm.mix,
                vocabulary=self.longer if arm.longer and arm is not DAPT else None,
                seed=seed,
                probes=bpb_probes(shards, max_tokens=EVAL_TOKENS, seq_len=cfg.seq_len),
            )
        lines = [line for line in read_metrics(made.path) if "val_bpb/ko" in line]
        counts = made.manifest.counts
        result = Finished(
            curve=[_point(line) for line in lines],
            decisions=counts["decisions"],
            reached=counts["mix"]["reached"],
            parameters=counts["parameters"],
            tokens=counts["tokens"],
            cpu_s=round(self.ledger.spent(key), 1),
        )
        write_json(self.runs / f"{key}.json", {**_about(name, seed, cfg), "result": vars(result)})
        if (name, seed) != _DAPT_FROM:
            shutil.rmtree(made.path)
        return result

    def _start(self, arm: Arm, seed: int) -> Artifact:
        if arm is not DAPT:
            return self.base(seed)
        return open_artifact(self.work / self.key(*_DAPT_FROM), "base")

    @cached_property
    def step_s(self) -> float:
        """CPU seconds of an optimizer step, the fastest of some on random tokens."""
        cfg = parse(PretrainConfig, self.first_settings())
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

    def first_cost(self, seed: int) -> float:
        """CPU seconds of the first training, unless it is done."""
        done = (self.work / f"base-{seed}").is_dir()
        return 0.0 if done else self.step_s * self._steps(FIRST_SHARE)

    def cost(self, name: str) -> float:
        """CPU seconds of an adaptation; a forward pass is a third of a step."""
        steps = self.settings(_arm(name))["steps"]
        evaluated = (EVALUATIONS + 2) * EVAL_TOKENS * len(SOURCES) / TRAINING["batch_tokens"] / 3
        return self.step_s * (steps + evaluated)


_DAPT_FROM = ("controller, longer vocabulary", SEEDS[0])
_DAPT_NAME = "dapt on laws"


def _arm(name: str) -> Arm:
    return DAPT if name == _DAPT_NAME else ARMS[name]


def _point(line: dict[str, Any]) -> dict[str, float]:
    """What the page draws of an evaluation."""
    kept = ("val_bpb/", "share/", "worse/")
    return {"tokens": line.get("tokens", 0)} | {k: v for k, v in line.items() if k.startswith(kept)}


def _about(name: str, seed: int, cfg: ContinueConfig) -> dict[str, Any]:
    """What a run's file says besides its result."""
    return {
        "run": {"name": name, "seed": seed},
        "settings": cfg.as_json(),
        "threads": torch.get_num_threads(),
        "hardware": machine(),
        "versions": versions(),
        "git_commit": git_commit(),
    }


# Running it -----------------------------------------------------------------------------------


def all_runs() -> list[tuple[str, int]]:
    """Every run: seed by seed, so that a study cut short has whole comparisons."""
    return [(name, seed) for seed in SEEDS for name in ARMS] + [(_DAPT_NAME, SEEDS[0])]


def run_all(lab: Lab, cpu_minutes: float) -> None:
    """Train until nothing is missing, or the next run would not fit into the budget."""
    left = [run for run in all_runs() if lab.look(*run) is None]
    for done, (name, seed) in enumerate(left, 1):
        if lab.ledger.spent() + lab.cost(name) + lab.first_cost(seed) > cpu_minutes * 60:
            raise ConfigError(
                "{spent:.0f} CPU-minutes are spent and {runs} runs are left; --cpu-minutes allows "
                "{allowed:.0f}.",
                spent=lab.ledger.spent() / 60,
                runs=len(left) - done + 1,
                allowed=cpu_minutes,
            )
        result = lab.train(name, seed)
        scores = " ".join(f"{d} {result.curve[-1][f'val_bpb/{d}']:.3f}" for d in SOURCES)
        spent = human_time(result.cpu_s)
        print(f"{name}, seed {seed}: {scores}, {spent} CPU; {len(left) - done} left", flush=True)


def print_plan(lab: Lab) -> None:
    """What there is to do and how long it takes."""
    left = [run for run in all_runs() if lab.look(*run) is None]
    bases = [seed for seed in SEEDS if lab.first_cost(seed)]
    minutes = (sum(lab.cost(name) for name, _ in left) + sum(map(lab.first_cost, bases))) / 60
    size = count(parse(PretrainConfig, lab.first_settings()).model).params_total
    print(f"{size / 1e6:.1f} M parameters, {lab.step_s:.2f} CPU-seconds a step")
    print(f"{len(bases)} first trainings and {len(left)} adaptations left: about {minutes:.0f} "
          f"CPU-minutes, {lab.ledger.spent() / 60:.0f} spent so far")  # fmt: skip


def write_page(lab: Lab, path: Path) -> None:
    """The page and its figure, of the runs there are."""
    done = {run: result for run in all_runs() if (result := lab.look(*run)) is not None}
    if not done:
        return
    size = count(parse(PretrainConfig, lab.first_settings()).model).params_total
    facts = {
        "parameters": size,
        "first_tokens": lab.first_settings()["steps"] * TRAINING["batch_tokens"],
        "vocab": VOCAB,
        "added": ADDED,
        "cpu_minutes": lab.ledger.spent() / 60,
        "hardware": f"{machine()['cpu']}, {torch.get_num_threads()} thread",
    }
    picture = path.with_suffix(".png")
    draw(done, ARMS, picture)
    text = page(done, ARMS, _DAPT_NAME, lab.vocabularies(), facts, picture.name)
    write_bytes(path, text.encode())
    print(f"written to {path}")


if __name__ == "__main__":
    sys.exit(main())
