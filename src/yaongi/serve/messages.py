"""OpenAI's messages and tools to ours: what ``text.chat`` knows how to write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from yaongi.serve.schemas import Tool, Turn
from yaongi.text.chat import Message, with_tools


def conversation(turns: Sequence[Turn], tools: Sequence[Tool] | None) -> list[Message]:
    """Messages for the chat template, the tools described in the system message."""
    messages: list[Message] = [_message(turn) for turn in turns]
    listed = [tool.model_dump(exclude_none=True) for tool in tools or ()]
    return with_tools(messages, listed)


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
