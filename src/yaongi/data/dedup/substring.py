"""Passages that stand in several documents: all but the first occurrence go, sentence by sentence.

Exact, and without a suffix array: since only whole sentences may go, a repeated passage is a run
of sentences. Of every document all *shortest* runs with at least ``min_bytes`` bytes are
hashed, from each sentence forwards and backwards. Any longer common run is a union of those, so
equal hashes find every repeated passage in full, wherever it begins, by sorting records on disk.

Why not the others: ExactSubstr (Lee et al. 2021, arXiv:2107.06499; datatrove has it) needs a
suffix array of 8 bytes per byte of text and cuts in the middle of words, which shows in what a
small model writes. Three-sentence windows (C4; datatrove's SentDedup) take three "네." for as much
as three long sentences, and a repeated paragraph of two sentences for nothing.

No sentence gets lost: in the first document that has it, it stays.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydantic import Field

from yaongi.core.config import Config
from yaongi.data.dedup.passages import passages, split, without
from yaongi.data.dedup.runs import (
    ITEM_BITS,
    MAX_ITEMS,
    Numbers,
    RunWriter,
    blocks,
    document_of,
    item_of,
    place_of,
)
from yaongi.data.filters import PROSE_SYMBOLS, Cleaned, symbol_share


class Substring(Config):
    """What counts as a repeated passage. White space and Unicode forms do not count.

    Bytes of UTF-8, without white space: a Korean syllable says as much as three Latin letters.
    Code, tables and formulas repeat by their nature (licence headers, imports): texts with many
    symbols are neither judged nor compared with.

    Args:
        min_bytes: of the shortest passage that goes: 150 syllables, or 90 English words.
        min_left_bytes: a document of which something went and less is left goes too.
    """

    min_bytes: int = Field(default=450, ge=1)
    min_left_bytes: int = Field(default=150, ge=0)


class Signer:
    """Writes the passages of one shard below ``folder``. Use as a context manager."""

    def __init__(self, folder: Path, cfg: Substring, shard: int = 0) -> None:
        self.cfg = cfg
        self._runs = RunWriter(folder / "passages", shard)

    def __enter__(self) -> Signer:
        return self

    def __exit__(self, *error: object) -> None:
        self._runs.__exit__(*error)

    def add(self, document: int, text: str, *, held: bool = False) -> None:
        """Note the passages of a document; arguments as of ``near.Signer.add``."""
        if symbol_share(text) <= PROSE_SYMBOLS:
            keys = passages(split(text), self.cfg.min_bytes).keys[:MAX_ITEMS]
            self._runs.add(keys, place_of(document, held) + np.arange(len(keys), dtype=np.uint64))


def find(folder: Path) -> None:
    """Find which passages of which documents stand in an earlier one, for a ``Remover``."""
    with RunWriter(folder / "repeated") as repeated:
        for block in blocks(folder / "passages"):
            owners, documents = document_of(block.firsts), document_of(block.places)
            again = owners != documents
            items = item_of(block.places[again]).astype(np.uint64)
            owner = owners[again].astype(np.uint64) << np.uint64(ITEM_BITS)
            repeated.add(documents[again].astype(np.uint64), owner | items)


class Removed(NamedTuple):
    """A document without its repeated passages.

    ``gone`` are offsets of what went in the old text, ``owner`` is a document that has (some of)
    it, -1 without any.
    """

    cleaned: Cleaned
    gone: list[tuple[int, int]]
    owner: int


class Remover:
    """Takes repeated passages out of documents, which must come in order of their number.

    Args:
        folder: of the signatures, after ``find``.
        cfg: as in the signatures.
        first, end: the range of documents that will come, as in ``range``; it may be empty.
    """

    def __init__(self, folder: Path, cfg: Substring, first: int = 0, end: int = 2**63) -> None:
        self.cfg = cfg
        self._found = _by_document(folder / "repeated", first, end)
        self._next = next(self._found, None)

    def remove(self, document: int, text: str) -> Removed:
        """``text`` as it was signed, without passages that an earlier document has."""
        places: list[Numbers] = []
        while self._next and self._next[0] <= document:
            if self._next[0] == document:
                places.append(self._next[1])
            self._next = next(self._found, None)
        if not places:
            return Removed(Cleaned(text), [], -1)
        return _remove(text, np.concatenate(places), self.cfg)


def _by_document(folder: Path, first: int, end: int) -> Iterator[tuple[int, Numbers]]:
    for block in blocks(folder, first, end - 1) if first < end else ():
        starts = np.flatnonzero(np.append(True, block.keys[1:] != block.keys[:-1]))
        for keys, places in zip(
            np.split(block.keys, starts[1:]), np.split(block.places, starts[1:]), strict=True
        ):
            yield int(keys[0]), places


def _remove(text: str, places: Numbers, cfg: Substring) -> Removed:
    sentences = split(text)
    found = passages(sentences, cfg.min_bytes)
    items = item_of(places)
    edges = np.zeros(len(sentences.sizes) + 1, np.int64)
    np.add.at(edges, found.starts[items], 1)
    np.add.at(edges, found.ends[items], -1)
    gone = np.cumsum(edges)[:-1] > 0
    left = int(sentences.sizes[~gone].sum())
    spans = [(sentences.starts[i], sentences.ends[i]) for i in np.flatnonzero(gone)]
    counts = Counter({"repeated sentence": len(spans)})
    drop = "repeated elsewhere" if left < max(1, cfg.min_left_bytes) else ""
    cleaned = Cleaned(without(text, sentences, gone), drop, counts)
    return Removed(cleaned, spans, int(document_of(places[:1])[0]))
