"""Shards without a trained tokenizer, for tests of data: a byte is a token."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datatrove.data import Document

from yaongi.core.artifact import Artifact, draft
from yaongi.core.config import parse
from yaongi.core.seeds import Seed
from yaongi.data.corpus import CorpusConfig, build_corpus
from yaongi.data.shards import DocumentEncoder, Encoded

EOT, PAD, FIRST_BYTE = 0, 1, 2


def corpus_of(folder: Path, domains: dict[str, list[dict[str, Any]]], **settings: Any) -> Artifact:
    """A corpus of {domain: rows}."""
    sources = []
    for domain, rows in domains.items():
        path = folder / f"{domain}.jsonl"
        path.write_text("".join(json.dumps(r) + "\n" for r in rows), "utf-8")
        sources.append({"path": str(path), "domain": domain})
    cfg = parse(CorpusConfig, {"sources": sources, **settings})
    return build_corpus(cfg, folder / "corpus", Seed(0))


def byte_encoder(vocab_size: int = 258) -> DocumentEncoder:
    """Bytes as tokens; of conversations all but the first token is learnt."""

    def encode(documents: Sequence[Document]) -> list[Encoded]:
        return [
            Encoded(ids, [0, 0] + [1] * (len(ids) - 2) if "messages" in d.metadata else None)
            for d in documents
            for ids in [[EOT, *(byte + FIRST_BYTE for byte in d.text.encode())]]
        ]

    return DocumentEncoder(encode, [0, 0] + [1] * (vocab_size - 2), eot_id=EOT, pad_id=PAD)


def no_tokenizer(folder: Path) -> Artifact:
    """The parent that shards expect."""
    with draft(folder / "tokenizer", "tokenizer", config={}) as work:
        return work.finish()
