"""Exact deduplication and the choice of validation documents, both by a digest of the content.

A document counts as a copy when its characters agree after NFC and without white space (Korean
spacing varies between copies). Digests have a fixed size, so a hundred million documents need
few gigabytes, and the same digest decides what is held out: a document stays on its side when
sources are added, and text is never on both sides. Neither is a prompt: conversations that ask
the same and are answered otherwise are held out together.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np

from yaongi.core.seeds import Seed
from yaongi.text.normalize import nfc

DUPLICATE, TRAIN, VAL = 0, 1, 2


class Held(NamedTuple):
    """How much of every domain is held out: a share, between 1 and ``most`` documents."""

    share: float
    most: int


def digest(text: str, seed: Seed) -> bytes:
    """16 bytes that identify the content of ``text``; seeded, so each run holds out others."""
    content = "".join(nfc(text).split()).encode()
    return hashlib.blake2b(content, digest_size=16, key=seed.int63.to_bytes(8, "big")).digest()


UNDECIDED = 0
"""The side of a document whose source does not say."""


def first_copies(digests: np.ndarray, forms: np.ndarray) -> np.ndarray:
    """(n,) bool: no earlier document has the same content in the same form.

    A conversation may also stand as plain text for pretraining.

    Args:
        digests: (n, 2) uint64 from ``digest``.
        forms: (n,) small integers.
    """
    return _first_of_each(_content(digests), forms)


def assign(
    digests: np.ndarray,
    domains: np.ndarray,
    forms: np.ndarray,
    said: np.ndarray,
    held: Held,
    kept: np.ndarray | None = None,
    prompts: np.ndarray | None = None,
) -> np.ndarray:
    """The side of every document: DUPLICATE, TRAIN or VAL.

    All copies of a held-out content are held out, whatever their form or domain, and all
    documents with its prompt but those that their source puts elsewhere.

    Args:
        digests: (n, 2) uint64 from ``digest``.
        domains, forms: (n,) small integers.
        said: (n,) UNDECIDED, or the side the source gives a document; ``held`` decides the rest.
        kept: (n,) bool, what is no duplicate; default ``first_copies``.
        prompts: (n,) uint64 that decide what is held out; default the first half of ``digests``.
    """
    content = _content(digests)
    prompts = digests[:, 0] if prompts is None else prompts
    kept = _first_of_each(content, forms) if kept is None else kept
    held_out = said == VAL
    for domain in np.unique(domains):
        members = np.flatnonzero(kept & (domains == domain) & (said == UNDECIDED))
        held_out[members[_choose(prompts[members], held)]] = True
    held_out = _with_kin(held_out, content, np.unique(prompts, return_inverse=True)[1], said)
    return np.where(kept, np.where(held_out, VAL, TRAIN), DUPLICATE).astype(np.uint8)


def _with_kin(
    held_out: np.ndarray, content: np.ndarray, prompt: np.ndarray, said: np.ndarray
) -> np.ndarray:
    """(n,) bool: with all that share content or prompt, directly or over others."""
    while True:
        more = held_out | (_shared(held_out, prompt) & (said != TRAIN))
        more = _shared(more, content)
        if np.array_equal(more, held_out):
            return held_out
        held_out = more


def _shared(held_out: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """(n,) bool: those whose key one of ``held_out`` has."""
    marked = np.zeros(keys.max(initial=-1) + 1, dtype=bool)
    marked[keys[held_out]] = True
    return marked[keys]


def _content(digests: np.ndarray) -> np.ndarray:
    """(n,) a number for each content."""
    return np.unique(digests, axis=0, return_inverse=True)[1].reshape(-1)


def _first_of_each(content: np.ndarray, forms: np.ndarray) -> np.ndarray:
    first = np.zeros(len(content), dtype=bool)
    first[np.unique(np.stack([content, forms]), axis=1, return_index=True)[1]] = True
    return first


def _choose(keys: np.ndarray, held: Held) -> np.ndarray:
    """Positions of the held-out ones: keys below the share of the key space."""
    if held.share <= 0 or len(keys) < 2:
        return np.zeros(0, dtype=np.int64)
    order = np.argsort(keys, kind="stable")
    below = int(np.count_nonzero(keys < np.uint64(min(held.share, 0.5) * 2.0**64)))
    return order[: max(1, min(below, held.most))]
