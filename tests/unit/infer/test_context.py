"""A conversation that no longer fits: refused with both numbers, or whole exchanges go."""

from __future__ import annotations

from typing import Any

import pytest
import tiny

from yaongi.core.errors import ConfigError, DataError
from yaongi.infer.context import Overflow, fitted

TOK = tiny.tokenizer()
SYSTEM = {"role": "system", "content": "너는 고양이다."}
CALL = {"role": "assistant", "content": "", "tool_calls": [{"name": "time", "arguments": {}}]}


def exchange(n: int) -> list[dict[str, Any]]:
    said = [{"role": "user", "content": f"{n}번 질문입니다."}]
    if n % 3 == 0:
        said += [CALL, {"role": "tool", "content": "정오"}]
    return [*said, {"role": "assistant", "content": f"{n}번 답입니다."}]


def conversation(exchanges: int, *, system: bool = True) -> list[dict[str, Any]]:
    before = [m for n in range(exchanges) for m in exchange(n)]
    return [*[SYSTEM] * system, *before, {"role": "user", "content": "마지막 질문."}]


def drop(messages: list[dict[str, Any]], length: int | None, max_tokens: int = 16) -> Any:
    return fitted(
        messages, TOK.chat_ids, length, max_tokens=max_tokens, overflow=Overflow.DROP_OLDEST
    )


def test_what_fits_is_left_alone():
    messages = conversation(4)
    for found in (drop(messages, None), drop(messages, 10_000)):
        assert (found.messages, found.dropped) == (messages, 0)
        assert found.ids == TOK.chat_ids(messages)


@pytest.mark.parametrize("system", [True, False])
@pytest.mark.parametrize("length", [120, 150, 220, 300, 500])
def test_the_oldest_exchanges_go_whole_and_no_more_than_needed(length: int, system: bool):
    messages = conversation(12, system=system)
    found = drop(messages, length)
    room = min(16, length // 4)
    assert found.ids == TOK.chat_ids(found.messages)
    assert len(found.ids) <= length - 2 * room
    rest = found.messages[system:]
    assert found.messages[:system] == messages[:system]  # never the system prompt
    assert rest == messages[len(messages) - len(rest) :]  # the latest, in order
    assert rest[0]["role"] == "user"  # never half an exchange
    assert found.dropped == len(messages) - len(found.messages) > 0
    cut = len(messages) - len(rest)
    one_more = max(i for i in range(system, cut) if messages[i]["role"] == "user")
    longer = [*messages[:system], *messages[one_more:]]
    assert len(TOK.chat_ids(longer)) > length - 2 * room


def test_a_tools_answer_stays_with_the_question_it_belongs_to():
    messages = [*conversation(6)[:-1], {"role": "user", "content": "지금은?"}, CALL]
    messages.append({"role": "tool", "content": "저녁"})
    found = drop(messages, len(TOK.chat_ids([SYSTEM, *messages[-3:]])) + 40)
    assert found.dropped
    assert [m["role"] for m in found.messages[-3:]] == ["user", "assistant", "tool"]


def test_room_for_the_answer_is_kept_where_turns_can_give_it():
    """The last question may fill more than its share: there is nothing else to leave out."""
    question = [{"role": "user", "content": "길고 긴 질문 " * 6}]
    length = len(TOK.chat_ids(question)) + 1
    found = drop([*conversation(3, system=False)[:-1], *question], length, 1000)
    assert found.messages == question


@pytest.mark.parametrize("overflow", list(Overflow))
def test_a_question_too_long_is_an_error_with_both_numbers(overflow: Overflow):
    messages = [*conversation(3)[:-1], {"role": "user", "content": "가나다 " * 100}]
    alone = len(TOK.chat_ids([SYSTEM, messages[-1]]))
    with pytest.raises(DataError) as caught:
        fitted(messages, TOK.chat_ids, 64, max_tokens=8, overflow=overflow)
    count = len(TOK.chat_ids(messages)) if overflow is Overflow.ERROR else alone
    assert f"{count} tokens" in str(caught.value) and "64" in str(caught.value)


def test_refused_unless_dropping_was_asked_for():
    with pytest.raises(DataError, match="64"):
        fitted(conversation(12), TOK.chat_ids, 64, max_tokens=8)
    with pytest.raises(ConfigError, match=r"'forget'.*error, drop_oldest"):
        fitted(conversation(1), TOK.chat_ids, 64, max_tokens=8, overflow="forget")


def test_a_long_conversation_is_encoded_a_few_times_only():
    counted = 0

    def encode(messages: Any) -> list[int]:
        nonlocal counted
        counted += 1
        return TOK.chat_ids(messages)

    fitted(conversation(400), encode, 200, max_tokens=8, overflow="drop_oldest")
    assert counted < 15
