"""Real artifacts small enough for tests of training: two domains, tokenizer, shards, a hybrid."""

import json
import random
from pathlib import Path
from typing import Any

from yaongi.core.artifact import Artifact
from yaongi.core.config import parse
from yaongi.core.seeds import Seed
from yaongi.data.corpus import CorpusConfig, build_corpus, sample_texts
from yaongi.data.shards import ShardsConfig, build_shards
from yaongi.text.train import TokenizerConfig
from yaongi.text.train import stage as train_tokenizer
from yaongi.train.pretrain import PretrainConfig

MIX = {"ko": 0.6, "math": 0.4}
HYBRID: dict[str, Any] = {
    "vocab_size": 512,
    "d_model": 32,
    "pattern": "M-*E",
    "attention": {"n_heads": 2, "n_kv_heads": 1, "head_dim": 16},
    "mamba": {"n_heads": 2, "head_dim": 32, "n_groups": 1, "d_state": 8},
    "mlp": {"d_ff": 64},
    "moe": {"n_experts": 4, "top_k": 2, "d_ff": 32, "d_shared": 32},
}


def shards(folder: Path, documents: int = 300) -> tuple[Artifact, Artifact]:
    """(shards, tokenizer) below ``folder``, made by the real stages."""
    draw = random.Random(0)
    names, things = ["철수", "영희", "민수", "지우"], ["사과", "배", "연필", "책", "공"]
    rows: dict[str, list[str]] = {"ko": [], "math": []}
    for i in range(documents):
        a, b = draw.randrange(100), draw.randrange(100)
        who, what = draw.choice(names), draw.choice(things)
        rows["ko"].append(f"{who}는 {what}를 {a}개 샀어요. 그리고 {b}개를 나누어 주었어요. ({i})")
        rows["math"].append(f"{i}번: {a} 더하기 {b}는 {a + b}입니다.")
    sources = []
    for domain, texts in rows.items():
        path = folder / f"{domain}.jsonl"
        path.write_text("".join(json.dumps({"text": t}) + "\n" for t in texts), "utf-8")
        sources.append({"path": str(path), "domain": domain, "licence": "CC0-1.0"})
    config = parse(CorpusConfig, {"sources": sources, "val_fraction": 0.1})
    corpus = build_corpus(config, folder / "corpus", Seed(0))
    tokenizer = train_tokenizer(
        TokenizerConfig(vocab_size=400, allow_smaller=True),
        sample_texts(corpus, MIX, 100_000),
        folder / "tokenizer",
        parents=[corpus],
    )
    return build_shards(ShardsConfig(), corpus, tokenizer, folder / "shards"), tokenizer


def pretrain_config(**changes: Any) -> PretrainConfig:
    """A run of eight steps of a few hundred tokens."""
    settings = {
        "model": HYBRID,
        "batch_tokens": 256,
        "seq_len": 64,
        "steps": 8,
        "log_every": 1,
        "precision": "fp32",
        "compile": "off",
        "device": "cpu",
        "optimizer": {"kind": "muon", "lr": 0.01},
    }
    return parse(PretrainConfig, {**settings, **changes})
