"""What fine-tuning gains over pretraining on the same conversations, at equal time.

A small model is pretrained on Korean text and then trained on Korean conversations in three ways
for equally many steps of the same shape:

- ``sft``: chat template, loss on what the assistant says (``tune.sft``);
- ``template``: the same rows, loss on every token;
- ``text``, the control: no template, question and answer as a page of text, loss on every token,
  that is continued pretraining.

Each is judged on held-out conversations in the format it learnt, by the bits its model needs for
a byte of the answers (not of the questions, and not of what ends a turn), and on held-out pages
for what it forgot. Three seeds of the order of conversations; differences are taken seed by seed.
A stage that is there already is not made again, so a study that was stopped goes on.

    python bench/sft.py --budget                 # what it costs; trains nothing
    python bench/sft.py [--tokens 120K] [--first-tokens 700K] [--arms sft text]

Text is below $YAONGI_DATA; results: bench/results/sft.json and docs/results/sft.md.
"""

from __future__ import annotations

import argparse
import functools
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datatrove.data import Document
from sft_report import page

import yaongi
from yaongi.core.artifact import Artifact, git_commit, machine, versions
from yaongi.core.config import parse
from yaongi.core.errors import YaongiError
from yaongi.core.files import read_json, write_bytes, write_json
from yaongi.core.seeds import Seed
from yaongi.core.units import human_time
from yaongi.data.corpus import CorpusConfig, build_corpus, read_corpus, sample_texts
from yaongi.data.shards import DocumentEncoder, Encoded, Shards, ShardsConfig, build_shards
from yaongi.evals.tasks.bpb import measure
from yaongi.model.count import count
from yaongi.model.io import load_model
from yaongi.model.lm import LM
from yaongi.text.tokenizer import Tokenizer
from yaongi.text.train import TokenizerConfig
from yaongi.text.train import stage as train_tokenizer
from yaongi.train.dryrun import RandomRows
from yaongi.train.loop import train_steps
from yaongi.train.objectives import next_token
from yaongi.train.optim.build import build_optimizer
from yaongi.train.precision import choose_precision
from yaongi.train.pretrain import PretrainConfig, pretrain
from yaongi.tune.sft import SFTConfig, sft

ROOT = Path(__file__).parents[1]
SEEDS = (0, 1, 2)
ARMS = ("sft", "text", "template")
PAGES = {  # of recipes/korean-small.yaml, which states their licences: tiers A and B
    "ko": ("ko_president_speeches", "ko_nsmc_reviews", "ko_python_docs", "ko_news_sentences",
           "ko_fastapi_docs", "ko_d2l"),
}  # fmt: skip
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
    "batch_tokens": 4096, "seq_len": 512, "micro_batch": 4, "compile": "off", "precision": "fp32",
    "device": "cpu", "keep": 1, "save_s": "60s",
}  # fmt: skip
FIRST = {**TRAINING, "optimizer": {"kind": "muon", "lr": 2e-3}}
TUNING = {**TRAINING, "batch_tokens": 2048, "optimizer": {"kind": "adamw", "lr": 1e-3}}
PAGE_TOKENS = 20_000  # held-out tokens of pages that measure what was forgotten
DIALOGUES = 8

Choose = Callable[[Sequence[dict[str, Any]]], Encoded]
"""Messages -> tokens with their mask."""


def main(argv: Sequence[str] | None = None) -> int:
    """Train what is missing, measure it, write the page."""
    args = _arguments().parse_args(argv)
    torch.set_num_threads(1)
    try:
        lab = Lab(args.work, args.first_tokens, args.tokens, args.arms)
        if args.budget:
            print(lab.budget())
            return 0
        write_json(args.out, lab.study())
        write_bytes(args.page, page(read_json(args.out)).encode())
    except KeyboardInterrupt:
        print("\nStopped. Run the same command again to go on from here.")
        return 130
    except YaongiError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(f"written to {args.out} and {args.page}")
    return 0


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Fine-tuning against continued pretraining.")
    parser.add_argument("--tokens", default="120K", help="of each fine-tuning")
    parser.add_argument("--first-tokens", default="700K", help="of pretraining")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS, help="those to compare")
    parser.add_argument("--budget", action="store_true", help="show what it costs, then stop")
    parser.add_argument("--out", type=Path, default=ROOT / "bench/results/sft.json")
    parser.add_argument("--page", type=Path, default=ROOT / "docs/results/sft.md")
    parser.add_argument("--work", type=Path, default=ROOT / "runs/bench-sft")
    return parser


class Lab:
    """The stages of the study below ``work``, each made when first asked for."""

    def __init__(self, work: Path, first_tokens: str, tokens: str, arms: Sequence[str]) -> None:
        self.work, self.arms = work, tuple(arms)
        self.first = parse(PretrainConfig, {**FIRST, "model": MODEL, "tokens": first_tokens})
        self.tuning = parse(SFTConfig, {**TUNING, "tokens": tokens})

    # --- data ---

    @functools.cached_property
    def pages(self) -> Artifact:
        return self._corpus("pages", PAGES, {"val_fraction": 0.02})

    @functools.cached_property
    def chats(self) -> Artifact:
        return self._corpus("chats", CHATS, {"val_fraction": 0.1})

    def _corpus(
        self, name: str, files: dict[str, tuple[str, ...]], how: dict[str, Any]
    ) -> Artifact:
        sources = [
            {"path": f"train/{file}.jsonl.zst", "domain": domain, "licence": "see the catalogue"}
            for domain, names in files.items()
            for file in names
        ]
        cfg = parse(CorpusConfig, {"sources": sources, **how})
        return build_corpus(cfg, self.work / name, Seed(0))

    @functools.cached_property
    def tokenizer(self) -> Artifact:
        texts = sample_texts(self.pages, {"ko": 1.0}, 8_000_000)
        cfg = TokenizerConfig(vocab_size=VOCAB)
        return train_tokenizer(cfg, texts, self.work / "tokenizer", parents=[self.pages])

    @functools.cached_property
    def tok(self) -> Tokenizer:
        return Tokenizer.load(self.tokenizer.path)

    def shards(self, name: str) -> Artifact:
        """``pages``; the conversations as an arm learns them, or (``…-judged``) is judged."""
        corpus = self.pages if name == "pages" else self.chats
        encoder = None
        if name != "pages":
            choose = {
                "sft": self._chat,
                "template": lambda m: self._chat(m)._replace(mask=None),
                "text": lambda m: self._text(m)._replace(mask=None),
                "chat-judged": lambda m: self._only_content(self._chat(m)),
                "text-judged": self._text,
            }[name]
            encoder = self._encoder(choose)
        folder = self.work / f"shards-{name}"
        return build_shards(ShardsConfig(), corpus, self.tokenizer, folder, encoder=encoder)

    def _encoder(self, choose: Choose) -> DocumentEncoder:
        def encode(documents: Sequence[Document]) -> list[Encoded]:
            made = [choose(document.metadata["messages"]) for document in documents]
            return [
                e._replace(mask=[0, *[1] * (len(e.ids) - 1)]) if e.mask is None else e for e in made
            ]

        sizes = [len(self.tok.token_bytes(i)) for i in range(self.tok.vocab_size)]
        return DocumentEncoder(encode, sizes, self.tok.eot_id, self.tok.pad_id)

    def _chat(self, messages: Sequence[dict[str, Any]]) -> Encoded:
        return Encoded(*self.tok.conversation(messages))

    def _only_content(self, encoded: Encoded) -> Encoded:
        """Without the end of a turn, which a page of text does not have."""
        mask = np.asarray(encoded.mask) * ~np.isin(encoded.ids, sorted(self.tok.control_ids))
        return encoded._replace(mask=mask.tolist())

    def _text(self, messages: Sequence[dict[str, Any]]) -> Encoded:
        """Turns apart by an empty line; the mask marks the answers."""
        ids, mask = [self.tok.eot_id], [0]
        for place, message in enumerate(messages, 1):
            said = self.tok.encode(message["content"])
            gap = self.tok.encode("\n\n") if place < len(messages) else []
            ids += [*said, *gap]
            mask += [int(message["role"] == "assistant")] * len(said) + [0] * len(gap)
        return Encoded(ids, mask)

    # --- models ---

    @functools.cached_property
    def base(self) -> Artifact:
        shards, out = self.shards("pages"), self.work / "base"
        return pretrain(self.first, shards, self.tokenizer, out, mix={"ko": 1.0}, seed=0)

    def tuned(self, arm: str, seed: int) -> tuple[Artifact, float]:
        """The model, and the CPU-seconds its training took in this process."""
        inputs = self.base, self.shards(arm)
        began = time.process_time()
        made = sft(self.tuning, *inputs, self.work / f"{arm}-{seed}", seed=seed)
        return made, time.process_time() - began

    def scores(self, model: Path, arm: str) -> dict[str, float]:
        """Bits per byte of held-out answers by domain and of all of them, and of pages."""
        lm = load_model(model, dtype=torch.float32).eval()
        judged = Shards(self.shards("text-judged" if arm == "text" else "chat-judged"))
        found = {d: measure(lm, judged, d, 10**9, self.tuning.seq_len, 8) for d in CHATS}
        bits, size = (sum(map(sum, rows)) for rows in zip(
            *((m.row_bits, m.row_bytes) for m in found.values()), strict=True))  # fmt: skip
        pages = measure(lm, Shards(self.shards("pages")), "ko", PAGE_TOKENS, 512, 8)
        by_domain = {domain: m.bpb for domain, m in found.items()}
        return {**by_domain, "all": bits / size, "bytes": size, "pages": pages.bpb}

    def run(self, arm: str, seed: int) -> dict[str, Any]:
        """The numbers of one training, kept beside its model."""
        note = self.work / f"{arm}-{seed}.json"
        if not note.is_file():
            made, cpu_s = self.tuned(arm, seed)
            packing = made.manifest.counts["packing"]
            facts = {"steps": made.manifest.counts["steps"], "packing": packing, "cpu_s": cpu_s}
            write_json(note, {**facts, **self.scores(made.path, arm)})
        return read_json(note)

    # --- the study ---

    def study(self) -> dict[str, Any]:
        """Everything the page says, as JSON."""
        runs = {arm: [self.run(arm, seed) for seed in SEEDS] for arm in self.arms}
        sizes = {run["bytes"] for of_arm in runs.values() for run in of_arm}
        assert len(sizes) == 1, f"the arms were judged on different texts: {sizes}"
        before = self.work / "before.json"
        if not before.is_file():
            write_json(before, {arm: self.scores(self.base.path, arm) for arm in ("sft", "text")})
        return {
            "runs": runs,
            "before": read_json(before),
            "dialogues": self.dialogues(),
            "parameters": count(self.first.model).params_total,
            "first_tokens": self.first.tokens,
            "tokens": self.tuning.tokens,
            "held_out": {d: self.chats.manifest.counts["domains"][d]["val"]["documents"]
                         for d in CHATS},
            "command": "python bench/sft.py",
            "hardware": f"{machine()['cpu']}, one thread",
            "versions": versions(),
            "git_commit": git_commit(),
        }  # fmt: skip

    def dialogues(self) -> list[dict[str, str]]:
        """Answers to the first held-out questions, unedited and greedy."""
        models = {arm: yaongi.load(self.work / f"{arm}-0") for arm in ("sft", "text")}
        rows: list[dict[str, str]] = []
        for document, _ in zip(read_corpus(self.chats, "val", "small talk"), range(DIALOGUES)):  # noqa: B905
            question = document.metadata["messages"][0]
            asked = question["content"]
            rows.append({
                "question": asked,
                "reference": document.metadata["messages"][1]["content"],
                "sft": models["sft"].chat([question], max_tokens=40),
                "text": models["text"].generate(f"{asked}\n\n", max_tokens=40),
            })  # fmt: skip
        return rows

    def budget(self) -> str:
        """Steps left and how long they take, from a few timed ones."""
        left = [(a, s) for a in self.arms for s in SEEDS if not (self.work / f"{a}-{s}").is_dir()]
        tokens = len(left) * (self.tuning.tokens or 0)
        tokens += 0 if (self.work / "base").is_dir() else self.first.tokens or 0
        speed = self._tokens_per_s()
        return (
            f"{count(self.first.model).params_total / 1e6:.1f} M parameters, {speed:,.0f} tokens "
            f"a CPU-second; {len(left)} fine-tunings left, {tokens:,} tokens: about "
            f"{human_time(tokens / speed)} of one thread"
        )

    def _tokens_per_s(self, timed: int = 3) -> float:
        model = LM(self.first.model)
        model.init_weights(0)
        rows = RandomRows(self.first)  # rows of the same length
        optimizer = build_optimizer(self.tuning.optimizer, model)
        precision = choose_precision("fp32", torch.device("cpu"))
        times = [time.process_time()]
        for _step in train_steps(
            model, optimizer, rows, next_token, self.tuning, steps=1 + timed, precision=precision
        ):
            times.append(time.process_time())
        return timed * self.first.batch_tokens / (times[-1] - times[1])


if __name__ == "__main__":
    sys.exit(main())
