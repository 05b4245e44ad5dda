"""Text as numbers: hashes of any of its letters, words and n-grams, without a loop in Python.

Polynomial hashes modulo 2^64 (Karp & Rabin 1987) of mixed code points: sums over the text, of
which any stretch is one subtraction.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from yaongi.text.normalize import nfc


class Page:
    """A text as its letters and digits, without case, punctuation and spaces.

    Attributes:
        codes: (n,) uint32 code points of the letters.
        letters: hash of any stretch of letters, by (start, end).
        wide: (n+1,) how many of the letters before are Hangul or Han.
        words, starts, ends: (n_words,) uint64 hashes, and where in the letters they stand.
    """

    def __init__(self, text: str) -> None:
        data = nfc(text).casefold().encode("utf-32-le", "surrogatepass")
        codes = np.frombuffer(data, dtype="<u4")
        kinds = _kinds()[codes]
        there = kinds > 0
        self.codes = codes[there]
        self.letters = Sums(self.codes.astype(np.uint64))
        self.wide = np.concatenate([[0], np.cumsum(kinds[there] == _WIDE)])
        edges = np.flatnonzero(np.diff(there, prepend=False, append=False))
        before = np.concatenate([[0], np.cumsum(there)])[edges]
        self.starts, self.ends = before[::2], before[1::2]
        self.words = self.letters(self.starts, self.ends)

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def size(self) -> int:
        """Letters, those of Hangul and Han three times: so much more does one say."""
        return len(self.codes) + 2 * int(self.wide[-1])


class Sums:
    """Hashes of stretches of a sequence: sum of mix(x_j) B^j over it, divided by B^start."""

    def __init__(self, values: np.ndarray) -> None:
        terms = mix(values) * _powers(len(values))
        self.sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(terms)])

    def __call__(self, start: Any, end: Any) -> np.ndarray:
        if len(self.sums) == 1:
            return np.zeros(np.shape(start), np.uint64)
        return (self.sums[end] - self.sums[start]) * _powers(len(self.sums), True)[start]


_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2^64
_ALNUM, _WIDE = 1, 2


def mix(values: np.ndarray) -> np.ndarray:
    """SplitMix64: neighbouring code points become unrelated numbers."""
    values = values + np.uint64(_BASE)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


_known: dict[bool, np.ndarray] = {}


def _powers(n: int, inverse: bool = False) -> np.ndarray:
    """B^0 ... B^(n-1) modulo 2^64, or of 1/B."""
    if inverse not in _known or len(_known[inverse]) < n:
        base = pow(_BASE, -1, 2**64) if inverse else _BASE
        factors = np.full(max(2 * n, 1 << 16), base, dtype=np.uint64)
        factors[0] = 1
        _known[inverse] = np.cumprod(factors)
    return _known[inverse][:n]


@functools.cache
def _kinds() -> np.ndarray:
    """Of every code point: 0 no letter or digit, 1 one, 2 one of Hangul, Han or Kana."""
    kinds = np.fromiter((chr(c).isalnum() for c in range(0x110000)), np.uint8, 0x110000)
    for first, last in ((0x1100, 0x11FF), (0x3040, 0x318F), (0x3400, 0x9FFF), (0xAC00, 0xD7A3)):
        kinds[first : last + 1] *= _WIDE
    return kinds
