"""The message that is kept of an answer, whole or stopped at any token."""

from __future__ import annotations

import pytest
import tiny
from foreign_tokenizers import CHATML, make
from tokenizers import AddedToken, Tokenizer

from yaongi.cli.chat.conversation import answer_of
from yaongi.infer.answer import Answer
from yaongi.infer.request import Event
from yaongi.infer.rules import Finish, Generation
from yaongi.infer.turns import Channel, Said, Turn
from yaongi.text.chat import encode_chat, validate
from yaongi.text.foreign import ForeignTokenizer

TOK = tiny.tokenizer()


def said_in(ids: list[int], tokenizer=TOK) -> list[Said]:
    """The pieces of an answer of these ids, stopped behind the last."""
    turn, answer = Turn(tokenizer, []), Answer(tokenizer, Generation(), 10_000, Finish.LENGTH)
    pieces = [piece for i in ids for piece in turn.push(Event(0, i, 0.0, *answer.push(i)))]
    return pieces + turn.end()


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
    said = said_in(ids_of(message))
    assert answer_of(said) == message
    for channel, key in ((Channel.CONTENT, "content"), (Channel.THINKING, "thinking")):
        text = "".join(piece.text for piece in said if piece.channel is channel)
        assert text.strip() == message.get(key, "")


def test_an_answer_that_was_cut_is_still_a_conversation():
    whole = ids_of({"role": "assistant", "content": "찾아볼게요.", "thinking": "음, 어디 보자.",
                    "tool_calls": [{"name": "날씨", "arguments": {"도시": "서울"}}]})  # fmt: skip
    kept = 0
    for end in range(len(whole)):
        message = answer_of(said_in(whole[:end]))
        if message is not None:
            kept += 1
            validate([{"role": "user", "content": "?"}, message])
    assert kept > 5


def test_thinking_alone_is_no_message():
    whole = ids_of({"role": "assistant", "content": ".", "thinking": "음"})
    assert answer_of(said_in(whole[:3])) is None
    assert answer_of([]) is None


def test_marks_that_are_text_in_a_foreign_vocabulary_are_not_shown(tmp_path):
    make(tmp_path, CHATML)
    path = tmp_path / "tokenizer.json"
    backend = Tokenizer.from_file(str(path))
    backend.add_tokens([AddedToken(mark, special=False) for mark in ("<think>", "</think>")])
    backend.save(str(path))
    ids = backend.encode("<think>\n음\n</think>\n\n네.", add_special_tokens=False).ids
    said = said_in(ids, ForeignTokenizer(tmp_path))
    assert answer_of(said) == {"role": "assistant", "content": "네.", "thinking": "음"}
    assert "think" not in "".join(piece.text for piece in said)
