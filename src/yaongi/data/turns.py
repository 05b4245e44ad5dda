"""A row's messages in one spelling: roles, contents, thinking, tool calls, weights.

Names are those of the field: OpenAI's ``role`` and ``content`` with parts, ``tool_calls`` and
``weight``, ShareGPT's ``from`` and ``value``, axolotl's ``train``. What does not fit is a
``BrokenRow`` with a reason, never an end of the run.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from yaongi.core.errors import DataError
from yaongi.text import chat


class BrokenRow(Exception):
    """A row that cannot be used.

    Args:
        reason: a constant phrase; rows are counted by it.
        row: the row as found, for the file of rejected rows.
    """

    def __init__(self, reason: str, row: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.row = row


Turn = dict[str, Any]
"""``role`` and ``content``; where a row has them ``thinking``, ``tool_calls`` and ``weight``."""

_ROLES = {
    "user": "user", "human": "user", "prompter": "user",
    "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant", "model": "assistant",
    "bot": "assistant", "function_call": "assistant",
    "system": "system", "developer": "system",
    "tool": "tool", "function": "tool", "observation": "tool", "function_response": "tool",
}  # fmt: skip
_SPEAKS = {name for name, role in _ROLES.items() if role == "assistant"}
_KEPT = {"thinking": "thinking", "reasoning_content": "thinking", "tool_calls": "tool_calls"}
_WEIGHTS = ("weight", "train")  # OpenAI's number; axolotl's true or false


def turns(value: object, column: str) -> list[Turn]:
    """The messages of a column, from any of the spellings.

    Raises:
        BrokenRow: no list of messages, an unknown role, a content that is not text.
    """
    if not isinstance(value, list):
        raise BrokenRow(f"{column} is not a list")
    if not value:
        raise BrokenRow(f"{column} is empty")
    return [_turn(item, column) for item in value]


def check(messages: list[Turn], *, generation_prompt: bool = False) -> None:
    """``chat.validate``, with its message as the reason of a ``BrokenRow``."""
    try:
        chat.validate(messages, generation_prompt=generation_prompt)
    except DataError as error:  # its fields would make every row a reason of its own
        raise BrokenRow(_reason(error)) from error


def _reason(error: DataError) -> str:
    """A fault of a conversation without the place it is at, as rows are counted by it."""
    reason = {
        "Message {place} ({role}) is empty.": "a message of the {role} is empty",
        "Message {place}: '{role}' cannot come {where}.": "'{role}' cannot come {where}",
        "Message {place}: a tool answers, but nothing was called.": "a tool answers, but nothing "
        "was called",
        "The conversation has no assistant turn to learn from.": "no answer to learn from",
    }.get(error.template)
    if reason is None:
        reason = error.template.removeprefix("Message {place}: ").removesuffix(".")
    return reason.format(**{**error.fields, "place": "n", "call": "..."})


def string(row: Mapping[str, Any], column: str) -> str:
    """A column that must hold text. Raises BrokenRow where it does not."""
    value = row.get(column)
    if not isinstance(value, str):
        raise BrokenRow(f"{column} is not a string")
    if not value.strip():
        raise BrokenRow(f"{column} is empty")
    return value


def weight(value: object, column: str) -> float:
    """How much something counts in the loss: a number from 0 up, or true or false.

    Raises:
        BrokenRow: anything else.
    """
    number = float(value) if isinstance(value, int | float) else math.nan
    if not (math.isfinite(number) and number >= 0):
        raise BrokenRow(f"{column} is not a number from 0 up")
    return number


def answer(value: object, column: str) -> str:
    """One answer: text, a message, or a list that ends with one.

    Raises:
        BrokenRow: nothing of the kind, or with thinking or tool calls, which pairs have no room
            for: as text they would teach to spell what are control tokens elsewhere.
    """
    if isinstance(value, Mapping):
        value = [value]
    if isinstance(value, list):
        said = turns(value, column)[-1]
    else:
        said = assistant(string({column: value}, column))
    if said["role"] != "assistant":
        raise BrokenRow(f"{column} does not end with an answer")
    if said.get("thinking") or said.get("tool_calls"):
        raise BrokenRow(f"{column} has thinking or tool calls")
    return string({column: said["content"]}, column)


def assistant(text: str) -> Turn:
    """An assistant's message from the text of it."""
    content, spelled = _spelled_out(text)
    return {"role": "assistant", "content": content, **spelled}


def said_in(messages: Iterable[Mapping[str, Any]]) -> list[str]:
    """What is said, thought and called, for people, tokenizers and deduplication."""
    parts: list[str] = []
    for turn in messages:
        calls = [json.dumps(c, ensure_ascii=False) for c in turn.get("tool_calls", [])]
        parts += [str(turn.get("thinking", "")), turn["content"], *calls]
    return [part for part in parts if part.strip()]


def _turn(item: object, column: str) -> Turn:
    if not isinstance(item, Mapping):
        raise BrokenRow(f"{column} holds something that is not a message")
    role = item.get("role", item.get("from"))
    if not isinstance(role, str) or role.lower() not in _ROLES:
        raise BrokenRow(f"{column} has an unknown role")
    kept = {ours: item[name] for name, ours in _KEPT.items() if item.get(name)}
    content = _content(item.get("content", item.get("value")), column, optional=bool(kept))
    if role.lower() in _SPEAKS:
        content, spelled = _spelled_out(content, only_call=role.lower() == "function_call")
        kept = {**spelled, **kept}
        counts = [item[name] for name in _WEIGHTS if item.get(name) is not None]
        if counts and (counted := weight(counts[0], "weight")) != 1:
            kept["weight"] = counted
    return {"role": _ROLES[role.lower()], "content": content, **kept}


_THINK = re.compile(r"\s*<think>(.*?)</think>\s*", re.DOTALL)
_CALL = re.compile(r"\s*<tool_call>(.*?)</tool_call>\s*", re.DOTALL)


def _spelled_out(content: str, *, only_call: bool = False) -> tuple[str, dict[str, Any]]:
    """Thinking and tool calls that a data set wrote into the text, as Qwen and Hermes do.

    They have to become structure: text never yields a control token.

    Args:
        only_call: the whole text is a call, as LLaMA-Factory's ``function_call`` turns have it.
    """
    kept: dict[str, Any] = {}
    if thinking := _THINK.match(content):
        content = content[thinking.end() :]
        if thinking[1].strip():
            kept["thinking"] = thinking[1].strip()
    written = [content] if only_call else _CALL.findall(content)
    calls = [_call(one) for one in written]
    if calls and None not in calls:
        kept["tool_calls"] = calls
        content = "" if only_call else _CALL.sub("", content)
    return content, kept


def _call(written: str) -> dict[str, Any] | None:
    try:
        call = json.loads(written)
    except (ValueError, RecursionError):
        return None
    return call if isinstance(call, dict) and {"name", "arguments"} <= set(call) else None


def _content(value: object, column: str, *, optional: bool) -> str:
    if value is None and optional:  # OpenAI leaves the content of a tool call out
        return ""
    if isinstance(value, list):  # OpenAI's list of parts
        parts = [part.get("text") if isinstance(part, Mapping) else None for part in value]
        value = "".join(p for p in parts if isinstance(p, str)) if None not in parts else None
    if not isinstance(value, str):
        raise BrokenRow(f"{column} has a content that is not text")
    return value
