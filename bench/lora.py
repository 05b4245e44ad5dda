"""Adapters against full fine-tuning, at equal CPU time on held-out conversations.

A small model is pretrained on Korean pages and then tuned on Korean conversations: all weights
(``full``, the control), with LoRA (``lora``) and with LoRA on a base in 8 bits (``int8``). Every
training gets the same CPU-seconds: steps are bought at each way's own price, which pilots measure.
The pilots also choose the learning rate of each way, by the loss on conversations not seen before,
none of them held out. Judged are the bits per byte of held-out answers, and of held-out pages for
what was forgotten; three seeds of the order of conversations, differences taken seed by seed.
A stage that is there already is not made again, so a study that was stopped goes on.

    python bench/lora.py --budget                # what it costs; trains nothing
    python bench/lora.py [--cpu-s 25] [--first-tokens 700K | --base DIR] [--ways full lora int8]

Text is below $YAONGI_DATA; results: bench/results/lora.json, told in docs/lora.md.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import math
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from yaongi.cli.start import tokenizer_of
from yaongi.core.artifact import Artifact, git_commit, machine, open_artifact, versions
from yaongi.core.config import parse
from yaongi.core.errors import YaongiError
from yaongi.core.files import read_json, write_json
from yaongi.core.runlog import read_metrics
from yaongi.core.seeds import Seed
from yaongi.data.corpus import CorpusConfig, build_corpus, sample_texts
from yaongi.data.shards import Shards, ShardsConfig, build_shards
from yaongi.evals.tasks.bpb import measure
from yaongi.model.adapter_io import load_adapters
from yaongi.model.io import MODEL_KINDS, load_model
from yaongi.model.lora import add_adapters, learnt_state
from yaongi.text.foreign import load_tokenizer
from yaongi.text.train import TokenizerConfig
from yaongi.text.train import stage as train_tokenizer
from yaongi.train.optim.build import build_optimizer
from yaongi.train.pretrain import PretrainConfig, pretrain
from yaongi.tune.lora import LoRAConfig, lora, resolve
from yaongi.tune.sft import SFTConfig, sft

ROOT = Path(__file__).parents[1]
SEEDS, PILOT_SEED = (0, 1, 2), 100
T95 = 4.303
"""Student's t for a two-sided 95 % interval of three differences."""
PAGES = ("ko_president_speeches", "ko_nsmc_reviews", "ko_python_docs", "ko_news_sentences",
         "ko_fastapi_docs", "ko_d2l")  # fmt: skip
CHATS = {"small talk": ("chat_ko_songys",), "instructions": ("chat_ko_rmjudge_reference",)}
VOCAB = 8192
MODEL: dict[str, Any] = {
    "vocab_size": VOCAB,
    "d_model": 192,
    "pattern": "(*-)x6",
    "attention": {"n_heads": 6, "n_kv_heads": 2, "head_dim": 32, "rope_theta": 10_000.0},
    "mlp": {"d_ff": 512, "activation": "swiglu"},
}
TRAINING: dict[str, Any] = {
    "batch_tokens": 2048, "seq_len": 256, "compile": "off", "precision": "fp32", "device": "cpu",
    "keep": 1, "save_s": "120s", "log_every": 1,
}  # fmt: skip
FIRST = {**TRAINING, "batch_tokens": 4096, "optimizer": {"kind": "muon", "lr": 2e-3}}
ADAPTER: dict[str, Any] = {"rank": 16, "alpha": 32, "embedding_rows": "control"}
WAYS: dict[str, dict[str, Any]] = {
    "full": {},
    "lora": {"adapter": ADAPTER},
    "int8": {"adapter": {**ADAPTER, "base": "int8"}},
}
RATES = {"full": (3e-4, 1e-3, 3e-3), "lora": (1e-3, 3e-3, 1e-2)}
PILOT_STEPS = 16
PAGE_TOKENS = 20_000


def main(argv: Sequence[str] | None = None) -> int:
    """Train what is missing, measure it, write the results."""
    args = _arguments().parse_args(argv)
    torch.set_num_threads(1)
    lab = Lab(args.work, args.first_tokens, args.cpu_s, args.base, args.ways)
    try:
        if args.budget:
            print(lab.budget())
            return 0
        write_json(args.out, lab.study())
    except KeyboardInterrupt:
        print("\nStopped. Run the same command again to go on from here.")
        return 130
    except YaongiError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(f"written to {args.out}")
    return 0


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Adapters against full fine-tuning.")
    parser.add_argument("--cpu-s", type=float, default=25, help="of each training, CPU-seconds")
    parser.add_argument("--first-tokens", default="700K", help="of pretraining")
    parser.add_argument("--base", type=Path, help="a pretrained model to take instead")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--budget", action="store_true", help="show what it costs, then stop")
    parser.add_argument("--out", type=Path, default=ROOT / "bench/results/lora.json")
    parser.add_argument("--work", type=Path, default=ROOT / "runs/bench-lora")
    return parser


class Lab:
    """The stages of the study below ``work``, each made when first asked for."""

    def __init__(
        self, work: Path, first_tokens: str, cpu_s: float, given: Path | None, ways: Sequence[str]
    ) -> None:
        self.work, self.cpu_s, self.given, self.ways = work, cpu_s, given, ways
        self.first = parse(PretrainConfig, {**FIRST, "model": MODEL, "tokens": first_tokens})

    # --- data and base ---

    def _corpus(self, name: str, files: dict[str, tuple[str, ...]], share: float) -> Artifact:
        sources = [
            {"path": f"train/{file}.jsonl.zst", "domain": domain, "licence": "see the catalogue"}
            for domain, names in files.items()
            for file in names
        ]
        cfg = parse(CorpusConfig, {"sources": sources, "val_fraction": share})
        return build_corpus(cfg, self.work / name, Seed(0))

    @functools.cached_property
    def corpora(self) -> dict[str, Artifact]:
        """Pages to pretrain on and conversations to tune on."""
        return {"pages": self._corpus("pages", {"ko": PAGES}, 0.02),
                "chats": self._corpus("chats", CHATS, 0.1)}  # fmt: skip

    @functools.cached_property
    def tokenizer(self) -> Artifact:
        if self.given is not None:
            return tokenizer_of(self.base)
        pages = self.corpora["pages"]
        texts = sample_texts(pages, {"ko": 1.0}, 6_000_000)
        cfg = TokenizerConfig(vocab_size=VOCAB)
        return train_tokenizer(cfg, texts, self.work / "tokenizer", parents=[pages])

    @functools.cached_property
    def shards(self) -> dict[str, Artifact]:
        return {
            name: build_shards(ShardsConfig(), corpus, self.tokenizer, self.work / f"{name}-shards")
            for name, corpus in self.corpora.items()
        }

    @functools.cached_property
    def base(self) -> Artifact:
        if self.given is not None:
            return open_artifact(self.given, MODEL_KINDS)
        shards, out = self.shards["pages"], self.work / "base"
        return pretrain(self.first, shards, self.tokenizer, out, mix={"ko": 1.0}, seed=0)

    # --- one training ---

    def train(self, way: str, lr: float, steps: int, seed: int, name: str) -> dict[str, Any]:
        """Facts of one training, kept beside it: price of a step, losses, scores."""
        note = self.work / f"{name}.json"
        if note.is_file():
            return read_json(note)
        decay = {} if way == "full" else {"weight_decay": 0.0}
        optimizer = {"kind": "adamw", "lr": lr, **decay}
        kind, stage = (SFTConfig, sft) if way == "full" else (LoRAConfig, lora)
        cfg = parse(kind, {**TRAINING, "optimizer": optimizer, "steps": steps, **WAYS[way]})
        clock = [time.process_time()]
        made = stage(
            cfg,  # pyright: ignore[reportArgumentType]
            self.base,
            self.shards["chats"],
            self.work / name,
            seed=seed,
            on_step=lambda _: clock.append(time.process_time()),
        )
        prices = [b - a for a, b in itertools.pairwise(clock[1:])]  # the first step warms up
        losses = [row["loss"] for row in read_metrics(made.path)]
        facts = {
            "way": way, "lr": lr, "steps": steps, "seed": seed, "cpu_s": clock[-1] - clock[0],
            "step_s": statistics.median(prices), "last_loss": statistics.fmean(losses[-6:]),
            "epochs": made.manifest.counts["epochs"],
            "file_bytes": sum(f.bytes for n, f in made.manifest.files.items()
                              if n.endswith(".safetensors")),
        }  # fmt: skip
        write_json(note, facts)
        return facts

    def scores(self, name: str, way: str) -> dict[str, float]:
        """Bits per byte of held-out answers, by domain and of all, and of held-out pages."""
        base, folder = self.base.path, self.work / name
        lm = load_model(folder if way == "full" else base, dtype=torch.float32)
        if way in ("lora", "int8"):
            load_adapters(lm, base, [folder])
        chats = Shards(self.shards["chats"])
        found = {d: measure(lm, chats, d, 10**9, 256, 8) for d in CHATS}
        bits = sum(sum(m.row_bits) for m in found.values())
        size = sum(sum(m.row_bytes) for m in found.values())
        pages = measure(lm, Shards(self.shards["pages"]), "ko", PAGE_TOKENS, 256, 8)
        return {**{d: m.bpb for d, m in found.items()}, "answers": bits / size, "pages": pages.bpb}

    # --- the study ---

    @functools.cached_property
    def pilots(self) -> dict[str, list[dict[str, Any]]]:
        """Short trainings at every learning rate, the ways in turns so that all see one machine."""
        order = [(way, rate) for i in range(3) for way in RATES for rate in [RATES[way][i]]]
        found: dict[str, list[dict[str, Any]]] = {way: [] for way in ("full", "lora")}
        for way, rate in order:
            name = f"pilot-{way}-{rate:g}"
            found[way].append(self.train(way, rate, PILOT_STEPS, PILOT_SEED, name))
        if "int8" not in self.ways:
            return found
        rate = self.best(found["lora"])
        found["int8"] = [self.train("int8", rate, PILOT_STEPS, PILOT_SEED, f"pilot-int8-{rate:g}")]
        return found

    @staticmethod
    def best(pilots: Sequence[dict[str, Any]]) -> float:
        """The learning rate with the lowest loss on conversations just met."""
        return min(pilots, key=lambda p: p["last_loss"])["lr"]

    def study(self) -> dict[str, Any]:
        """Everything the page says."""
        prices = {w: statistics.median(p["step_s"] for p in of) for w, of in self.pilots.items()}
        rates = {way: self.best(of) for way, of in self.pilots.items()}
        runs: dict[str, list[dict[str, Any]]] = {way: [] for way in self.ways}
        for seed in SEEDS:
            for way in self.ways:
                steps, name = max(1, int(self.cpu_s / prices[way])), f"{way}-{seed}"
                facts = self.train(way, rates[way], steps, seed, name)
                note = self.work / f"{name}-scores.json"
                if not note.is_file():
                    write_json(note, self.scores(name, way))
                runs[way].append({**facts, **read_json(note)})
        return {
            "runs": runs,
            "pilots": self.pilots,
            "before": self.scores("", "base"),
            "against_full": {
                way: {of: _difference(runs[way], runs["full"], of) for of in ("answers", "pages")}
                for way in self.ways if way != "full"
            },
            "memory": {way: self.memory(way) for way in WAYS},
            "cpu_s": self.cpu_s,
            "base": {"tokens": self.base.manifest.counts["tokens"],
                     "parameters": self.base.manifest.counts["parameters"]},
            "held_out": {d: self.corpora["chats"].manifest.counts["domains"][d]["val"]["documents"]
                         for d in CHATS},
            "command": "python bench/lora.py",
            "hardware": f"{machine()['cpu']}, one thread",
            "versions": versions(),
            "git_commit": git_commit(),
        }  # fmt: skip

    def memory(self, way: str) -> dict[str, int]:
        """Bytes after one step: frozen and learnt weights, gradients, optimizer state."""
        model = load_model(self.base.path, dtype=torch.float32).train()
        decay = {"kind": "adamw", "lr": 1e-3}
        cfg = parse(LoRAConfig, {**TRAINING, "optimizer": decay, "steps": 1, **WAYS[way]})
        if way != "full":
            add_adapters(model, resolve(cfg.adapter, load_tokenizer(self.base.path)))
        optimizer = build_optimizer(cfg.optimizer, model)
        model.logits(model(torch.arange(64)[None]).hidden).square().mean().backward()
        optimizer.step()
        states = [v for s in optimizer.state.values() for v in s.values() if torch.is_tensor(v)]
        grads = [p.grad for p in model.parameters() if p.grad is not None]
        inside = model.layers.state_dict()
        return {
            "weights": _bytes(model.state_dict().values()),
            "layers": _bytes(t for n, t in inside.items() if "adapters" not in n),
            "learnt": _bytes(learnt_state(model).values()),
            "gradients": _bytes(grads),
            "optimizer": _bytes(states),
        }

    def budget(self) -> str:
        """CPU-minutes that are left."""
        names = [f"{way}-{seed}.json" for way in self.ways for seed in SEEDS]
        trained = [name for name in names if not (self.work / name).is_file()]
        there = self.given or (self.work / "base").is_dir()
        first = 0.0 if there else 130 * (self.first.tokens or 0) / 700_000
        pilots = 0.0 if (self.work / "pilot-lora-0.01.json").is_file() else 7 * PILOT_STEPS * 0.4
        left = len(trained) * (self.cpu_s + 6) + first + pilots
        return f"{len(trained)} trainings left: about {left / 60:.0f} CPU-minutes of one thread"


def _bytes(tensors: Any) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


def _difference(ours: Sequence[Any], control: Sequence[Any], of: str) -> dict[str, Any]:
    """Seed by seed, ours minus the control: mean and 95 % interval; below 0 is better."""
    each = [a[of] - b[of] for a, b in zip(ours, control, strict=True)]
    mean, half = statistics.fmean(each), T95 * statistics.stdev(each) / math.sqrt(len(each))
    return {"mean": mean, "low": mean - half, "high": mean + half, "each": each}


if __name__ == "__main__":
    sys.exit(main())
