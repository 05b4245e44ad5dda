"""Canonical ids: what n-grams may confuse, and what they must not."""

from __future__ import annotations

import pytest
import tiny

from yaongi.text.canonical import canonical_form, canonical_ids
from yaongi.text.control import CONTROL
from yaongi.text.hangul import LEADS, TAILS, VOWELS
from yaongi.text.tokenizer import Tokenizer

SYLLABLES = [chr(0xAC00 + i) for i in range(11_172)]


def test_every_korean_syllable_keeps_its_own_form():
    assert len({canonical_form(s) for s in SYLLABLES}) == 11_172


def test_compatibility_jamo_stay_distinct():
    jamo = {*LEADS, *VOWELS, *TAILS} - {""}
    assert len(jamo) == 51
    assert len({canonical_form(j) for j in jamo}) == 51
    assert canonical_form("ㅋㅋㅋ") != canonical_form("ㅋㅋ") != canonical_form("ㅎㅎ")


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("가", " 가"), ("가", "가"), ("각 ", "각"), ("The", " the"), ("THE", "the"),
        ("é", "E"), ("ﬁ", "fi"), ("①", "1"), ("Ａ", "a"), ("㎏", "kg"), ("\n\n", " "),
        ("a \t b", "a b"), ("한\u3000국", "한 국"),
    ],
)  # fmt: skip
def test_spellings_of_one_thing_share_a_form(a, b):
    assert canonical_form(a) == canonical_form(b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("가", "각"), ("가", "까"), ("개", "게"), ("か", "が"), ("は", "ぱ"), ("=", "≠"),
        ("กิ", "กี"), ("韓", "漢"), ("🙂", "🙃"), ("<", "≤"), ("\u0301", "\u0300"), ("'", "`"),
    ],
)  # fmt: skip
def test_different_things_keep_their_forms(a, b):
    assert canonical_form(a) != canonical_form(b)


def test_numbers_of_a_vocabulary():
    tok = tiny.tokenizer()
    numbers = canonical_ids(tok, 512)
    assert len(numbers) == 512
    assert set(numbers) == set(range(len(set(numbers))))  # no gaps
    firsts = [n for i, n in enumerate(numbers) if n not in numbers[:i]]
    assert firsts == sorted(firsts)  # in order of first appearance
    control = numbers[: len(CONTROL)]
    rest = numbers[len(CONTROL) :]
    assert len(set(control)) == len(CONTROL)
    assert not set(control) & set(rest)
    unused = numbers[tok.vocab_size :]
    assert len(set(unused)) == len(unused)
    assert not set(unused) & set(numbers[: tok.vocab_size])

    def number(text):
        (token,) = tok.encode(text)
        return numbers[token]

    assert number("a") == number("A")
    assert number("a") != number("b")


def test_bytes_that_are_no_character_keep_their_own_number():
    tok = tiny.tokenizer()
    numbers = canonical_ids(tok)
    broken = [i for i in range(len(CONTROL), tok.vocab_size) if tok.token_bytes(i)[0] >= 0x80
              and len(tok.token_bytes(i)) == 1]  # fmt: skip
    assert len(broken) == 128
    assert len({numbers[i] for i in broken}) == 128


def test_real_vocabulary_is_compressed_but_its_syllables_are_not():
    """Every syllable that is a token of its own is told from all others."""
    tok = Tokenizer.train(["\n".join(SYLLABLES[::40])] * 3 + tiny.TEXTS, 1500, allow_smaller=True)
    numbers = canonical_ids(tok)
    whole = [tok.encode(s)[0] for s in SYLLABLES[::40] if len(tok.encode(s)) == 1]
    assert len(whole) > 100
    assert len({numbers[i] for i in whole}) == len(whole)
    assert len(set(numbers)) < tok.vocab_size
