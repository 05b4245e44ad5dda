"""Conversations to ids: the only file that knows the chat template.

ChatML (OpenAI 2023), with thinking and tool calls written as Qwen3 and Hermes do::

    <|im_start|>system\\n너는 친절하다.<|im_end|>\\n
    <|im_start|>user\\n서울 날씨는?<|im_end|>\\n
    <|im_start|>assistant\\n<think>\\n찾아보자.\\n</think>\\n\\n
    <tool_call>\\n{"name": "weather", "arguments": {"city": "서울"}}\\n</tool_call><|im_end|>\\n
    <|im_start|>tool\\n<tool_response>\\n맑음\\n</tool_response><|im_end|>\\n
    <|im_start|>assistant\\n맑습니다.<|im_end|>\\n

(each ``\\n`` is a line break; there is none else). Thinking is written wherever a message has it;
a caller who wants earlier thinking forgotten leaves it out. Tool descriptions belong into the
system message.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

from yaongi.core.errors import DataError
from yaongi.text.control import (
    END_THINK,
    END_TOOL_CALL,
    END_TOOL_RESPONSE,
    IM_END,
    IM_START,
    THINK,
    TOOL_CALL,
    TOOL_RESPONSE,
)

Message = Mapping[str, Any]
"""``role`` and ``content``; an assistant's may have ``thinking`` and ``tool_calls``, a list of
``{"name", "arguments"}`` or OpenAI's ``{"function": {"name", "arguments"}}``. Its ``weight`` is for
``data.weights``."""

ROLES = ("system", "user", "assistant", "tool")
_AFTER = {  # role -> what may stand before it; None is the start
    "system": {None},
    "user": {None, "system", "assistant"},
    "assistant": {"user", "tool"},
    "tool": {"assistant", "tool"},
}

CHAT_TEMPLATE = """\
{%- if tools %}{{ raise_exception('Describe the tools in the system message.') }}{% endif %}
{{- '<|endoftext|>' }}
{%- for message in messages %}
{%- if message.role not in ['system', 'user', 'assistant', 'tool'] %}
{{- raise_exception('Unknown role: ' + message.role) }}
{%- endif %}
{{- '<|im_start|>' + message.role + '\\n' }}
{%- if message.role == 'tool' %}
{{- '<tool_response>\\n' + message.content + '\\n</tool_response>' }}
{%- elif message.role == 'assistant' %}
{%- generation %}
{%- set thinking = message.thinking or message.reasoning_content %}
{%- if thinking %}
{{- '<think>\\n' + thinking + '\\n</think>\\n\\n' }}
{%- endif %}
{{- message.content or '' }}
{%- for call in message.tool_calls or [] %}
{{- '\\n' if message.content or not loop.first else '' }}
{%- set call = call.function or call %}
{{- '<tool_call>\\n{"name": ' + call.name | tojson + ', "arguments": ' }}
{{- call.arguments if call.arguments is string else call.arguments | tojson }}
{{- '}\\n</tool_call>' }}
{%- endfor %}
{{- '<|im_end|>' }}
{%- endgeneration %}
{{- '\\n' }}
{%- else %}
{{- message.content }}
{%- endif %}
{%- if message.role != 'assistant' %}
{{- '<|im_end|>\\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
"""``<|endoftext|>`` and then ``render``, in Jinja, for tools that read ``chat_template.jinja``.

A conversation is a document, and every document a model learns from is opened by that token: the
packer writes it in training and ``Model.chat`` before answering. Other programs have neither, so
here the template itself must."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of a rendered conversation.

    Attributes:
        control: one control token's name; otherwise ordinary text, whatever it spells.
        trained: what the assistant says, ``<|im_end|>`` included.
    """

    text: str
    control: bool = False
    trained: bool = False


class Encoder(Protocol):
    """The two methods of a tokenizer that ``encode_chat`` uses."""

    def encode(self, text: str) -> list[int]: ...
    def control_id(self, name: str) -> int: ...


def encode_chat(
    tok: Encoder, messages: Sequence[Message], *, generation_prompt: bool = False
) -> tuple[list[int], list[int]]:
    """Ids of a conversation and a mask of equal length: 1 = learn to say this.

    What a message contains is encoded as plain text, so nobody can forge a turn. There is no
    ``<|endoftext|>`` in front; whoever packs documents puts it there.

    Args:
        generation_prompt: end with the opening of an assistant turn, for the model to continue.
    Raises:
        DataError: as ``render``.
    """
    ids: list[int] = []
    mask: list[int] = []
    pieces = render(messages, generation_prompt=generation_prompt)
    for (control, trained), run in itertools.groupby(pieces, lambda p: (p.control, p.trained)):
        # Text between two control tokens is encoded in one go, as tools that see the rendered
        # string do, except where the assistant starts: there generation starts too.
        text = [piece.text for piece in run]
        new = [tok.control_id(t) for t in text] if control else tok.encode("".join(text))
        ids += new
        mask += [int(trained)] * len(new)
    return ids, mask


def render(messages: Sequence[Message], *, generation_prompt: bool = False) -> list[Piece]:
    """A conversation as pieces; joined they are what ``CHAT_TEMPLATE`` gives after its opener.

    Raises:
        DataError: an unknown role, or content, thinking or tool calls of the wrong type.
    """
    pieces = [piece for place, m in enumerate(messages, 1) for piece in _turn(m, place)]
    if generation_prompt:
        pieces += [Piece(IM_START, control=True), Piece("assistant\n")]
    return pieces


def validate(messages: Sequence[Message], *, generation_prompt: bool = False) -> None:
    """Check a conversation before training on it, or (``generation_prompt``) answering it.

    Turns go system? (user (assistant tool+)* assistant)*; training needs an assistant's turn,
    answering needs a user's or tool's turn at the end.

    Raises:
        DataError: the first fault, as "Message 2: ...".
    """
    if not messages:
        raise DataError("The conversation is empty.")
    render(messages)  # complains about roles and types
    before: Message | None = None
    for place, message in enumerate(messages, 1):
        _check_order(before, message, place)
        said = (message.get("content") or "").strip() or message.get("tool_calls")
        if not said and message["role"] != "tool":  # a tool may well return nothing
            raise DataError("Message {place} ({role}) is empty.", place=place, role=message["role"])
        before = message
    roles = [message["role"] for message in messages]
    if generation_prompt and roles[-1] not in ("user", "tool"):
        raise DataError("There is nothing to answer: the last message is from '{role}'.",
                        role=roles[-1])  # fmt: skip
    if not generation_prompt and "assistant" not in roles:
        raise DataError("The conversation has no assistant turn to learn from.")


def with_tools(messages: Sequence[Message], tools: object) -> list[Message]:
    """The conversation with tools described in its system message: a text, or a list, as JSON."""
    listed = tools if isinstance(tools, str) else _json(tools)
    if listed.strip() in ("", "[]"):
        return list(messages)
    has_own = bool(messages) and messages[0].get("role") == "system"
    said = messages[0].get("content") if has_own else ""
    content = "\n\n".join(part for part in (said, f"# Tools\n{listed}") if part)
    return [{"role": "system", "content": content}, *messages[has_own:]]


def _check_order(before: Message | None, message: Message, place: int) -> None:
    role, previous = message["role"], before["role"] if before else None
    if previous not in _AFTER[role]:
        raise DataError(
            "Message {place}: '{role}' cannot come {where}.",
            place=place,
            role=role,
            where=f"after '{previous}'" if previous else "first",
        )
    if role == "tool" and previous == "assistant" and before and not before.get("tool_calls"):
        raise DataError("Message {place}: a tool answers, but nothing was called.", place=place)


def _turn(message: Message, place: int) -> Iterator[Piece]:
    role = _role(message, place)
    yield Piece(IM_START, control=True)
    if role == "assistant":
        yield Piece("assistant\n")
        yield from _said(message, place)
        yield Piece(IM_END, control=True, trained=True)
    else:
        yield Piece(f"{role}\n")
        content = Piece(_text(message, "content", place))
        yield from (
            _boxed(TOOL_RESPONSE, content, END_TOOL_RESPONSE) if role == "tool" else [content]
        )
        yield Piece(IM_END, control=True)
    yield Piece("\n")


def _role(message: object, place: int) -> str:
    if not isinstance(message, Mapping):
        raise DataError(
            "Message {place} is a {type}; expected role and content.",
            place=place,
            type=type(message).__name__,
        )
    role = cast(Message, message).get("role")
    if role not in ROLES:
        raise DataError(
            "Message {place}: role is {role!r}; expected one of {roles}.",
            place=place,
            role=role,
            roles=", ".join(ROLES),
        )
    return role


def _said(message: Message, place: int) -> Iterator[Piece]:
    """What the assistant says: thinking, content, tool calls, all of it trained."""
    if thinking := _text(message, "thinking", place, required=False):
        yield from _boxed(THINK, Piece(thinking, trained=True), END_THINK)
        yield Piece("\n\n", trained=True)
    content = _text(message, "content", place, required=not message.get("tool_calls"))
    yield Piece(content, trained=True)
    for number, call in enumerate(_calls(message, place)):
        if content or number:
            yield Piece("\n", trained=True)
        yield from _boxed(TOOL_CALL, Piece(call, trained=True), END_TOOL_CALL)


def _boxed(opening: str, inside: Piece, closing: str) -> Iterator[Piece]:
    yield Piece(opening, control=True, trained=inside.trained)
    yield Piece(f"\n{inside.text}\n", trained=inside.trained)
    yield Piece(closing, control=True, trained=inside.trained)


def _calls(message: Message, place: int) -> Iterator[str]:
    """Each tool call as one line of JSON."""
    given: object = message.get("tool_calls") or []
    for item in cast(list[object], given) if isinstance(given, list) else [given]:
        nested = cast(Message, item).get("function") if isinstance(item, Mapping) else None
        call = cast(Message, nested or item)
        match call:
            case {"name": str(name), "arguments": str() | dict()}:
                arguments: str | dict[str, object] = call["arguments"]
            case _:
                raise DataError(
                    "Message {place}: a tool call needs a name and arguments (an object, or its "
                    "JSON); got {call!r}.",
                    place=place,
                    call=cast(object, item),
                )
        written = arguments if isinstance(arguments, str) else _json(arguments)
        yield f'{{"name": {_json(name)}, "arguments": {written}}}'


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)  # as transformers' tojson


def _text(message: Message, key: str, place: int, *, required: bool = True) -> str:
    value = message.get(key)
    if value is None and not required:
        return ""
    if not isinstance(value, str):
        raise DataError(
            "Message {place} ({role}): {key} must be text, not {type}.",
            place=place,
            role=message.get("role"),
            key=key,
            type="missing" if value is None else type(value).__name__,
        )
    return value
