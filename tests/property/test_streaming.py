"""Text that streams: whatever the characters and however tokens cut them, nothing breaks."""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Iterable, Iterator

import pytest
import tiny
from foreign_tokenizers import make
from hypothesis import given, settings
from hypothesis import strategies as st

from yaongi.infer.answer import Answer
from yaongi.infer.rules import Finish, Generation
from yaongi.text.foreign import ForeignTokenizer
from yaongi.text.tokenizer import StreamDecoder

TOK, GREEDY = tiny.tokenizer(), Generation()
HANGUL = [chr(c) for c in range(0xAC00, 0xD7A4)]
JAMO = [chr(c) for c in [*range(0x1100, 0x1200), *range(0x3131, 0x318F)]]
HANJA = [chr(c) for c in [
    *range(0x4E00, 0xA000), *range(0x3400, 0x4DC0), *range(0xF900, 0xFA6E), *range(0x20000, 0x20400)
]]  # fmt: skip
JOINED = ["👨‍👩‍👧‍👦", "🇰🇷", "👍🏽", "❤️‍🔥", "🏴‍☠️", "👩🏽‍💻", "1️⃣", "🏳️‍🌈", "🧑🏻‍❤️‍💋‍🧑🏿"]
EMOJI = [*JOINED, *(chr(c) for c in [*range(0x1F300, 0x1F700), *range(0x1F900, 0x1FB00)])]
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


def streamed(ids: Iterable[int], limit: int, tokenizer=TOK, **rules) -> tuple[list[str], Finish]:
    answer = Answer(tokenizer, Generation(**rules) if rules else GREEDY, limit, Finish.LENGTH)
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


class AnyBytes:
    """A vocabulary in which every run of bytes is a token: the worst a tokenizer could do."""

    stop_ids = frozenset[int]()

    def __init__(self) -> None:
        self._ids: dict[bytes, int] = {}
        self._bytes: list[bytes] = []

    def id_of(self, data: bytes) -> int:
        if data not in self._ids:
            self._ids[data] = len(self._bytes)
            self._bytes.append(data)
        return self._ids[data]

    def token_bytes(self, token: int, *, control: bool = False) -> bytes:
        return self._bytes[token]

    def stream(self) -> StreamDecoder:
        return StreamDecoder(self)


ANY = AnyBytes()


def splits(data: bytes) -> Iterator[list[bytes]]:
    """``data`` in every way to cut it."""
    for size in range(len(data)):
        for places in itertools.combinations(range(1, len(data)), size):
            edges = [0, *places, len(data)]
            yield [data[a:b] for a, b in itertools.pairwise(edges)]


def check_split(parts: list[bytes], text: str) -> None:
    """Each token brings exactly the characters it completes, and together they are the text."""
    found, _ = streamed(map(ANY.id_of, parts), len(parts), ANY)
    seen, told = b"", ""
    for part, piece in zip(parts, found, strict=True):
        seen, told = seen + part, told + piece
        assert told == seen.decode("utf-8", "ignore")
    assert told == text


@pytest.mark.parametrize(
    "kind", [HANGUL, JAMO, HANJA, EMOJI], ids=["hangul", "jamo", "hanja", "emoji"]
)
def test_every_character_arrives_whole_however_its_bytes_are_cut(kind):
    for character in kind:
        data = character.encode()
        if len(data) <= 8:
            for parts in splits(data):
                check_split(parts, character)


@pytest.mark.parametrize("text", [*JOINED, "각힣가", "가漢🐱", "a각\n", "ㅋㅋㅋ", "가\u11a8"])
def test_tokens_that_reach_over_characters_hold_nothing_back(text):
    data = text.encode()
    if len(data) <= 11:
        for parts in splits(data):
            check_split(parts, text)
        return
    rng = random.Random(text)
    for _ in range(500):
        places = sorted(rng.sample(range(1, len(data)), rng.randrange(len(data))))
        edges = [0, *places, len(data)]
        check_split([data[a:b] for a, b in itertools.pairwise(edges)], text)


@pytest.mark.parametrize("kind", [HANGUL, HANJA, EMOJI], ids=["hangul", "hanja", "emoji"])
def test_a_foreign_tokenizer_streams_whole_characters_too(kind, tmp_path):
    make(tmp_path, None)
    foreign = ForeignTokenizer(tmp_path)
    byte = {foreign.token_bytes(i): i for i in reversed(range(foreign.vocab_size))}
    text = "".join(kind)
    stream = foreign.stream()
    said = [stream.push(byte[bytes([b])]) for b in text.encode()]
    assert "".join(said) == text
    assert "\ufffd" not in "".join(said)


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
