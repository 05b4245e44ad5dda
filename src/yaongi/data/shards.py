"""Documents as token files: one flat memory-mapped array per split and domain, with offsets.

Every document is stored as ``<|endoftext|>`` and then its tokens: the token *opens* a document.
The opener of the next document is then what the last token predicts, so no target has to be left
out at a boundary, and generation starts from ``<|endoftext|>``. (With the tokenizer of an imported
model it is that model's own opener, and a conversation begins as its chat template has it.) The
flat layout is nanoGPT's and Megatron's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from datatrove.data import Document

from yaongi.core.artifact import Artifact, draft, existing, open_artifact
from yaongi.core.config import Config
from yaongi.core.errors import DataError
from yaongi.data.corpus import SPLITS, Progress, domains_of, read_corpus
from yaongi.data.mix import check_mix
from yaongi.data.recognise import CHAT, PREFERENCE
from yaongi.data.token_files import (
    WEIGHT,
    DocumentEncoder,
    Encoded,
    ShardWriter,
    map_file,
    save_array,
)
from yaongi.data.weights import token_weights
from yaongi.text.foreign import AnyTokenizer, load_tokenizer

__all__ = ["DocumentEncoder", "DomainShard", "Encoded", "ShardWriter", "Shards", "ShardsConfig",
           "batches_of", "build_shards", "document_encoder", "save_array",
           "shard_dtype"]  # fmt: skip

_LARGEST = {"uint16": 2**16, "uint32": 2**32}
_BATCH_CHARS = 2_000_000
_BATCH_DOCUMENTS = 1000


def document_encoder(tokenizer: AnyTokenizer) -> DocumentEncoder:
    """Encode text as it is, and conversations with the chat template."""

    def encode(documents: Sequence[Document]) -> list[Encoded]:
        plain = [d.text for d in documents if "messages" not in d.metadata]
        texts = iter(tokenizer.encode_batch(plain))
        return [
            _conversation(tokenizer, d.metadata)
            if "messages" in d.metadata
            else Encoded([tokenizer.eot_id, *next(texts)])
            for d in documents
        ]

    sizes = [len(tokenizer.token_bytes(i)) for i in range(tokenizer.vocab_size)]
    return DocumentEncoder(encode, sizes, tokenizer.eot_id, tokenizer.pad_id, tokenizer.lead_bytes)


def _conversation(tokenizer: AnyTokenizer, metadata: Mapping[str, Any]) -> Encoded:
    ids, mask = tokenizer.conversation(metadata["messages"])
    weights = token_weights(mask, metadata)
    if weights is not None:
        mask = (weights > 0).astype(np.uint8).tolist()  # what counts nothing is not learnt
    return Encoded(ids, mask, weights)


class ShardsConfig(Config):
    """How tokens are stored.

    Args:
        dtype: ``auto`` is uint16 where the vocabulary fits.
    """

    dtype: Literal["auto", "uint16", "uint32"] = "auto"


def build_shards(
    cfg: ShardsConfig,
    corpus: Artifact,
    tokenizer: Artifact,
    out: str | Path,
    *,
    encoder: DocumentEncoder | None = None,
    splits: Sequence[str] = SPLITS,
    on_progress: Progress | None = None,
) -> Artifact:
    """Encode a corpus into a ``shards`` artifact; an unchanged one is returned as it is.

    Writes for each split and domain ``<domain>.tokens.bin`` and ``<domain>.offsets.npy``, with
    ``<domain>.mask.bin`` where there are conversations, ``<domain>.weights.bin`` where some of
    them count more or less than others, and ``token_bytes.npy`` once. Document i is line i of the
    corpus file; preference rows stay in the corpus, for ``data.pairs``.

    Args:
        tokenizer: the artifact that trained one, or a model that came with one.
        encoder: by default made from ``tokenizer``.
        splits: fewer where only held-out text is needed.
    Raises:
        DataError: the vocabulary does not fit the ``dtype`` asked for.
        TokenizerError: there is no tokenizer, or another project's whose tokens stand for no
            bytes or whose chat template cannot be learnt.
    """
    part = {} if tuple(splits) == tuple(SPLITS) else {"splits": list(splits)}
    made: dict[str, Any] = {"config": cfg.as_json() | part, "parents": [corpus, tokenizer]}
    if found := existing(out, "shards", **made):
        return found
    encoder = encoder or document_encoder(load_tokenizer(tokenizer.path))
    dtype = shard_dtype(cfg.dtype, len(encoder.token_bytes))
    jobs = [(split, domain) for split in splits for domain in domains_of(corpus, split)]
    with draft(out, "shards", **made) as work:
        save_array(work.path / "token_bytes.npy", np.asarray(encoder.token_bytes, dtype=np.uint16))
        domains: dict[str, dict[str, Any]] = {}
        for i, (split, domain) in enumerate(jobs):
            if on_progress:
                on_progress(i / len(jobs), f"{split}/{domain}")
            counts = _write_domain(work.path / split, domain, encoder, dtype, corpus)
            if counts["documents"]:
                domains.setdefault(domain, {})[split] = counts
        return work.finish(
            counts={
                "vocab_size": len(encoder.token_bytes),
                "eot_id": encoder.eot_id,
                "pad_id": encoder.pad_id,
                "lead_bytes": encoder.lead_bytes,
                "dtype": dtype.name,
                "tokens": sum(c["tokens"] for d in domains.values() for c in d.values()),
                "domains": domains,
            }
        )


def shard_dtype(asked: str, vocab_size: int) -> np.dtype[Any]:
    """The integer type of a shard. Raises DataError when ``asked`` is too small for it."""
    name = (
        ("uint16" if vocab_size <= _LARGEST["uint16"] else "uint32") if asked == "auto" else asked
    )
    if vocab_size > _LARGEST[name]:
        raise DataError(
            "A vocabulary of {size} tokens does not fit the shard type {asked}, which holds "
            "{most}. Use dtype uint32 or auto.",
            size=vocab_size,
            asked=name,
            most=_LARGEST[name],
        )
    return np.dtype(name)


def _write_domain(
    folder: Path, domain: str, encoder: DocumentEncoder, dtype: np.dtype[Any], corpus: Artifact
) -> dict[str, Any]:
    """One domain of one split; ``folder`` is named after the split."""
    forms = corpus.manifest.counts["domains"][domain][folder.name]["forms"]
    folder.mkdir(exist_ok=True)
    with ShardWriter(folder, domain, encoder, dtype, masked=CHAT in forms) as out:
        for batch in batches_of(read_corpus(corpus, folder.name, domain)):
            for encoded in encoder.encode(batch):
                out.add(encoded)
    out.finish()
    return out.counts


def batches_of(
    documents: Iterable[Document], *, preferences: bool = False
) -> Iterator[list[Document]]:
    """Documents to encode together: enough to keep every core busy, few enough to hold.

    Args:
        preferences: these rows and no others, or all others.
    """
    batch: list[Document] = []
    chars = 0
    for document in documents:
        if (document.metadata["form"] == PREFERENCE) != preferences:
            continue
        batch.append(document)
        chars += len(document.text)
        if chars > _BATCH_CHARS or len(batch) == _BATCH_DOCUMENTS:
            yield batch
            batch, chars = [], 0
    if batch:
        yield batch


# --- reading ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class DomainShard:
    """The tokens of one domain in one split, memory-mapped.

    Attributes:
        tokens: (n,) uint16 or uint32.
        offsets: (documents + 1,) int64; document i is ``tokens[offsets[i]:offsets[i + 1]]``.
        mask: (n,) uint8, 1 where a token is to be learnt; None: all of them.
        weights: (n,) float32, how much each counts in the loss; None: as ``mask``.
    """

    domain: str
    tokens: np.ndarray
    offsets: np.ndarray
    mask: np.ndarray | None
    weights: np.ndarray | None = None

    @property
    def lengths(self) -> np.ndarray:
        """(documents,) int64 tokens of each document, its opener included."""
        return np.diff(self.offsets)


class Shards:
    """A ``shards`` artifact, open for reading.

    Args:
        shards: the artifact, or its folder.
        kind: of the artifact; pairs of answers (``data.pairs``) are stored the same way.
    Raises:
        ArtifactError: it is of another kind.
    """

    def __init__(self, shards: Artifact | str | Path, kind: str = "shards") -> None:
        self.artifact = shards if isinstance(shards, Artifact) else open_artifact(shards, kind)
        if self.artifact.manifest.kind != kind:
            self.artifact = open_artifact(self.artifact.path, kind)  # which says what it is
        counts = self.artifact.manifest.counts
        self.vocab_size: int = counts["vocab_size"]
        self.eot_id: int = counts["eot_id"]
        self.pad_id: int = counts["pad_id"]
        self.lead_bytes: int = counts.get("lead_bytes", 0)
        self._domains: dict[str, Any] = counts["domains"]
        self._dtype = np.dtype(counts["dtype"])
        self.token_bytes: np.ndarray = np.load(
            self.artifact.path / "token_bytes.npy", allow_pickle=False
        )

    def domains(self, split: str = "train") -> list[str]:
        """The domains that have tokens in ``split``, sorted."""
        return sorted(d for d, counts in self._domains.items() if split in counts)

    def tokens(self, domain: str, split: str = "train") -> int:
        """How many tokens there are."""
        return self._domains.get(domain, {}).get(split, {}).get("tokens", 0)

    def open(self, domain: str, split: str = "train") -> DomainShard:
        """Map one domain into memory. Raises DataError when it has no tokens there."""
        check_mix({domain: 1.0}, self.domains(split), where=f"{self.artifact.path}/{split}")
        folder = self.artifact.path / split
        mask, weights = folder / f"{domain}.mask.bin", folder / f"{domain}.weights.bin"
        return DomainShard(
            domain,
            map_file(folder / f"{domain}.tokens.bin", self._dtype),
            np.load(folder / f"{domain}.offsets.npy", allow_pickle=False),
            map_file(mask, np.dtype(np.uint8)) if mask.is_file() else None,
            map_file(weights, WEIGHT) if weights.is_file() else None,
        )
