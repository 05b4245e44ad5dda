"""Drops documents whose shape is not that of text: length, share of symbols, spaces, Hangul.

The kinds of limits are those of EleutherAI's dps and of Gopher (arXiv:2112.11446); Korean has two
more: text written without spaces, and 글 자 마 다 a space.
"""

from __future__ import annotations

from pydantic import Field

from yaongi.core.units import Count
from yaongi.data.filters import Cleaned, Filter, count_letters, hangul_runs, symbol_share

_LONG_EOJEOL = 13
_ENOUGH_HANGUL = 30  # of fewer syllables nothing is said about spaces


class Shape(Filter):
    """Limits for every document; ``min_hangul`` is for corpora that are Korean only.

    Args:
        min_chars: shorter documents are dropped; spaces are not counted.
        max_chars: longer ones too.
        max_symbols: share of characters that are neither letters, digits nor spaces; of source
            code and tutorials full of it, up to 0.45.
        min_hangul: share of letters that are Hangul; 0 admits other languages and code.
        max_unspaced: share of Hangul in stretches of 13 syllables or more without a space.
        max_spread: share of Hangul that stands syllable by syllable.
    """

    kind: str = "shape"
    min_chars: Count = Field(default=30, ge=0)
    max_chars: Count = Field(default=1_000_000, ge=1)
    max_symbols: float = Field(default=0.5, ge=0.0, le=1.0)
    min_hangul: float = Field(default=0.0, ge=0.0, le=1.0)
    max_unspaced: float = Field(default=0.3, ge=0.0, le=1.0)
    max_spread: float = Field(default=0.6, ge=0.0, le=1.0)

    def clean(self, text: str) -> Cleaned:
        return Cleaned(text, self._reason(text))

    def _reason(self, text: str) -> str:
        bare = "".join(text.split())
        if len(bare) < self.min_chars:
            return "too short"
        if len(bare) > self.max_chars:
            return "too long"
        if symbol_share(text) > self.max_symbols:
            return "symbols"
        runs = hangul_runs(text)
        if sum(runs) < self.min_hangul * count_letters(bare):
            return "little hangul"
        return self._spacing(runs) if sum(runs) >= _ENOUGH_HANGUL else ""

    def _spacing(self, runs: list[int]) -> str:
        if sum(n for n in runs if n >= _LONG_EOJEOL) > self.max_unspaced * sum(runs):
            return "no spaces"
        if sum(n for n in runs if n == 1) > self.max_spread * sum(runs):
            return "spread out"
        return ""
