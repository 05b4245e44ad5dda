"""Proof on real text that a longer vocabulary left alone what it does not touch.

The text is on every machine that has Python: the language reference is English prose, the standard
library is code.
"""

from __future__ import annotations

import argparse
import heapq
import inspect
import json.decoder
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from types import ModuleType

from tokenizers import Encoding
from tokenizers import Tokenizer as Backend

from yaongi.core.errors import TokenizerError

_MODULES: tuple[ModuleType, ...] = (argparse, heapq, json.decoder, textwrap)


def samples() -> dict[str, list[str]]:
    """English and code, some hundred kilobytes of each."""
    from pydoc_data.topics import topics  # 0.7 MB that nobody else needs

    english: Mapping[str, str] = topics
    chosen = sorted(english)[::3]
    return {
        "english": [english[name] for name in chosen],
        "code": [inspect.getsource(module) for module in _MODULES],
    }


def check_unchanged(
    before: Backend,
    after: Backend,
    old_size: int,
    texts: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, float]:
    """Compare two tokenizers word by word; names of added tokens are among the texts.

    Args:
        old_size: ids from here on are new.
        texts: by what they are; default ``samples()``.
    Returns: for each kind of text the share of its words that have the ids they had.
    Raises:
        TokenizerError: a word without a new token has other ids than before.
    """
    texts = samples() if texts is None else texts
    names = [token.content for token in before.get_added_tokens_decoder().values()]
    shares: dict[str, float] = {}
    for kind, group in {**texts, "names of added tokens": names}.items():
        same = total = 0
        found = (b.encode_batch(group, add_special_tokens=False) for b in (before, after))
        for old, new in zip(*found, strict=True):
            words = len(set(old.word_ids))
            total += words
            same += words if old.ids == new.ids else _same_words(before, old, new, old_size)
        if kind in texts:
            shares[kind] = round(same / max(total, 1), 6)
    return shares


def _same_words(backend: Backend, old: Encoding, new: Encoding, old_size: int) -> int:
    """How many words have the same ids in both; see ``check_unchanged``."""
    same = 0
    for before, after in zip(_words(old), _words(new), strict=True):
        same += before == after
        if before != after and max(after) < old_size:
            raise TokenizerError(
                "The extended tokenizer encodes '{word}' as {new}; before it was {old}. "
                "Nothing was written.",
                word=backend.decode(before),
                old=before,
                new=after,
            )
    return same


def _words(found: Encoding) -> Iterator[list[int]]:
    """The ids of each word."""
    for _, tokens in groupby(zip(found.word_ids, found.ids, strict=True), key=lambda t: t[0]):
        yield [token for _, token in tokens]
