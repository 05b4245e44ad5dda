"""The word lists of the cleaning steps, in ``words/``, and patterns made of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from yaongi.data.filters import optional_module
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


def hint(*patterns: re.Pattern[str]) -> Callable[[str], bool]:
    """Tells fast, and never wrongly, that a text matches none of ``patterns``.

    Most texts match nothing in a long list, and RE2's automaton sees that 20 times as fast as
    ``re``. It has no looking around, so that is left out: a text may match that then does not.
    """
    re2 = optional_module("re2")
    options = re2.Options()
    options.max_mem = 64 << 20  # the automaton of a list on Hangul does not fit in the usual 8 MB
    plain = (_LOOK_AROUND.sub("", pattern.pattern) for pattern in patterns)
    search = re2.compile("|".join(plain), options).search

    def may_match(text: str) -> bool:
        return search(text.encode(errors="replace")) is not None

    return may_match


_LOOK_AROUND = re.compile(r"\(\?<?[!=][^)]*\)")
