"""The smallest things that are still real, for tests: a tokenizer, a hybrid model, a road."""

import functools
import json
from pathlib import Path
from typing import Any

import torch

from yaongi.core.artifact import Artifact, draft
from yaongi.core.config import parse
from yaongi.core.seeds import Seed
from yaongi.data.corpus import CorpusConfig, build_corpus
from yaongi.data.shards import ShardsConfig, build_shards
from yaongi.model.io import save_model
from yaongi.model.lm import LM, LMConfig
from yaongi.text.canonical import canonical_ids
from yaongi.text.tokenizer import Tokenizer
from yaongi.text.train import TokenizerConfig
from yaongi.text.train import stage as tokenizer_stage
from yaongi.tune.sft import SFTConfig

TEXTS = [
    "안녕하세요. 오늘은 날씨가 좋아요.",
    "고양이가 야옹 하고 울었어요. 강아지는 멍멍 짖었어요.",
    "철수는 사과를 세 개 먹고 두 개를 남겼어요.",
    "12 더하기 34는 46입니다. 정답은 46입니다.",
    "def f(x):\n    return x + 1\n",
    "The cat said hello and the dog said goodbye.",
] * 3


@functools.cache
def tokenizer() -> Tokenizer:
    """About 450 ids, trained on ``TEXTS``."""
    return Tokenizer.train(TEXTS, 450, allow_smaller=True)


ENGRAM = {"layers": [0, 1], "heads": 2, "head_dim": 8, "rows": 300, "modules": {1: {"orders": [4]}}}


def lm(
    pattern: str = "M*-E",
    *,
    vocab_size: int = 512,
    seed: int = 0,
    std: float = 0.3,
    engram: dict | None = None,
) -> LM:
    """A model with every layer kind; weights large enough that its logits differ clearly."""
    cfg = LMConfig.model_validate(
        {
            "vocab_size": vocab_size,
            "d_model": 32,
            "pattern": pattern,
            "init_std": std,
            "attention": {"n_heads": 2, "n_kv_heads": 1, "head_dim": 16, "rope_theta": 1e4},
            "mamba": {"n_heads": 2, "head_dim": 32, "n_groups": 1, "d_state": 8},
            "mlp": {"d_ff": 64},
            "moe": {"n_experts": 4, "top_k": 2, "d_ff": 32, "d_shared": 32},
            "engram": engram,
        }
    )
    model = LM(cfg)
    model.init_weights(seed)
    for memory in model.engrams().values():  # it starts at zero, so nothing would depend on it
        torch.nn.init.normal_(memory.conv, generator=torch.Generator().manual_seed(seed))
    if engram is not None:
        model.set_canonical_ids(canonical_ids(tokenizer(), vocab_size))
    return model.eval()


def road(folder: Path, chats: list[Any] | None = None) -> dict[str, Artifact]:
    """A corpus of two text domains (and conversations, if any), its tokenizer and its shards.

    Args:
        chats: messages each, or whole rows.
    """
    data = folder / "data"
    data.mkdir(parents=True)
    rows = {
        "ko": [{"text": f"{TEXTS[i % 5]} 번호 {i}번."} for i in range(40)],
        "en": [{"text": f"{TEXTS[5]} Number {i}."} for i in range(40)],
        "chat": [one if isinstance(one, dict) else {"messages": one} for one in chats or []],
    }
    sources = [{"path": f"{d}.jsonl", "domain": d, "licence": "CC0"} for d in rows if rows[d]]
    for domain, lines in rows.items():
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        (data / f"{domain}.jsonl").write_text(text, encoding="utf-8")
    cfg = CorpusConfig.model_validate({"root": str(data), "sources": sources, "val_fraction": 0.25})
    corpus = build_corpus(cfg, folder / "corpus", Seed(0))
    settings = TokenizerConfig(vocab_size=450, allow_smaller=True)
    tok = tokenizer_stage(settings, TEXTS, folder / "tokenizer", parents=[corpus])
    shards = build_shards(ShardsConfig(), corpus, tok, folder / "shards")
    return {"corpus": corpus, "tokenizer": tok, "shards": shards}


def base(folder: Path, tok: Artifact, model: LM | None = None) -> Artifact:
    """A ``base`` artifact that learnt nothing, as pretraining leaves it."""
    with draft(folder, "base", config={"seq_len": 64}, parents=[tok], seed=0) as work:
        save_model(model or lm(), work.path)
        Tokenizer.load(tok.path).save(work.path)
        return work.finish()


def sft_config(**changes: Any) -> SFTConfig:
    """Six steps on the conversations of ``road``; a change to None leaves a setting out."""
    settings = {
        "batch_tokens": 512,
        "seq_len": 128,
        "steps": 6,
        "domains": ["chat"],
        "optimizer": {"kind": "adamw", "lr": 3e-3},
        "precision": "fp32",
        "compile": "off",
        "device": "cpu",
        "log_every": 1,
    }
    return parse(SFTConfig, {k: v for k, v in {**settings, **changes}.items() if v is not None})
