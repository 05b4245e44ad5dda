"""Drops lines and documents that advertise gambling, escorts, loans and the like.

No word alone makes spam: a news article on 대출 금리 stays. What tells is density: many different
words of the trade, with words that lure (상담, 가입코드), and hardly anything else.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from pydantic import Field

from yaongi.data.filters import Cleaned, Filter, drop_lines
from yaongi.data.filters.wordlist import any_of, hint, word_list


class Spam(Filter):
    """The words are in ``words/spam.txt``.

    Args:
        max_line: largest share of a line's characters in words of spam.
        max_document: the same for what is left of a document, and at least half must be left.
        min_words: fewer different ones are no spam, however dense.
    """

    kind: str = "spam"
    max_line: float = Field(default=0.4, gt=0.0, le=1.0)
    max_document: float = Field(default=0.25, gt=0.0, le=1.0)
    min_words: int = Field(default=3, ge=1)

    def clean(self, text: str) -> Cleaned:
        if not _words().hint(text):
            return Cleaned(text)
        result = drop_lines(text, lambda line: "spam line" * (self._density(line) > self.max_line))
        mostly = 2 * len(result.text) < len(text)
        if mostly or self._density(result.text) > self.max_document:
            return Cleaned(text, "spam")
        return result

    def _density(self, text: str) -> float:
        """The share of characters in words of spam; 0 without both a subject and a lure."""
        words = _words()
        found = words.pattern.findall(text)
        kinds = {word.replace(" ", "") for word in found}
        if len(kinds) < self.min_words or not (kinds & words.subject and kinds & words.lure):
            return 0.0
        return sum(map(len, found)) / len(text)


class _Words(NamedTuple):
    pattern: re.Pattern[str]
    subject: set[str]
    lure: set[str]
    hint: Callable[[str], bool]  # whether there may be a subject, without which nothing is spam


@cache
def _words() -> _Words:
    lists = word_list("spam.txt")
    bare = {name: {word.replace(" ", "") for word in words} for name, words in lists.items()}
    subject, lure = bare["sure"] | bare["subject"], bare["sure"] | bare["lure"]
    pattern = any_of(word for words in lists.values() for word in words)
    needed = hint(any_of([*lists["sure"], *lists["subject"]]))
    return _Words(pattern, subject, lure, needed)
