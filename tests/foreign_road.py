"""A tiny Llama as another project ships it, imported, and shards in its tokens."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tiny

from yaongi.core.artifact import Artifact
from yaongi.core.seeds import Seed
from yaongi.data.corpus import CorpusConfig, build_corpus
from yaongi.data.shards import ShardsConfig, build_shards
from yaongi.interop.hf import export_hf, import_hf
from yaongi.model.io import save_model
from yaongi.model.lm import LM, LMConfig

VOCAB = 340  # more than the tokenizers of foreign_tokenizers have
CHATS = [
    [
        {"role": "user", "content": f"{i} 더하기 {i}는?"},
        {"role": "assistant", "content": f"{2 * i}입니다."},
        {"role": "user", "content": "고마워요."},
        {"role": "assistant", "content": "네!"},
    ]
    for i in range(16)
]


def model(seed: int = 0) -> LM:
    """Four layers of Llama's kind."""
    data = {
        "vocab_size": VOCAB,
        "d_model": 32,
        "pattern": "*-*-",
        "attention": {"n_heads": 2, "n_kv_heads": 1, "head_dim": 16, "rope_theta": 1e4},
        "mlp": {"d_ff": 64, "activation": "swiglu"},
    }
    found = LM(LMConfig.model_validate(data))
    found.init_weights(seed)
    return found.eval()


def imported(folder: Path, make: Callable[..., None], template: str | None) -> Artifact:
    """``folder/model``: downloaded and taken in."""
    save_model(model(), folder / "plain")
    export_hf(folder / "plain", folder / "theirs")
    (folder / "theirs/manifest.json").unlink()  # not one of our own exports
    make(folder / "theirs", template)
    return import_hf(folder / "theirs", folder / "model")


def corpus(folder: Path) -> Artifact:
    """Two domains: text and conversations."""
    data = folder / "data"
    data.mkdir(parents=True)
    rows: dict[str, list[dict[str, Any]]] = {
        "ko": [{"text": f"{tiny.TEXTS[i % 6]} 번호 {i}번."} for i in range(40)],
        "chat": [{"messages": messages} for messages in CHATS],
    }
    for domain, lines in rows.items():
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        (data / f"{domain}.jsonl").write_text(text, encoding="utf-8")
    sources = [{"path": f"{d}.jsonl", "domain": d, "licence": "CC0"} for d in rows]
    cfg = CorpusConfig.model_validate({"root": str(data), "sources": sources, "val_fraction": 0.25})
    return build_corpus(cfg, folder / "corpus", Seed(0))


def road(folder: Path, make: Callable[..., None], template: str) -> dict[str, Artifact]:
    """A model, a corpus, and its shards in the model's tokens."""
    base, texts = imported(folder, make, template), corpus(folder)
    shards = build_shards(ShardsConfig(), texts, base, folder / "shards")
    return {"base": base, "corpus": texts, "shards": shards}
