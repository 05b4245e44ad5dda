"""Documents as sets of shingles, and their fixed-size sketches.

Two sketches agree in a share of their places that estimates the Jaccard similarity of the sets
(Broder 1997). A few hashes of every shingle are enough for all places: one-permutation hashing
(Li, Owen & Zhang 2012) with the densification of Shrivastava 2017, arXiv:1703.04664, so a document
costs one sort instead of one pass for every place.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from functools import cache

import numpy as np

from yaongi.data.hashing import ODD, Hashes, mix, scatter
from yaongi.text.normalize import nfc


def syllables(text: str, n: int = 8) -> Hashes:
    """Hashes of all runs of ``n`` letters or digits; spaces, punctuation and case do not count.

    Korean spacing varies between copies, and a changed 조사 costs n shingles of syllables but
    makes n whole eojeol n-grams differ. A shorter text is one shingle, an empty one has none.
    """
    codes = _codes(_fold(text))
    return _windows(scatter(codes[_written()[codes]]), n)


def eojeol(text: str, n: int = 5) -> Hashes:
    """Hashes of all runs of ``n`` space-separated words; punctuation and case do not count."""
    words = _NOT_WRITTEN.sub(" ", _fold(text)).split()
    if not words:
        return np.zeros(0, np.uint64)
    codes = _codes("".join(words))
    ends = np.cumsum([len(word) for word in words])
    starts = np.concatenate([[0], ends[:-1]])
    place = np.arange(len(codes)) - np.repeat(starts, np.diff(ends, prepend=0))
    return _windows(
        scatter(np.add.reduceat(scatter(codes + _ODD * place.astype(np.uint64)), starts)), n
    )


SHINGLES: dict[str, Callable[[str], Hashes]] = {"syllables": syllables, "eojeol": eojeol}


def sketch(shingles: Hashes, places: int) -> Hashes:
    """(places,) the smallest hash of every bin; empty bins borrow from others.

    Each quarter of the bins has a hash function of its own: with one for all, a document of 20
    shingles would be compared by 20 values, with four it is by about 70.

    Args:
        shingles: (n,) hashes, n >= 1, in any order, also repeated.
        places: a power of two. The estimate's standard deviation is at most 0.5 / sqrt(places),
            of documents with fewer than ``places`` shingles about twice that.
    """
    hashes = mix(shingles + _FUNCTIONS[:, None]) >> np.uint64(2)
    ordered = np.sort((hashes | _QUARTERS[:, None]).ravel())
    starts = np.searchsorted(ordered, _bin_starts(places))
    filled = np.append(starts[1:], len(ordered)) > starts
    result = ordered[np.minimum(starts, len(ordered) - 1)]
    empty = np.flatnonzero(~filled)
    if len(empty):
        asked = 12 * places // (places - len(empty)) + 1  # all empty but once in e^12
        lenders = _lenders(places)[empty, :asked]
        chosen = lenders[np.arange(len(empty)), np.argmax(filled[lenders], axis=1)]
        chosen = np.where(filled[chosen], chosen, np.argmax(filled))
        result[empty] = result[chosen]
    return result


def jaccard(a: Hashes, b: Hashes) -> float:
    """The exact similarity that sketches estimate: common shingles of all shingles."""
    a, b = np.unique(a), np.unique(b)
    common = len(np.intersect1d(a, b, assume_unique=True))
    return common / max(1, len(a) + len(b) - common)


# --- hashing ---------------------------------------------------------------------------------

_NOT_WRITTEN = re.compile(r"[\W_]+")
_ODD = np.uint64(ODD)
_QUARTERS = np.arange(4, dtype=np.uint64) << np.uint64(62)
_FUNCTIONS = _ODD * np.arange(1, 5, dtype=np.uint64)


def _fold(text: str) -> str:
    return nfc(text).lower()


def _codes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


@cache
def _written() -> np.ndarray:
    """(1114112,) whether a code point is a letter or digit; the regex takes twice the time."""
    return np.array([chr(code).isalnum() for code in range(sys.maxunicode + 1)])


def _windows(units: Hashes, n: int) -> Hashes:
    """(max(1, len - n + 1),) hashes of n units in a row, in their order."""
    n = min(n, len(units))
    if not n:
        return units
    count = len(units) - n + 1
    total = units[:count].copy()
    for i in range(1, n):
        total *= _ODD
        total += units[i : i + count]
    return total


@cache
def _bin_starts(places: int) -> Hashes:
    return np.arange(places, dtype=np.uint64) << np.uint64(64 - (places.bit_length() - 1))


@cache
def _lenders(places: int) -> np.ndarray:
    """(places, attempts) for every bin the bins it asks in turn, the same for every document."""
    attempts = 128
    asked = np.arange(places * attempts, dtype=np.uint64).reshape(places, attempts)
    return (scatter(asked) % np.uint64(places)).astype(np.int64)
