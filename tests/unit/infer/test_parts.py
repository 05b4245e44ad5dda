"""An answer in its parts: thinking and calls are told from what is said, whatever was typed."""

from __future__ import annotations

import pytest
import tiny
from foreign_tokenizers import CHATML, make
from tokenizers import AddedToken, Tokenizer

from yaongi.infer.answer import Answer
from yaongi.infer.parts import Answered, Part
from yaongi.infer.request import Event
from yaongi.infer.rules import Finish, Generation
from yaongi.text.chat import encode_chat, validate
from yaongi.text.foreign import ForeignTokenizer

TOK = tiny.tokenizer()


def answered(ids: list[int], tokenizer=TOK) -> tuple[Answered, list[tuple[Part, str]]]:
    said, answer = Answered(tokenizer), Answer(tokenizer, Generation(), 10_000, Finish.LENGTH)
    pieces = []
    for i in ids:
        pieces.append(said.push(Event(0, i, 0.0, *answer.push(i))))
    return said, pieces


def ids_of(message: dict) -> list[int]:
    """What the model says when it says ``message``."""
    ids, mask = encode_chat(TOK, [{"role": "user", "content": "?"}, message])
    return [i for i, said in zip(ids, mask, strict=True) if said]


@pytest.mark.parametrize(
    "message",
    [
        {"content": "안녕하세요.\n\n반갑습니다."},
        {"content": "답은 3입니다.", "thinking": "1 더하기 2는\n3이다."},
        {"content": "", "tool_calls": [{"name": "날씨", "arguments": {"도시": "서울"}}]},
        {"content": "찾아볼게요.", "thinking": "음", "tool_calls": [
            {"name": "a", "arguments": {"x": 1}}, {"name": "b", "arguments": {}}]},
        {"content": "<think> 라는 말은 글자입니다. </think>"},
    ],
)  # fmt: skip
def test_what_the_model_says_is_the_message_it_learnt(message):
    message = {"role": "assistant", **message}
    said, pieces = answered(ids_of(message))
    assert said.message() == message
    assert said.tokens == len(ids_of(message))
    for part, key in ((Part.CONTENT, "content"), (Part.THINKING, "thinking")):
        text = "".join(text for of, text in pieces if of is part)
        assert text.strip() == message.get(key, "")


def test_an_answer_that_was_cut_is_still_a_conversation():
    whole = ids_of({"role": "assistant", "content": "찾아볼게요.", "thinking": "음, 어디 보자.",
                    "tool_calls": [{"name": "날씨", "arguments": {"도시": "서울"}}]})  # fmt: skip
    kept = 0
    for end in range(len(whole)):
        message = answered(whole[:end])[0].message()
        if message is not None:
            kept += 1
            validate([{"role": "user", "content": "?"}, message])
    assert kept > 5


def test_thinking_alone_is_no_message():
    whole = ids_of({"role": "assistant", "content": ".", "thinking": "음"})
    assert answered(whole[:3])[0].message() is None
    assert Answered(TOK).message() is None


def test_marks_that_are_text_in_a_foreign_vocabulary_are_not_shown(tmp_path):
    make(tmp_path, CHATML)
    path = tmp_path / "tokenizer.json"
    backend = Tokenizer.from_file(str(path))
    backend.add_tokens([AddedToken(mark, special=False) for mark in ("<think>", "</think>")])
    backend.save(str(path))
    ids = backend.encode("<think>\n음\n</think>\n\n네.", add_special_tokens=False).ids
    said, pieces = answered(ids, ForeignTokenizer(tmp_path))
    assert said.message() == {"role": "assistant", "content": "네.", "thinking": "음"}
    assert "think" not in "".join(text for _part, text in pieces)
