"""One spelling for the finders: ASCII digits and dashes, composed syllables, nothing invisible.

Full-width forms and dash variants are replaced one for one. Only where a text is not NFC or hides
invisible characters do offsets move, and then a table leads back to the original.
"""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

from yaongi.text.normalize import nfc

_WIDE = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}  # ！..～ have their ASCII order
_DASHES = dict.fromkeys(map(ord, "‐‑‒–—―−─﹣ㅡ"), "-")  # ㅡ: the Korean vowel is typed as a dash
_SPACES = dict.fromkeys(map(ord, "\u00a0\u2002\u2003\u2007\u2009\u202f\u3000"), " ")
_TABLE = {**_WIDE, **_DASHES, **_SPACES}
_TO_REPLACE = re.compile("[" + "".join(map(chr, _TABLE)).replace("\\", "") + "]")
# Soft hyphen, zero-width characters, and what makes 1️⃣ of 1: often used to hide a number.
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060\ufe0f\ufeff\u20e3]")


class Folded(NamedTuple):
    """A folded text; ``edges`` has the original (start, end) per character where they moved."""

    text: str
    edges: list[tuple[int, int]] | None = None

    def span(self, start: int, end: int) -> tuple[int, int]:
        """A non-empty range of the folded text in the original."""
        if self.edges is None:
            return start, end
        return self.edges[start][0], self.edges[end - 1][1]


def fold(text: str) -> Folded:
    """``text`` in one spelling, and the way back."""
    if text.isascii():
        return Folded(text)
    moved = _INVISIBLE.search(text) or not unicodedata.is_normalized("NFC", text)
    folded = _composed(text) if moved else Folded(text)
    if _TO_REPLACE.search(folded.text):
        return Folded(folded.text.translate(_TABLE), folded.edges)
    return folded


def _composed(text: str) -> Folded:
    """NFC of each character with the marks and jamo that follow it."""
    out, edges = [], []
    start = 0
    for end in range(1, len(text) + 1):
        if end < len(text) and _belongs_to_last(text[end]):
            continue
        cluster = nfc(_INVISIBLE.sub("", text[start:end]))
        out.append(cluster)
        edges += [(start, end)] * len(cluster)
        start = end
    return Folded("".join(out), edges)


def _belongs_to_last(char: str) -> bool:
    """Combining marks, and vowels and finals of decomposed syllables."""
    return unicodedata.combining(char) > 0 or "\u1160" <= char <= "\u11ff"
