"""The files of one domain of shards: tokens, which of them are learnt, and how much they count.

Flat arrays that grow document by document and are read memory-mapped.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from datatrove.data import Document

from yaongi.core.files import write_with

WEIGHT = np.dtype(np.float32)
_COPY_TOKENS = 2**20


class Encoded(NamedTuple):
    """A document's tokens from its opener on, and for a conversation which of them to learn (1)
    or not (0), and how much each counts, where that is not the same."""

    ids: Sequence[int]
    mask: Sequence[int] | None = None
    weights: np.ndarray | None = None


@dataclass(frozen=True)
class DocumentEncoder:
    """Documents to tokens, and what shards need to know of the vocabulary.

    Args:
        encode: documents -> one Encoded each.
        token_bytes: UTF-8 bytes each id stands for, 0 for control tokens; its length is the
            vocabulary size.
        eot_id: opens every text.
        pad_id: fills rows that are not full.
        lead_bytes: bytes of a text's first token that are not the text's: SentencePiece's space.
    """

    encode: Callable[[Sequence[Document]], list[Encoded]]
    token_bytes: Sequence[int]
    eot_id: int
    pad_id: int
    lead_bytes: int = 0


class ShardWriter:
    """Appends documents to the files of one domain and counts them.

    Args:
        masked: whether there are conversations among them.
    """

    def __init__(
        self,
        folder: Path,
        domain: str,
        encoder: DocumentEncoder,
        dtype: np.dtype[Any],
        *,
        masked: bool,
    ) -> None:
        self.lead_bytes, self.dtype = encoder.lead_bytes, dtype
        self.sizes = np.asarray(encoder.token_bytes)
        self.offsets_path = folder / f"{domain}.offsets.npy"
        self.paths = [folder / f"{domain}.tokens.bin"]
        if masked:
            self.paths.append(folder / f"{domain}.mask.bin")
        self.weights_path = folder / f"{domain}.weights.bin"
        self.weights: BinaryIO | None = None  # opened by the first conversation that has any
        self.offsets = array("q", [0])
        self.counts = {"documents": 0, "tokens": 0, "learnt": 0, "bytes": 0}

    def __enter__(self) -> ShardWriter:
        self._streams = [path.open("wb") for path in self.paths]
        return self

    def __exit__(self, *_: object) -> None:
        for stream in [*self._streams, *([self.weights] if self.weights else [])]:
            stream.close()

    def add(self, encoded: Encoded) -> None:
        """Write one document."""
        row = np.asarray(encoded.ids, dtype=self.dtype)
        mask = np.ones(len(row), dtype=np.uint8)
        size = int(self.sizes[row].sum())
        if encoded.mask is not None:
            mask = np.asarray(encoded.mask, dtype=np.uint8)
        elif len(row) > 1:
            size -= self.lead_bytes
        for stream, values in zip(self._streams, (row, mask), strict=False):
            stream.write(values.tobytes())
        self._weigh(mask, encoded.weights)
        self.offsets.append(self.offsets[-1] + len(row))
        new = (1, len(row), int(mask.sum()), size)
        for key, n in zip(self.counts, new, strict=True):
            self.counts[key] += n

    def _weigh(self, mask: np.ndarray, weights: np.ndarray | None) -> None:
        """Write a document's weights, once any document has some of its own."""
        if self.weights is None:
            if weights is None:
                return
            self.weights = self.weights_path.open("wb")
            self._streams[-1].flush()
            before = map_file(self.paths[-1], np.dtype(np.uint8))[: self.offsets[-1]]
            for start in range(0, len(before), _COPY_TOKENS):
                self.weights.write(before[start : start + _COPY_TOKENS].astype(WEIGHT).tobytes())
        self.weights.write((mask if weights is None else weights).astype(WEIGHT).tobytes())

    def finish(self) -> bool:
        """Write the offsets of closed files; files without documents (preference rows only) are
        taken back. Whether there were any."""
        if not self.counts["documents"]:
            for path in self.paths:
                path.unlink()
            return False
        save_array(self.offsets_path, np.asarray(self.offsets, dtype=np.int64))
        return True


def save_array(path: Path, values: np.ndarray) -> None:
    """Write ``values`` as a .npy file, whole or not at all."""

    def fill(temporary: Path) -> None:
        with temporary.open("wb") as stream:
            np.save(stream, values, allow_pickle=False)

    write_with(path, fill)


def map_file(path: Path, dtype: np.dtype[Any]) -> np.ndarray:
    """The whole file as an array on disk."""
    return np.memmap(path, dtype=dtype, mode="r").view(np.ndarray)
