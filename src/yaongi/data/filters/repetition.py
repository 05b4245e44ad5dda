"""Drops documents that repeat themselves, by the measures of Gopher on eojeol.

Source: Rae et al. 2021, arXiv:2112.11446, table A1. The counting is datatrove's; ours are the
words (what spaces separate: no tokenizer needed), the guard for short texts, and the limits.
"""

from __future__ import annotations

from collections import Counter

from pydantic import Field

from yaongi.data.filters import Cleaned, Filter, count_letters, optional_module

_TOP = {2: 0.20, 3: 0.18, 4: 0.16}
_ANY = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}
"""n -> largest share of the characters in the commonest, or in any repeated, n-gram."""


_MIN_LETTERS = 0.88  # of the characters; prose has 0.95, source code and worked sums 0.8


class Repetition(Filter):
    """Shares are of characters, spaces left out. Code, tables and sums are not judged.

    Args:
        max_lines: in lines that stood before in the document.
        max_paragraphs: the same for paragraphs.
        ngram_scale: factor on Gopher's limits for n-grams. At 1 they drop twice as many manuals,
            Bible chapters and songs, which repeat by their nature; raise it for those.
        min_words: a shorter text is not judged: a verse or a list repeats.
    """

    kind: str = "repetition"
    max_lines: float = Field(default=0.3, gt=0.0, le=1.0)
    max_paragraphs: float = Field(default=0.3, gt=0.0, le=1.0)
    ngram_scale: float = Field(default=1.5, gt=0.0)
    min_words: int = Field(default=100, ge=1)

    def clean(self, text: str) -> Cleaned:
        words = text.split()
        total = sum(map(len, words))
        if len(words) < self.min_words or count_letters(text) < _MIN_LETTERS * total:
            return Cleaned(text)
        return Cleaned(text, self._reason(text, words, total))

    def _reason(self, text: str, words: list[str], total: int) -> str:
        if _repeated_share(text.split("\n"), total) > self.max_lines:
            return "repeated lines"
        if _repeated_share(text.split("\n\n"), total) > self.max_paragraphs:
            return "repeated paragraphs"
        for n, limit in _TOP.items():
            if _top_chars(words, n) > limit * self.ngram_scale * total:
                return f"one {n}-gram"
        return self._repeated_ngrams(words, total)

    def _repeated_ngrams(self, words: list[str], total: int) -> str:
        gopher = optional_module("datatrove.pipeline.filters.gopher_repetition_filter")
        for n, limit in _ANY.items():
            share = gopher.find_all_duplicate(words, n) / total
            if share > limit * self.ngram_scale:
                return f"{n}-grams"
            if share < min(_ANY.values()) * self.ngram_scale:
                break  # longer n-grams repeat less: what a 10-gram repeats, its 5-grams repeat
        return ""


def _repeated_share(parts: list[str], total: int) -> float:
    """The share of characters in parts that stood before; blank parts count for nothing."""
    seen: set[str] = set()
    repeated = 0
    for part in parts:
        bare = "".join(part.split())
        if bare in seen:
            repeated += len(bare)
        seen.add(bare)
    return repeated / total


def _top_chars(words: list[str], n: int) -> int:
    """Characters in the commonest n-gram, which has to stand there twice."""
    grams = Counter(zip(*(words[i:] for i in range(n)), strict=False))
    top, times = grams.most_common(1)[0]
    return times * sum(map(len, top)) if times > 1 else 0
