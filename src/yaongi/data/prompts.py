"""Conversations that ask the same: several answers to one prompt, or a prompt on both sides.

Other answers to a prompt are no copies and stay. A prompt that is held out and trained on is a
leak; ``dedup.exact.assign`` leaves none but where a source decides its splits itself. A prompt of
very many conversations is a template ("Tell a story."), and no sign that they are alike.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from yaongi.data.cleaning.shards import Shards
from yaongi.data.dedup.exact import DUPLICATE, TRAIN, VAL
from yaongi.data.recognise import TEXT

SAME, LEAK = "asks what another one asks", "asks what is held out"
COMMON = 10
"""A prompt of more conversations, or of half of a domain, is a template; as in contamination."""


class Kin(NamedTuple):
    """What was found in n documents.

    Attributes:
        like: (n,) the document that asks the same, or -1: the first one of the same form, and
            for a leak the held-out one.
        leaks: (n,) bool, those that are trained on though ``like`` is held out.
    """

    like: np.ndarray
    leaks: np.ndarray

    @property
    def again(self) -> np.ndarray:
        """(n,) bool, those that ask what another one asks, and are no leaks."""
        return (self.like >= 0) & ~self.leaks


def keys(shards: Shards) -> np.ndarray:
    """(n,) uint64, equal where the same is asked, templates left out; of a text its own."""
    talk = _talk(shards)
    templates = [np.zeros(0, np.uint64)]
    for domain in np.unique(shards.domain[talk]):
        there = shards.prompts[talk & (shards.domain == domain)]
        prompts, times = np.unique(there, return_counts=True)
        templates.append(prompts[(times > COMMON) | (2 * times >= len(there))])
    template = np.isin(shards.prompts, np.concatenate(templates))
    return np.where(template, shards.digests[:, 0], shards.prompts)


def find(shards: Shards, keys: np.ndarray, sides: np.ndarray) -> Kin:
    """Compare what is asked in all conversations and preferences that are no duplicates.

    Args:
        keys: from ``keys``.
        sides: (n,) from ``exact.assign``.
    """
    talk = _talk(shards) & (sides != DUPLICATE)
    like = np.full(len(shards), -1)
    held_out = _first_with(keys, talk & (sides == VAL))
    like[talk] = held_out[talk]
    leaks = talk & (sides == TRAIN) & (like >= 0)
    for form in range(len(shards.forms)):
        same = talk & (shards.form == form) & ~leaks
        like[same] = _first_with(keys, same)[same]
    like[like == np.arange(len(like))] = -1
    return Kin(like, leaks)


def _talk(shards: Shards) -> np.ndarray:
    text = shards.forms.index(TEXT) if TEXT in shards.forms else -1
    return shards.form != text


def _first_with(keys: np.ndarray, among: np.ndarray) -> np.ndarray:
    """(n,) the first document ``among`` these with each document's key, or -1."""
    where = np.flatnonzero(among)
    known, first = np.unique(keys[where], return_index=True)
    if not len(known):
        return np.full(len(keys), -1)
    at = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    return np.where(known[at] == keys, where[first[at]], -1)
