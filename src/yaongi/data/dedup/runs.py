"""Records (key, place) on disk in sorted runs, read back by key in bounded memory.

What documents have in common is found by sorting: each worker writes runs that fit in memory, a
reader takes one range of keys out of all runs at a time (external sorting; datatrove's MinHash
and sentence steps do the same with a heap, record by record; here numpy sorts whole ranges).

A place is one number that sorts held-out documents first, then by number of the document in the
corpus, then by item of the document: the smallest place of a key is the one that stays.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

Numbers = np.ndarray[Any, np.dtype[np.uint64]]

RECORD = np.dtype([("key", "<u8"), ("place", "<u8")])
RUN_RECORDS = 2**21
"""Records a writer holds before it writes a run: 32 MB."""
BLOCK_RECORDS = 2**22
"""Records a reader holds: 64 MB, and about as much again three times while sorting."""

ITEM_BITS = 24
MAX_ITEMS = 2**ITEM_BITS
MAX_DOCUMENTS = 2 ** (63 - ITEM_BITS)
_TRAIN = np.uint64(2**63)
_LAST_KEY = 2**64 - 1


def place_of(document: int, held: bool, item: int = 0) -> np.uint64:
    """The place of a document or of its item; held-out ones sort first."""
    return np.uint64((0 if held else int(_TRAIN)) | document << ITEM_BITS | item)


def document_of(places: Numbers) -> np.ndarray:
    """(n,) int64 numbers of documents."""
    return ((places & ~_TRAIN) >> np.uint64(ITEM_BITS)).astype(np.int64)


def item_of(places: Numbers) -> np.ndarray:
    """(n,) int64 numbers of items in their documents."""
    return (places & np.uint64(MAX_ITEMS - 1)).astype(np.int64)


class RunWriter:
    """Collects records and writes them as sorted runs. Use as a context manager.

    Args:
        folder: of all runs of one kind; made when missing.
        worker: number of the writer. The same worker started again replaces its runs.
    """

    def __init__(self, folder: Path, worker: int = 0) -> None:
        self.folder, self.worker = folder, worker
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob(f"{worker:06d}_*.run"):
            old.unlink()
        self._parts: list[np.ndarray] = []
        self._held = self._written = 0

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._flush()

    def add(self, keys: Numbers, places: Numbers) -> None:
        """Add records; ``keys`` and ``places`` are (n,)."""
        if not len(keys):
            return
        records = np.empty(len(keys), RECORD)
        records["key"], records["place"] = keys, places
        self._parts.append(records)
        self._held += len(records)
        if self._held >= RUN_RECORDS:
            self._flush()

    def _flush(self) -> None:
        if self._held:
            path = self.folder / f"{self.worker:06d}_{self._written:06d}.run"
            _sorted(np.concatenate(self._parts)).tofile(path)
            self._parts, self._held, self._written = [], 0, self._written + 1


class Block(NamedTuple):
    """Records in order of key and place; all (n,).

    ``firsts`` is the smallest place of each record's key, ``befores`` the place before it among
    those of its key (of the first itself).
    """

    keys: Numbers
    places: Numbers
    firsts: Numbers
    befores: Numbers


def blocks(folder: Path, first_key: int = 0, last_key: int = _LAST_KEY) -> Iterator[Block]:
    """All records of all runs with keys in the (inclusive) range, in order of key.

    The records of a key come in one block. Only a key with more than BLOCK_RECORDS comes in
    several, in no order, where ``befores`` are the firsts.
    """
    return _blocks(sorted(folder.glob("*.run")), first_key, last_key)


def _blocks(runs: list[Path], first_key: int, last_key: int) -> Iterator[Block]:
    cuts = [cut for run in runs if (cut := _cut(run, first_key, last_key))]
    low, high = (
        min((cut.low for cut in cuts), default=0),
        max((cut.high for cut in cuts), default=0),
    )
    if sum(cut.end - cut.start for cut in cuts) <= BLOCK_RECORDS:
        if cuts:
            yield _block(_sorted(np.concatenate([_read(*cut[:3]) for cut in cuts])))
    elif low < high:
        middle = (low + high) // 2
        yield from _blocks(runs, low, middle)
        yield from _blocks(runs, middle + 1, high)
    else:
        yield from _one_key(cuts)


def _one_key(cuts: list[_Cut]) -> Iterator[Block]:
    pieces = [
        (cut.run, at, min(at + BLOCK_RECORDS, cut.end))
        for cut in cuts
        for at in range(cut.start, cut.end, BLOCK_RECORDS)
    ]
    first = min(_read(*piece)["place"].min() for piece in pieces)
    for piece in pieces:
        records = _read(*piece)
        firsts = np.full(len(records), first)
        yield Block(records["key"], records["place"], firsts, firsts)


def _block(records: np.ndarray) -> Block:
    keys, places = records["key"], records["place"]
    new = np.append(True, keys[1:] != keys[:-1])
    starts = np.flatnonzero(new)
    firsts = np.repeat(places[starts], np.diff(starts, append=len(keys)))
    befores = np.where(new, places, np.append(places[:1], places[:-1]))
    return Block(keys, places, firsts, befores)


def _sorted(records: np.ndarray) -> np.ndarray:
    return records[np.lexsort((records["place"], records["key"]))]


class _Cut(NamedTuple):
    """Records of a run with keys from ``low`` to ``high``."""

    run: Path
    start: int
    end: int
    low: int
    high: int


def _cut(run: Path, first_key: int, last_key: int) -> _Cut | None:
    """Where the records of a range of keys stand; the file is open only meanwhile."""
    keys = np.memmap(run, RECORD, "r")["key"]
    start = int(np.searchsorted(keys, np.uint64(first_key), side="left"))
    end = int(np.searchsorted(keys, np.uint64(last_key), side="right"))
    return _Cut(run, start, end, int(keys[start]), int(keys[end - 1])) if start < end else None


def _read(run: Path, start: int, end: int) -> np.ndarray:
    return np.fromfile(run, RECORD, end - start, offset=start * RECORD.itemsize)
