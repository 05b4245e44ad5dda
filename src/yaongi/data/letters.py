"""Text as numbers: hashes of any of its letters, words and n-grams, without a loop in Python.

Polynomial hashes modulo 2^64 (Karp & Rabin 1987) of mixed code points: sums over the text, of
which any stretch is one subtraction.
"""

from __future__ import annotations

import functools

import numpy as np

from yaongi.data.hashing import Sums, scatter
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
        self.letters = Sums(scatter(self.codes))
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


_ALNUM, _WIDE = 1, 2


@functools.cache
def _kinds() -> np.ndarray:
    """Of every code point: 0 no letter or digit, 1 one, 2 one of Hangul, Han or Kana."""
    kinds = np.fromiter((chr(c).isalnum() for c in range(0x110000)), np.uint8, 0x110000)
    for first, last in ((0x1100, 0x11FF), (0x3040, 0x318F), (0x3400, 0x9FFF), (0xAC00, 0xD7A3)):
        kinds[first : last + 1] *= _WIDE
    return kinds
