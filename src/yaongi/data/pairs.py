"""Preferences as token files: for every prompt an answer chosen and one rejected.

A pair is stored as two documents, the conversation with the chosen answer and then the one with
the rejected answer; ``pair_batches`` reads them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datatrove.data import Document

from yaongi.core.artifact import Artifact, draft, existing
from yaongi.core.errors import DataError
from yaongi.data.corpus import SPLITS, Progress, domains_of, read_corpus
from yaongi.data.recognise import PREFERENCE
from yaongi.data.shards import (
    DocumentEncoder,
    Encoded,
    ShardsConfig,
    ShardWriter,
    batches_of,
    document_encoder,
    save_array,
    shard_dtype,
)
from yaongi.text.chat import Message
from yaongi.text.foreign import AnyTokenizer, load_tokenizer

KIND = "pairs"


def build_pairs(
    cfg: ShardsConfig,
    corpus: Artifact,
    tokenizer: Artifact,
    out: str | Path,
    *,
    on_progress: Progress | None = None,
) -> Artifact:
    """Encode the preferences of a corpus into a ``pairs`` artifact; other rows stay there.

    The files are those of ``build_shards``: documents 2i and 2i + 1 are the chosen and the
    rejected conversation of a pair, and the mask is 1 only on the answers they end with. Pairs
    whose answers are the same tokens are left out and counted as ``same``.

    Raises:
        DataError: the corpus has no preferences, or the vocabulary does not fit the ``dtype``.
        TokenizerError: as ``build_shards``.
    """
    made: dict[str, Any] = {"config": cfg.as_json(), "parents": [corpus, tokenizer]}
    if found := existing(out, KIND, **made):
        return found
    words = load_tokenizer(tokenizer.path)
    encoder = document_encoder(words)
    dtype = shard_dtype(cfg.dtype, words.vocab_size)
    there = corpus.manifest.counts["domains"]
    found = [(split, domain) for split in SPLITS for domain in domains_of(corpus, split)]
    jobs = [(split, d) for split, d in found if PREFERENCE in there[d][split]["forms"]]
    with draft(out, KIND, **made) as work:
        save_array(work.path / "token_bytes.npy", np.asarray(encoder.token_bytes, dtype=np.uint16))
        domains: dict[str, dict[str, Any]] = {}
        for i, (split, domain) in enumerate(jobs):
            if on_progress:
                on_progress(i / len(jobs), f"{split}/{domain}")
            with _writer(work.path / split, domain, encoder, dtype) as files:
                same = _write(files, words, read_corpus(corpus, split, domain))
            if files.finish():
                pairs = {"pairs": files.counts["documents"] // 2, "same": same}
                domains.setdefault(domain, {})[split] = {**files.counts, **pairs}
        if not any("train" in splits for splits in domains.values()):
            raise DataError(
                "{corpus} has no preferences to learn from: rows with a prompt and two different "
                "answers, chosen and rejected.",
                corpus=corpus.path,
            )
        return work.finish(
            counts={
                "vocab_size": words.vocab_size,
                "eot_id": encoder.eot_id,
                "pad_id": encoder.pad_id,
                "dtype": dtype.name,
                "tokens": sum(c["tokens"] for d in domains.values() for c in d.values()),
                "domains": domains,
            }
        )


def _writer(
    folder: Path, domain: str, encoder: DocumentEncoder, dtype: np.dtype[Any]
) -> ShardWriter:
    folder.mkdir(exist_ok=True)
    return ShardWriter(folder, domain, encoder, dtype, masked=True)


def _write(files: ShardWriter, words: AnyTokenizer, documents: Iterable[Document]) -> int:
    """Write the pairs among ``documents``; returns how many had twice the same answer."""
    same = 0
    for document in (d for batch in batches_of(documents, preferences=True) for d in batch):
        chosen, rejected = encode_pair(words, document)
        if chosen.ids == rejected.ids:
            same += 1
            continue
        files.add(chosen)
        files.add(rejected)
    return same


def encode_pair(words: AnyTokenizer, document: Document) -> tuple[Encoded, Encoded]:
    """The conversations with the chosen and with the rejected answer of a preference."""
    prompt = document.metadata["prompt"]
    chosen, rejected = (
        answered(words, [*prompt, {"role": "assistant", "content": document.metadata[which]}])
        for which in ("chosen", "rejected")
    )
    return chosen, rejected


def answered(words: AnyTokenizer, messages: Sequence[Message]) -> Encoded:
    """A conversation as a document whose mask is 1 only on the answer it ends with."""
    ids, mask = words.conversation(messages)
    last = max(i for i, learnt in enumerate(mask) if learnt)
    before = max((i for i in range(last) if not mask[i]), default=-1)
    return Encoded(ids, [int(before < i <= last) for i in range(len(ids))])
