"""OpenAI's messages and tools to ours: what ``text.chat`` knows how to write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from yaongi.core.errors import DataError
from yaongi.serve.schemas import ChatRequest, Function, NamedTool, Tool, Turn
from yaongi.text.chat import Message, with_tools


def conversation(turns: Sequence[Turn], tools: Sequence[Tool] = ()) -> list[Message]:
    """Messages for the chat template, the tools described in the system message."""
    messages: list[Message] = [_message(turn) for turn in turns]
    return with_tools(messages, [tool.model_dump(exclude_none=True) for tool in tools])


def offered(body: ChatRequest) -> Sequence[Tool]:
    """The tools the model hears of."""
    return () if body.tool_choice == "none" else body.tools or ()


def must_call(body: ChatRequest) -> Sequence[Function]:
    """The functions one of which has to be called; none where the model decides.

    Raises:
        DataError: a function to call that was not given.
    """
    choice = body.tool_choice
    if choice in (None, "none", "auto"):
        return ()
    functions = [tool.function for tool in body.tools or ()]
    if isinstance(choice, NamedTool):
        functions = [f for f in functions if f.name == choice.function.name]
    if not functions:
        raise DataError("tool_choice names no tool of this request.")
    return functions


def _message(turn: Turn) -> dict[str, Any]:
    role = "system" if turn.role == "developer" else turn.role
    made: dict[str, Any] = {"role": role}
    content = turn.content
    made["content"] = (
        content if isinstance(content, str | None) else "".join(p.text for p in content)
    )
    if turn.reasoning_content:
        made["thinking"] = turn.reasoning_content
    if turn.tool_calls:
        made["tool_calls"] = [call.function.model_dump() for call in turn.tool_calls]
    return made
