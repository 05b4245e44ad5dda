"""Counts swear words and says so in the metadata; it changes and drops nothing.

Swearing is part of how people write, and a model that never saw it cannot tell it apart. What to
do with the tag is for a mixture or a classifier to decide.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import ClassVar

from yaongi.data.filters import Cleaned, Conversations, Filter
from yaongi.data.filters.wordlist import any_of, hint, word_list


class Profanity(Filter):
    """Tags ``profanity`` with the number of swear words."""

    conversations: ClassVar[Conversations] = Conversations.WHOLE
    kind: str = "profanity"

    def clean(self, text: str) -> Cleaned:
        words, innocent, hint = _patterns()
        found = words.findall(innocent.sub(" ", text)) if hint(text) else []
        return Cleaned(text, tags={"profanity": len(found)})


@cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str], Callable[[str], bool]]:
    """The words, the longer words that only contain one (시발점, 새끼줄), and a fast first look."""
    lists = word_list("profanity.txt")
    begins = any_of(lists["words that begin an eojeol"]).pattern
    words = re.compile(rf"{any_of(lists['words']).pattern}|(?<![가-힣0-9])(?:{begins})")
    return words, any_of(lists["innocent"]), hint(words)
