"""Preferences small enough for tests: polite answers are chosen, curt ones rejected."""

import json
from pathlib import Path
from typing import Any

import tiny

from yaongi.core.artifact import Artifact
from yaongi.core.config import parse
from yaongi.core.seeds import Seed
from yaongi.data.corpus import CorpusConfig, build_corpus
from yaongi.data.pairs import build_pairs
from yaongi.data.shards import ShardsConfig
from yaongi.text.train import TokenizerConfig
from yaongi.text.train import stage as tokenizer_stage

SETTINGS: dict[str, Any] = {
    "batch_tokens": 768,
    "seq_len": 96,
    "steps": 6,
    "optimizer": {"kind": "adamw", "lr": 3e-3},
    "precision": "fp32",
    "compile": "off",
    "device": "cpu",
    "log_every": 1,
}


def rows(n: int = 40) -> list[dict[str, Any]]:
    """Prompts as a string, as messages, or only within the answers."""
    made: list[dict[str, Any]] = []
    for i in range(n):
        ask = {"role": "user", "content": f"{i} 더하기 {i}는?"}
        good, bad = f"{2 * i}입니다." + " 고맙습니다." * (i % 3), f"{2 * i}" + " 몰라." * (i % 4)
        answers = {"chosen": good, "rejected": bad}
        turns = {k: [ask, {"role": "assistant", "content": v}] for k, v in answers.items()}
        earlier = [{"role": "user", "content": "안녕?"}, {"role": "assistant", "content": "네!"}]
        made.append(
            [
                {"prompt": ask["content"], **answers},
                {"prompt": [*earlier, ask], **answers},
                turns,
            ][i % 3]
        )
    return made


def corpus(
    folder: Path, lines: list[dict[str, Any]] | None = None, val_fraction: float = 0.25
) -> Artifact:
    """A corpus of preferences, part of them held out."""
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in lines or rows())
    (folder / "pref.jsonl").write_text(text, encoding="utf-8")
    sources = [{"path": "pref.jsonl", "domain": "pref", "licence": "CC0"}]
    cfg = {"root": str(folder), "sources": sources, "val_fraction": val_fraction}
    return build_corpus(parse(CorpusConfig, cfg), folder / "corpus", Seed(0))


def road(
    folder: Path, lines: list[dict[str, Any]] | None = None, val_fraction: float = 0.25
) -> dict[str, Artifact]:
    """A corpus of preferences, a tokenizer, the pairs, and a hybrid that learnt nothing."""
    made = corpus(folder, lines, val_fraction)
    settings = TokenizerConfig(vocab_size=450, allow_smaller=True)
    tok = tokenizer_stage(settings, tiny.TEXTS, folder / "tokenizer", parents=[made])
    pairs = build_pairs(ShardsConfig(), made, tok, folder / "pairs")
    base = tiny.base(folder / "base", tok, tiny.lm(std=0.02))
    return {"corpus": made, "tokenizer": tok, "pairs": pairs, "base": base}
