"""Which tokens an n-gram takes for the same: ``The``, `` the`` and ``THE`` get one number.

The tokenizer compression of Engram (arXiv:2601.07372, section 2.2): it makes rare spellings share
the memory of the common one. Korean keeps every syllable; only what surrounds it is dropped.
"""

from __future__ import annotations

import re
import unicodedata

from yaongi.text.control import CONTROL
from yaongi.text.tokenizer import Tokenizer

_SPACES = re.compile(r"[ \t\r\n]+")

FIRST_ACCENT = 200
"""Combining classes from here on are marks placed around a letter: é, ü, й. The smaller ones are
part of the letter: か and が differ by class 8, ≠ and = by class 1, Thai vowels are class 103."""


def canonical_ids(tokenizer: Tokenizer, size: int | None = None) -> list[int]:
    """token id -> its number; tokens of one canonical form share theirs.

    Numbers are given in order of first appearance, without gaps.

    Args:
        size: length of the result, the vocabulary of the model; ids the tokenizer does not have
            get a number each. None: the tokenizer's own.
    """
    numbers: dict[object, int] = {}
    keys = [_key(tokenizer, i) for i in range(tokenizer.vocab_size)]
    keys += [("unused", i) for i in range(tokenizer.vocab_size, size or 0)]
    return [numbers.setdefault(key, len(numbers)) for key in keys[:size]]


def _key(tokenizer: Tokenizer, token_id: int) -> object:
    """What decides the number: a str, or something no text can equal."""
    if token_id < len(CONTROL):
        return ("control", token_id)
    raw = tokenizer.token_bytes(token_id)
    try:
        return canonical_form(raw.decode())
    except UnicodeDecodeError:  # part of a character: bytes mean nothing but themselves
        return raw


def canonical_form(text: str) -> str:
    """``text`` without case, accents, compatibility forms and surrounding space.

    NFKC, NFD, marks of class ``FIRST_ACCENT`` and up removed, lower case, runs of space as one,
    none at the ends. Text of nothing but space is one space; text that would vanish stays as is.
    Hangul comes out as jamo, which is one-to-one for the 11,172 syllables.
    """
    form = unicodedata.normalize("NFD", unicodedata.normalize("NFKC", text))
    form = "".join(c for c in form if unicodedata.combining(c) < FIRST_ACCENT).lower()
    form = _SPACES.sub(" ", form).strip()
    if form:
        return form
    return " " if text.isspace() else text
