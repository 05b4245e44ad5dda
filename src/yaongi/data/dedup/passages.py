"""A text as sentences, and its passages: the shortest runs of sentences worth comparing."""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import NamedTuple

import numpy as np

from yaongi.data.dedup.runs import Numbers
from yaongi.data.hashing import Sums, mix
from yaongi.text.normalize import is_nfc, nfc


class Sentences(NamedTuple):
    """A text in n sentences: offsets, bytes without white space, and hashes of the contents."""

    starts: list[int]
    ends: list[int]
    sizes: np.ndarray
    hashes: Numbers


class Passages(NamedTuple):
    """Shortest runs of sentences with enough bytes: hashes, first sentence, behind the last."""

    keys: Numbers
    starts: np.ndarray
    ends: np.ndarray


_BORDER = re.compile(
    r"""[.!?…。？！\n]
    (?: (?<=\n)
    |   (?: (?<=[가-힣ᄀ-ᇿa-z).!?…][.!?…]) ["'”’」』)\]]? | (?<=[。？！]) ) (?=\s)
    )()\s*""",
    re.VERBOSE,
)
"""Ends of sentences and lines and the white space behind, which begins at group 1 or, of a line,
at once. Not behind "1." and "U.S.", which would stay alone."""


def split(text: str) -> Sentences:
    """``text`` in sentences and lines, whichever is shorter; blank ones are none."""
    borders = [
        (found.start() if text[found.start()] == "\n" else found.start(1), found.end())
        for found in _BORDER.finditer(text)
    ]
    starts = [0, *(end for _, end in borders)]
    ends = [*(start for start, _ in borders), len(text)]
    form = str if is_nfc(text) else nfc
    bare = [
        "".join(form(text[a:b]).split()).encode("utf-8", "surrogatepass")
        for a, b in zip(starts, ends, strict=True)
    ]
    some = [i for i, content in enumerate(bare) if content]
    digests = b"".join([blake2b(bare[i], digest_size=8).digest() for i in some])
    sizes = np.array([len(bare[i]) for i in some], np.int64)
    starts, ends = [starts[i] for i in some], [ends[i] for i in some]
    return Sentences(starts, ends, sizes, np.frombuffer(digests, "<u8"))


def passages(sentences: Sentences, min_bytes: int) -> Passages:
    """The shortest runs of at least ``min_bytes`` from each sentence forwards and backwards."""
    n, total = len(sentences.sizes), np.append(0, np.cumsum(sentences.sizes))
    last = np.searchsorted(total, total[:-1] + min_bytes)
    first = np.searchsorted(total, total[1:] - min_bytes, side="right") - 1
    forwards = (np.arange(n) * (n + 1) + last)[last <= n]
    backwards = (first * (n + 1) + np.arange(1, n + 1))[first >= 0]
    starts, ends = np.divmod(np.unique(np.concatenate([forwards, backwards])), n + 1)
    return Passages(_run_hashes(sentences.hashes, starts, ends), starts, ends)


def without(text: str, sentences: Sentences, gone: np.ndarray) -> str:
    """``text`` without sentences; where some went, the strongest break among them stays."""
    result: list[str] = []
    gap = text[: sentences.starts[0]]
    for i, start in enumerate(sentences.starts):
        end = sentences.ends[i]
        after = text[end : sentences.starts[i + 1]] if i + 1 < len(gone) else text[end:]
        if gone[i]:
            gap = max(gap, after, key=lambda space: space.count("\n")) if result else gap
        else:
            result += [gap, text[start:end]]
            gap = after
    return "".join(result) + ("" if gone[-1] else gap)


# --- hashing ---------------------------------------------------------------------------------


def _run_hashes(hashes: Numbers, starts: np.ndarray, ends: np.ndarray) -> Numbers:
    return mix(Sums(hashes)(starts, ends) + (ends - starts).astype(np.uint64))
