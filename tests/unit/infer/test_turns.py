"""An answer's tokens to thinking, content and calls: however text is held back, nothing moves."""

import json

import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st

from yaongi.infer.answer import Answer
from yaongi.infer.engine import Event
from yaongi.infer.rules import Finish, Generation
from yaongi.infer.turns import Channel, Turn, parse_call
from yaongi.text.chat import encode_chat

TOK = tiny.tokenizer()
ASK = {"role": "user", "content": "?"}


def spoken(message) -> list[int]:
    ids, mask = encode_chat(TOK, [ASK, message])
    return [i for i, said in zip(ids, mask, strict=True) if said]


def sorted_out(ids, prompt=(), stop=()) -> dict[Channel, str]:
    """What the parts of an answer of these ids are, pieces joined."""
    answer = Answer(TOK, Generation(stop=stop), 10_000, Finish.LENGTH)
    turn = Turn(TOK, prompt)
    found = dict.fromkeys(Channel, "")
    for token in ids:
        text, finish = answer.push(token)
        for piece in turn.push(Event(1, token, 0.0, text, finish)):
            found[piece.channel] += f"{piece.name}({piece.text})" if piece.name else piece.text
        if finish:
            break
    return found


LINES = st.text(st.sampled_from("가a😺\n<>/ "), max_size=12).map(lambda t: t.strip("\n"))


@given(
    LINES.filter(str.strip),
    LINES.filter(str.strip),
    st.sampled_from([(), ("\n\n\n\nx",), ("<x", "가가가나")]),
)
def test_what_was_written_is_read_again(thinking, content, stop):
    found = sorted_out(
        spoken({"role": "assistant", "thinking": thinking, "content": content}), stop=stop
    )
    assert found[Channel.THINKING] == thinking
    assert found[Channel.CONTENT] == content


def test_calls_come_with_their_names():
    call = {"name": "찾기", "arguments": {"말": '고양이 "}\n', "수": [1, None]}}
    found = sorted_out(spoken({"role": "assistant", "content": "잠깐", "tool_calls": [call, call]}))
    written = f"찾기({json.dumps(call['arguments'], ensure_ascii=False)})"
    assert found[Channel.CALL] == written * 2
    assert found[Channel.CONTENT] == "잠깐"


def test_a_call_that_is_none_stays_text():
    begin, end = TOK.control_id("<tool_call>"), TOK.control_id("</tool_call>")
    found = sorted_out([begin, *TOK.encode("\n고장\n"), end, TOK.im_end_id])
    assert found[Channel.CALL] == ""
    assert "고장" in found[Channel.CONTENT] and "<tool_call>" in found[Channel.CONTENT]


def test_marks_written_letter_by_letter_are_text():
    found = sorted_out([*TOK.encode("<think>아니</think>"), TOK.im_end_id])
    assert found[Channel.CONTENT] == "<think>아니</think>"


def test_a_prompt_may_open_the_thinking():
    opened = [*TOK.encode("물음"), TOK.control_id("<think>"), *TOK.encode("\n")]
    ids = [*TOK.encode("생각"), TOK.control_id("</think>"), *TOK.encode("\n\n답"), TOK.im_end_id]
    found = sorted_out(ids, opened)
    assert (found[Channel.THINKING], found[Channel.CONTENT]) == ("생각", "답")


def test_a_mark_somebody_typed_opens_nothing():
    """Where marks are ordinary tokens, as in Qwen3's vocabulary, a question may hold one."""
    asked = [*TOK.encode("무엇이 "), TOK.control_id("<think>"), *TOK.encode("\n"), TOK.im_end_id]
    asked += [*TOK.encode("\n"), TOK.control_id("<|im_start|>"), *TOK.encode("assistant\n")]
    found = sorted_out([*TOK.encode("답"), TOK.im_end_id], asked)
    assert (found[Channel.THINKING], found[Channel.CONTENT]) == ("", "답")


def test_a_stop_string_in_the_thinking_ends_it_there():
    ids = spoken({"role": "assistant", "thinking": "하나 둘 셋", "content": "넷"})
    found = sorted_out(ids, stop=("둘",))
    assert (found[Channel.THINKING], found[Channel.CONTENT]) == ("하나 ", "")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"name": 1, "arguments": {}}', '{"name": "x"}',
                                  '{"name": "x", "arguments": "y"}', "[" * 100_000,
                                  r'{"name": "x", "arguments": {"a": "\ud800"}}',
                                  r'{"name": "\udfff", "arguments": {}}',
                                  '{"name": "x", "arguments": {"a": NaN}}',
                                  '{"name": "x", "arguments": {"a": 1e999}}'])  # fmt: skip
def test_what_is_no_call(text):
    assert parse_call(text) is None
