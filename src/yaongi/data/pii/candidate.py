"""What the finders give: a place in the text, a kind, and how sure it is."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple


class Certainty(IntEnum):
    """Why something is taken for personal data; the higher one wins where two overlap."""

    NO = 0
    SHAPE = 1  # the grouping is used for little else
    CHECKED = 2  # a check digit or a registry of prefixes agrees
    NAMED = 3  # the text says what it is


class Candidate(NamedTuple):
    """``text[start:end]`` may be of this kind."""

    kind: str
    start: int
    end: int
    certainty: Certainty

    @property
    def rank(self) -> tuple[int, int]:
        """Order among candidates for the same place."""
        return self.certainty, self.end - self.start
