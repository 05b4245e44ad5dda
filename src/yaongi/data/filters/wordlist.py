"""The word lists of the cleaning steps, in ``words/``, and patterns made of them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from yaongi.data.wordfiles import sections


def word_list(file: str) -> dict[str, list[str]]:
    """The words below each ``== section``; several stand in a line, separated by commas."""
    return {
        name: [word for row in rows for word in map(str.strip, row.split(",")) if word]
        for name, rows in sections("yaongi.data.filters", file).items()
    }


def any_of(words: Iterable[str]) -> re.Pattern[str]:
    """Matches any of ``words``, a longer one first; a space in a word may be absent."""
    longest_first = sorted(words, key=lambda word: (-len(word), word))
    return re.compile("|".join(re.escape(word).replace(r"\ ", " ?") for word in longest_first))
