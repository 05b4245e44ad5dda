"""Which split something belongs to, decided by what it is about and nothing else.

A story is known by its plot, a sum by its two operands, a function by what it computes and on what,
a question by its facts: whatever shares that key shares the split, in every document kind. So what
is held out never occurs in training in other words, as a word problem or inside a conversation.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Literal, TypeVar
from zlib import crc32

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
Key = tuple[str, ...]
T = TypeVar("T")

_VAL, _TEST = 40, 80  # of a thousand keys


def split_of(key: Key) -> Split:
    """The split of everything with this key, the same on every machine and in every run."""
    place = crc32("\x1f".join(key).encode()) % 1000
    if place < _VAL:
        return "val"
    return "test" if place < _VAL + _TEST else "train"


def draw(make: Callable[[random.Random], T], key: Callable[[T], Key], rng: random.Random,
         split: Split) -> T:  # fmt: skip
    """The first thing ``make`` draws whose key is of ``split``."""
    while True:
        found = make(rng)
        if split_of(key(found)) == split:
            return found
