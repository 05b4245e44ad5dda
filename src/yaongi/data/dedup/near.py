"""Near duplicates: documents that share most of their shingles, found with MinHash on disk.

The steps are datatrove's (signatures by shard, buckets, clusters), with three changes. A bucket's
rows are one 64-bit key, not a tuple of hashes, so records are small and numpy sorts them. A pair
that falls into one bucket is a candidate: it counts only when the whole sketches say so, so
buckets can be wide. And there are no clusters, in which A and C go together because B resembles
both: a document goes only when it resembles one that stays and comes before it.

Held-out documents come before all others, so nothing like a held-out text stays in train.

Source: Broder 1997; buckets as in Leskovec, Rajaraman & Ullman, Mining of Massive Datasets, 3.4.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from yaongi.core.config import Config
from yaongi.data.dedup.runs import RunWriter, blocks, document_of, place_of
from yaongi.data.dedup.shingles import SHINGLES, sketch
from yaongi.data.filters import PROSE_SYMBOLS, symbol_share
from yaongi.data.hashing import mix

PLACES = 256
"""Of a sketch; one byte of each is kept, 256 bytes a document."""
BUCKETS = 32


class Near(Config):
    """What counts as a near duplicate.

    Args:
        similarity: share of common shingles, of all shingles of both, from which a document goes.
        code_similarity: the same where one of the two is code, tables or formulas, in which a
            digit or an operator makes another program or another sum.
        shingles: runs of 8 syllables or letters, or of 5 words. See docs/results/dedup.md.
        min_shingles: a shorter document is not judged; exact copies of it go anyway.
    """

    similarity: float = Field(default=0.7, ge=0.3, le=1.0)
    code_similarity: float = Field(default=0.9, ge=0.3, le=1.0)
    shingles: Literal["syllables", "eojeol"] = "syllables"
    min_shingles: int = Field(default=20, ge=1)

    @property
    def rows(self) -> int:
        """Places a bucket key is made of: as many as still find 98 % at ``similarity``."""
        found = (1 - (1 - self.similarity**r) ** BUCKETS for r in range(1, PLACES // BUCKETS + 1))
        return max(1, sum(p >= 0.98 for p in found))


class Signer:
    """Writes the signatures of one shard below ``folder``. Use as a context manager.

    Args:
        folder: of all signatures of the corpus.
        cfg: the same for all shards.
        shard: its number; shards may be signed at the same time.
    """

    def __init__(self, folder: Path, cfg: Near, shard: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.cfg = cfg
        self._runs = RunWriter(folder / "buckets", shard)
        self._sketches = _sketch_file(folder).open("r+b")
        self._waiting: list[tuple[np.ndarray, np.uint64]] = []

    def __enter__(self) -> Signer:
        return self

    def __exit__(self, kind: object, *error: object) -> None:
        if kind is None:
            self._flush()
        self._sketches.close()
        self._runs.__exit__(kind, *error)

    def add(self, document: int, text: str, *, held: bool = False) -> None:
        """Sign a document.

        Args:
            document: its number in the corpus: where two are alike, the smaller number stays.
            text: of the document.
            held: it belongs to the validation set, which comes before all others.
        """
        shingles = SHINGLES[self.cfg.shingles](text)
        if len(shingles) < self.cfg.min_shingles:
            return
        places = sketch(shingles, PLACES)
        self._sketches.seek(document * PLACES)
        self._sketches.write(places.astype(np.uint8).tobytes())
        place = place_of(document, held, item=int(symbol_share(text) > PROSE_SYMBOLS))
        self._waiting.append((places, place))
        if len(self._waiting) == _DOCUMENTS_AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            sketches, places = zip(*self._waiting, strict=True)
            keys = _bucket_keys(np.stack(sketches), self.cfg.rows)
            self._runs.add(keys.ravel(), np.repeat(np.array(places), BUCKETS))
            self._waiting = []


def find(folder: Path, cfg: Near, documents: int) -> np.ndarray:
    """(documents,) int64: the number of the kept document that each one resembles, or -1.

    Args:
        folder: with the signatures of all shards.
        cfg: as in the signatures.
        documents: of the whole corpus. Memory is 8 bytes for each, besides the blocks.
    """
    with RunWriter(folder / "candidates") as candidates:
        for block in blocks(folder / "buckets"):
            for others in (block.firsts, block.befores):
                pair = others != block.places
                candidates.add(block.places[pair], others[pair])
    original = np.full(documents, -1)
    for block in blocks(folder / "candidates"):
        again = np.append(False, (np.diff(block.places) == 0) & (np.diff(block.keys) == 0))
        pairs = np.stack([document_of(block.keys), document_of(block.places)], axis=1)[~again]
        code = ((block.keys | block.places)[~again] & np.uint64(1)).astype(bool)
        needed = np.where(code, cfg.code_similarity, cfg.similarity)
        for later, earlier in pairs[_similarity(folder, pairs) >= needed].tolist():
            if original[earlier] < 0 and original[later] < 0:
                original[later] = earlier
    return original


def _similarity(folder: Path, pairs: np.ndarray) -> np.ndarray:
    """(n,) estimates for (n, 2) documents; equal bytes of different hashes are taken off."""
    sketches = np.memmap(_sketch_file(folder), np.uint8, "r").reshape(-1, PLACES)
    equal = np.empty(len(pairs))
    for at in range(0, len(pairs), _PAIRS_AT_ONCE):
        a, b = pairs[at : at + _PAIRS_AT_ONCE].T
        equal[at : at + _PAIRS_AT_ONCE] = (sketches[a] == sketches[b]).mean(axis=1)
    return (equal - 1 / 256) / (1 - 1 / 256)


_PAIRS_AT_ONCE = 2**16
_DOCUMENTS_AT_ONCE = 256


def _sketch_file(folder: Path) -> Path:
    path = folder / "sketches.u8"
    path.touch()
    return path


def _bucket_keys(sketches: np.ndarray, rows: int) -> np.ndarray:
    """(n, BUCKETS) keys: the same only for the same bucket and (almost surely) the same rows."""
    keys = np.tile(np.arange(BUCKETS, dtype=np.uint64), (len(sketches), 1))
    rows_of_bucket = sketches[:, : BUCKETS * rows].reshape(len(sketches), BUCKETS, rows)
    for row in range(rows):
        keys = mix(keys ^ rows_of_bucket[:, :, row])
    return keys
