"""Does DPO prefer better than fine-tuning on the chosen answers for as long? And a reward model?

A small model is pretrained on Korean and English, then fine-tuned on the chosen answers of public
preference data. From there DPO goes on with the pairs, and a control goes on with the chosen
answers alone, as many CPU seconds as DPO took with its reference; three seeds each, judged on
held-out pairs. A reward model is trained from the same start. A finished run is one JSON file, so
a study that was stopped goes on where it was.

    python bench/dpo.py --budget          # the plan and its minutes; trains next to nothing
    python bench/dpo.py [--scale 1.0] [--cpu-minutes 15]
    python bench/dpo.py --report          # writes the result of the seeds that are done

One thread. Text is below $YAONGI_DATA; the result is bench/results/dpo.json.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ledger import Ledger

from yaongi.core.artifact import (
    Artifact,
    draft,
    existing,
    git_commit,
    machine,
    open_artifact,
    versions,
)
from yaongi.core.config import parse
from yaongi.core.errors import YaongiError
from yaongi.core.files import read_json, write_json
from yaongi.core.seeds import Seed
from yaongi.data.corpus import CorpusConfig, build_corpus, read_corpus, sample_texts
from yaongi.data.pair_batches import PackedPairs
from yaongi.data.pairs import build_pairs
from yaongi.data.shards import ShardsConfig, build_shards
from yaongi.evals.run import bpb_probes
from yaongi.model.io import load_model, save_model
from yaongi.model.lm import LM, LMConfig
from yaongi.text.foreign import save_tokenizer
from yaongi.text.train import TokenizerConfig
from yaongi.text.train import stage as train_tokenizer
from yaongi.train.precision import choose_precision
from yaongi.train.pretrain import PretrainConfig, pretrain
from yaongi.tune.dpo import DPOConfig, dpo
from yaongi.tune.reference import log_prob_table
from yaongi.tune.reward import RewardConfig, evaluate_reward, load_reward, train_reward
from yaongi.tune.sft import SFTConfig, sft

ROOT = Path(__file__).parents[1]
SEEDS = (0, 1, 2)
BETA = 0.1
TEXT = {  # file -> domain, licence
    "ko_president_speeches": ("ko", "public political speeches"),
    "ko_nsmc_reviews": ("ko", "CC0-1.0"),
    "ko_news_sentences": ("ko", "CC BY-SA 3.0"),
    "en_wikipedia_demo": ("en", "CC BY-SA"),
    "en_movie_reviews": ("en", "CC BY 4.0"),
}
PREFERENCES = {
    "pref_ko_rmjudge": ("ko", "MIT; model outputs"),
    "pref_en_dpo_demo": ("en", "Apache-2.0"),
}
MIX = {"ko": 0.75, "en": 0.25}
HELD_OUT = 0.25
VOCAB, SEQ_LEN = 8192, 160
MODEL: dict[str, Any] = {
    "vocab_size": VOCAB,
    "d_model": 192,
    "pattern": "(*-)x6",
    "attention": {"n_heads": 6, "n_kv_heads": 2, "head_dim": 32, "rope_theta": 10_000.0},
    "mlp": {"d_ff": 512, "activation": "swiglu"},
}
SHARED: dict[str, Any] = {
    "batch_tokens": 3840,
    "micro_batch": 6,
    "seq_len": SEQ_LEN,
    "compile": "off",
    "precision": "fp32",
    "device": "cpu",
    "threads": 1,
    "keep": 1,
    "save_s": "60s",
}
PRETRAINING = {**SHARED, "model": MODEL, "optimizer": {"kind": "muon", "lr": 2e-3}}
TUNING = {**SHARED, "batch_tokens": 1920}
SFT = {**TUNING, "truncate": True, "optimizer": {"kind": "adamw", "lr": 3e-4}}
DPO = {**TUNING, "truncate": True, "optimizer": {"kind": "adamw", "lr": 1e-4, "weight_decay": 0.0},
       "loss": {"kind": "dpo", "beta": BETA}}  # fmt: skip
REWARD = {k: v for k, v in DPO.items() if k != "loss"}
PRETRAIN_TOKENS, SFT_EPOCHS, TIMED_STEPS = 600_000, 2.0, 6


def main(argv: Sequence[str] | None = None) -> int:
    """Plan, or run what is missing and write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--scale", type=float, default=1.0, help="of every training's length")
    parser.add_argument("--cpu-minutes", type=float, default=15.0, help="start no run beyond it")
    parser.add_argument("--report", action="store_true", help="only of the seeds that are done")
    parser.add_argument("--budget", action="store_true", help="show minutes, then stop")
    parser.add_argument("--work", type=Path, default=ROOT / "runs/dpo", help="data and models")
    parser.add_argument("--out", type=Path, default=ROOT / "bench/results/dpo.json")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    lab = Lab(args.work, args.scale)
    try:
        if args.budget:
            spent = lab.ledger.spent() / 60
            print(f"about {lab.expected_minutes():.1f} CPU minutes; {spent:.1f} spent")
            return 0
        for seed in SEEDS if not args.report else ():
            for arm in ARMS:
                if lab.ledger.spent() / 60 > args.cpu_minutes and not lab.file(arm, seed).is_file():
                    print("The budget is spent; the same command with more minutes goes on.")
                    return 1
                lab.run(arm, seed)
        write_json(args.out, lab.result())
        print(json.dumps(lab.result()["summary"], indent=2))
    except KeyboardInterrupt:
        print("\nStopped. Run the same command again to go on from here.")
        return 130
    except YaongiError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


class Lab:
    """Data, the model all arms start from, and the arms, each made when first asked for."""

    def __init__(self, work: Path, scale: float) -> None:
        self.work, self.scale = work.absolute(), scale
        (self.work / "runs").mkdir(parents=True, exist_ok=True)
        self.ledger = Ledger(self.work / "cpu.jsonl")

    # data

    def _corpus(self, name: str, files: Mapping[str, tuple[str, str]], held: float) -> Artifact:
        sources = [{"path": f"train/{n}.jsonl.zst", "domain": d, "licence": licence}
                   for n, (d, licence) in files.items()]  # fmt: skip
        cfg = parse(CorpusConfig, {"sources": sources, "val_fraction": held})
        return build_corpus(cfg, self.work / name, Seed(0))

    @cached_property
    def text(self) -> Artifact:
        """What the model is pretrained on."""
        return self._corpus("text", TEXT, 0.01)

    @cached_property
    def preferences(self) -> Artifact:
        """All pairs, a quarter held out."""
        return self._corpus("preferences", PREFERENCES, HELD_OUT)

    def _derived(self, name: str, row: Callable[[Mapping[str, Any]], dict[str, Any]]) -> Artifact:
        """A corpus of the preferences to learn from, each turned into another row."""
        folder = self.work / f"{name}-rows"
        folder.mkdir(exist_ok=True)
        sources = []
        for domain in ("ko", "en"):
            documents = read_corpus(self.preferences, "train", domain)
            lines = [json.dumps(row(d.metadata), ensure_ascii=False) + "\n" for d in documents]
            (folder / f"{domain}.jsonl").write_text("".join(lines), "utf-8")
            sources.append({"path": f"{domain}.jsonl", "domain": domain, "licence": "as above"})
        cfg = {"root": str(folder), "sources": sources, "val_fraction": 0.0}
        return build_corpus(parse(CorpusConfig, cfg), self.work / name, Seed(0))

    @cached_property
    def tokenizer(self) -> Artifact:
        """Of the text in the proportions of the mix."""
        cfg = TokenizerConfig(vocab_size=VOCAB, sample_bytes=3_000_000)
        texts = sample_texts(self.text, MIX, cfg.sample_bytes)
        return train_tokenizer(cfg, texts, self.work / "tokenizer", parents=[self.text])

    @cached_property
    def shards(self) -> Artifact:
        """The text as tokens."""
        return build_shards(ShardsConfig(), self.text, self.tokenizer, self.work / "shards")

    @cached_property
    def chosen(self) -> Artifact:
        """The chosen answers to learn from, as conversations."""
        corpus = self._derived(
            "chosen",
            lambda row: {
                "messages": [*row["prompt"], {"role": "assistant", "content": row["chosen"]}]
            },
        )
        return build_shards(ShardsConfig(), corpus, self.tokenizer, self.work / "chosen-shards")

    @cached_property
    def pairs(self) -> Artifact:
        """The pairs to learn from, without any held out: no arm is evaluated on its way."""
        corpus = self._derived(
            "pairs-to-learn", lambda row: {k: row[k] for k in ("prompt", "chosen", "rejected")}
        )
        return build_pairs(ShardsConfig(), corpus, self.tokenizer, self.work / "pairs")

    @cached_property
    def held_out(self) -> Artifact:
        """The pairs with those held out."""
        return build_pairs(ShardsConfig(), self.preferences, self.tokenizer, self.work / "held-out")

    # models

    @cached_property
    def blank(self) -> Artifact:
        """A model that learnt nothing, to time steps with."""
        made: dict[str, Any] = {"config": {"model": MODEL}, "parents": [self.tokenizer]}
        if found := existing(self.work / "blank", "base", **made):
            return found
        with draft(self.work / "blank", "base", **made) as work:
            save_model(LM(parse(LMConfig, MODEL)), work.path)
            save_tokenizer(self.tokenizer.path, work.path)
            return work.finish()

    @cached_property
    def start(self) -> Artifact:
        """Pretrained, then fine-tuned on the chosen answers: where every arm starts."""
        steps = max(2, round(self.scale * PRETRAIN_TOKENS / SHARED["batch_tokens"]))
        _ready = self.shards, self.chosen
        with self.ledger.charged("pretraining"):
            base = pretrain(
                parse(PretrainConfig, {**PRETRAINING, "steps": steps}), self.shards,
                self.tokenizer, self.work / "base", mix=MIX, seed=0,
            )  # fmt: skip
        cfg = parse(SFTConfig, {**SFT, "epochs": SFT_EPOCHS * self.scale})
        with self.ledger.charged("fine-tuning"):
            return sft(cfg, base, self.chosen, self.work / "start", seed=0)

    def control_step_s(self, seed: int) -> float:
        """CPU seconds of a step of the control, by a few that are thrown away; right before it,
        for a shared machine is not always as fast."""
        path = self.work / f"control-step-{seed}.json"
        if not path.is_file():
            times: list[float] = []
            out = self.work / "timing"
            cfg = parse(SFTConfig, {**SFT, "steps": TIMED_STEPS})
            sft(cfg, self.blank, self.chosen, out, seed=99,
                on_step=lambda step: times.append(time.process_time()))  # fmt: skip
            shutil.rmtree(out)
            write_json(path, {"step_s": float(np.median(np.diff(times)))})
        return read_json(path)["step_s"]

    def file(self, arm: str, seed: int) -> Path:
        """Where a finished run is kept."""
        return self.work / "runs" / f"{arm}-{seed}.json"

    def run(self, arm: str, seed: int) -> dict[str, Any]:
        """Train and measure one arm, unless that is done."""
        path = self.file(arm, seed)
        if not path.is_file():
            out = self.work / f"{arm}-{seed}"
            _ready = self.start, self.pairs, self.chosen, self.held_out
            before = self.ledger.spent(f"{arm} {seed}")
            with self.ledger.charged(f"{arm} {seed}"):
                made = ARMS[arm](self, out, seed)
            cpu_s = self.ledger.spent(f"{arm} {seed}") - before
            found = self._judged(made) if made.manifest.kind == "reward" else self._measured(made)
            about = {"arm": arm, "seed": seed, "cpu_s": cpu_s, "counts": made.manifest.counts}
            write_json(path, {**about, **found, "settings": made.manifest.config})
            shutil.rmtree(made.path)
        return read_json(path)

    def dpo(self, out: Path, seed: int) -> Artifact:
        """Preference optimisation for an epoch."""
        cfg = parse(DPOConfig, {**DPO, "epochs": self.scale})
        return dpo(cfg, self.start, self.pairs, out, seed=seed)

    def control(self, out: Path, seed: int) -> Artifact:
        """Fine-tuning on the chosen answers for as many CPU seconds as DPO took."""
        seconds = self.run("dpo", seed)["cpu_s"]
        cfg = parse(SFTConfig, {**SFT, "steps": max(1, round(seconds / self.control_step_s(seed)))})
        return sft(cfg, self.start, self.chosen, out, seed=seed)

    def reward(self, out: Path, seed: int) -> Artifact:
        """A reward model, for an epoch."""
        cfg = parse(RewardConfig, {**REWARD, "epochs": self.scale})
        return train_reward(cfg, self.start, self.pairs, out, seed=seed)

    # measuring

    def _held(self, domain: str) -> PackedPairs:
        return PackedPairs(self.held_out, 4, SEQ_LEN, Seed(0), domains=[domain], split="val",
                           truncate=True)  # fmt: skip

    def _measured(self, model: Artifact) -> dict[str, Any]:
        """Log-probabilities of the held-out answers, and bits per byte of held-out text."""
        lm = load_model(model.path)
        precision = choose_precision("fp32", torch.device("cpu"))
        tables = {d: log_prob_table(lm, precision, self._held(d)).tolist() for d in ("ko", "en")}
        probes = bpb_probes(self.shards, max_tokens=15_000, seq_len=SEQ_LEN)
        with torch.no_grad():
            return {"log_probs": tables, "bpb": {name: f(lm) for name, f in probes.items()}}

    def _judged(self, model: Artifact) -> dict[str, Any]:
        reward = load_reward(model.path, device="cpu")
        found: dict[str, Any] = {}
        for domain in ("ko", "en"):
            found[domain] = evaluate_reward(reward, self.held_out, domains=[domain], truncate=True)
        return {"reward": found}

    def measured_start(self) -> dict[str, Any]:
        """The model all arms start from."""
        path = self.work / "runs" / "start.json"
        if not path.is_file():
            write_json(path, self._measured(self.start))
        return read_json(path)

    def expected_minutes(self) -> float:
        """From the time of a step: a forward pass is a third of it."""
        pairs = PackedPairs(self.pairs, 8, SEQ_LEN, Seed(0), truncate=True)
        epoch = pairs.rows_per_epoch * pairs.row_len / TUNING["batch_tokens"]
        first = self.scale * (PRETRAIN_TOKENS / TUNING["batch_tokens"] + SFT_EPOCHS * epoch / 2)
        with_reference = self.scale * epoch + epoch / 3
        steps = first + len(SEEDS) * (2 * with_reference + self.scale * epoch)
        return self.control_step_s(SEEDS[0]) * steps / 60

    def result(self) -> dict[str, Any]:
        """Everything, and the summary of ``dpo_report``."""
        from dpo_report import summary

        seeds = [s for s in SEEDS if all(self.file(arm, s).is_file() for arm in ARMS)]
        runs = {arm: [self.run(arm, seed) for seed in seeds] for arm in ARMS}
        lengths = {d: self._held(d).answer_tokens.tolist() for d in ("ko", "en")}
        start = self.measured_start()
        report = {d: vars(self._held(d).report) for d in ("ko", "en")}
        counts = open_artifact(self.work / "start").manifest.counts
        return {
            "summary": summary(start, runs, lengths, BETA),
            "held_out": report,
            "start": {"counts": counts, "bpb": start["bpb"], "model": MODEL},
            "runs": {
                arm: [{k: v for k, v in run.items() if k != "log_probs"} for run in found]
                for arm, found in runs.items()
            },
            "scale": self.scale,
            "cpu_minutes": round(self.ledger.spent() / 60, 2),
            "threads": 1,
            "hardware": machine(),
            "versions": versions(),
            "git_commit": git_commit(),
        }


ARMS: dict[str, Callable[[Lab, Path, int], Artifact]] = {
    "dpo": Lab.dpo,
    "control": Lab.control,
    "reward": Lab.reward,
}


if __name__ == "__main__":
    sys.exit(main())
