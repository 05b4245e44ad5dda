"""Text that streams: whatever the characters and however tokens cut them, nothing breaks."""

from __future__ import annotations

import functools
import random
from collections.abc import Iterable

import pytest
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st

from yaongi.infer.answer import Answer
from yaongi.infer.rules import Finish, Generation

TOK = tiny.tokenizer()
HANGUL = [chr(c) for c in range(0xAC00, 0xD7A4)]
JAMO = [chr(c) for c in [*range(0x1100, 0x1200), *range(0x3131, 0x318F)]]
HANJA = [chr(c) for c in [*range(0x4E00, 0xA000), *range(0x3400, 0x4DC0), *range(0x20000, 0x20400)]]
EMOJI = ["👨‍👩‍👧‍👦", "🇰🇷", "👍🏽", "❤️‍🔥", *(chr(c) for c in range(0x1F300, 0x1F700))]
PLAIN = [*"abc 12.\n", "안녕하세요. ", "고양이가 ", "ㅋㅋㅋ"]
characters = st.one_of(*(st.sampled_from(c) for c in (HANGUL, JAMO, HANJA, EMOJI, PLAIN)))
texts = st.lists(characters, min_size=1, max_size=30).map("".join)


@functools.cache
def pieces() -> dict[bytes, int]:
    """Every token that is text, by its bytes."""
    first = len(TOK.control_ids)
    return {TOK.token_bytes(i): i for i in range(first, TOK.vocab_size)}


def cut(text: str, rng: random.Random) -> list[int]:
    """Tokens that spell ``text``, cut anywhere, also inside a character."""
    data, ids = text.encode(), []
    while data:
        fitting = [n for n in range(1, 13) if data[:n] in pieces() and n <= len(data)]
        n = rng.choice(fitting)
        ids.append(pieces()[data[:n]])
        data = data[n:]
    return ids


def streamed(ids: Iterable[int], limit: int, **rules) -> tuple[list[str], Finish]:
    answer = Answer(TOK, Generation(**rules), limit, Finish.LENGTH)
    found: list[str] = []
    for token in ids:
        text, finish = answer.push(token)
        found.append(text)
        if finish is not None:
            return found, finish
    raise AssertionError("the answer did not end")


@pytest.mark.parametrize(
    "kind", [HANGUL, JAMO, HANJA, EMOJI], ids=["hangul", "jamo", "hanja", "emoji"]
)
def test_every_character_arrives_whole_from_single_bytes(kind):
    for character in kind:
        ids = [pieces()[bytes([b])] for b in character.encode()]
        found, _ = streamed(ids, len(ids))
        assert "".join(found) == character
        assert "\ufffd" not in "".join(found)


@settings(max_examples=300)
@given(texts, st.integers(0, 2**32))
def test_any_cut_gives_the_text_and_only_whole_characters(text, seed):
    ids = cut(text, random.Random(seed))
    found, finish = streamed(ids, len(ids))
    assert "".join(found) == text
    assert finish is Finish.LENGTH
    data = b"".join(TOK.token_bytes(i) for i in ids[:-1])
    assert "".join(found[:-1]) == data.decode("utf-8", "ignore")  # nothing is held for longer


@settings(max_examples=300)
@given(texts, st.data())
def test_a_stop_string_cuts_there_and_is_never_shown_in_part(text, data):
    start = data.draw(st.integers(0, len(text) - 1))
    stop = text[start : start + data.draw(st.integers(1, 6))]
    ids = cut(text, random.Random(data.draw(st.integers(0, 2**32))))
    found, finish = streamed(ids, len(ids), stop=(stop, "없는 말씀"))
    assert finish is Finish.STOP
    assert "".join(found) == text[: text.index(stop)]


@settings(max_examples=200)
@given(st.lists(st.integers(len(TOK.control_ids), TOK.vocab_size - 1), min_size=1, max_size=40))
def test_any_ids_at_all_stream_to_what_they_decode_to(ids):
    found, _ = streamed(ids, len(ids))
    assert "".join(found) == TOK.decode(ids)
