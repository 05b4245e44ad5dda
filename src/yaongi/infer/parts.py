"""What an answer is made of: thinking, tool calls, and what is said to the user.

The model marks the first two with control tokens (see ``text.chat``), which are no text; who shows
or keeps an answer asks here which of the three a piece belongs to.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Any

from yaongi.infer.request import Event
from yaongi.text.control import END_THINK, END_TOOL_CALL, THINK, TOOL_CALL
from yaongi.text.foreign import AnyTokenizer
from yaongi.text.tokenizer import Tokenizer


class Part(StrEnum):
    """What a piece of an answer is."""

    CONTENT = "content"
    THINKING = "thinking"
    TOOL_CALL = "tool_call"


_MARKS = {  # a control token -> what comes after it
    THINK: Part.THINKING,
    END_THINK: Part.CONTENT,
    TOOL_CALL: Part.TOOL_CALL,
    END_TOOL_CALL: Part.CONTENT,
}


class Answered:
    """An answer as its events come in.

    Attributes:
        part: what is being said now.
        tokens: how many came.
    """

    def __init__(self, tokenizer: AnyTokenizer) -> None:
        self._marks = _marks(tokenizer)
        self._texts = {Part.CONTENT: "", Part.THINKING: ""}
        self._calls: list[str] = []
        self.part = Part.CONTENT
        self.tokens = 0

    def push(self, event: Event) -> tuple[Part, str]:
        """What the event adds, and to which part; often nothing."""
        self.tokens += 1
        text = event.text
        if event.id in self._marks:
            name, self.part = self._marks[event.id]
            text = text.replace(name, "")  # in some vocabularies marks are text
            if self.part is Part.TOOL_CALL:
                self._calls.append("")
        if self.part is Part.TOOL_CALL:
            self._calls[-1] += text
        else:
            if not self._texts[self.part]:
                text = text.lstrip("\n")  # the template's line breaks behind a mark
            self._texts[self.part] += text
        return self.part, text

    def message(self) -> dict[str, Any] | None:
        """The assistant's message; None while there is nothing in it that the user could answer."""
        content, thinking = self._texts[Part.CONTENT].strip(), self._texts[Part.THINKING].strip()
        calls = [call for text in self._calls if (call := _call(text)) is not None]
        broken = [text for text in self._calls if text.strip() and _call(text) is None]
        content = "\n".join(part for part in [content, *broken] if part)
        if not content and not calls:
            return None
        optional = {"thinking": thinking, "tool_calls": calls}
        return {"role": "assistant", "content": content} | {k: v for k, v in optional.items() if v}


def _marks(tokenizer: AnyTokenizer) -> dict[int, tuple[str, Part]]:
    """The tokenizer's ids of the marks it has."""
    find = tokenizer.control_id if isinstance(tokenizer, Tokenizer) else tokenizer.token_id
    found = {name: find(name) for name in _MARKS}
    return {i: (name, _MARKS[name]) for name, i in found.items() if i is not None}


def _call(text: str) -> dict[str, Any] | None:
    """A tool call's JSON; None where it is none, as in an answer that was cut."""
    try:
        call = json.loads(text)
    except ValueError:
        return None
    match call:
        case {"name": str(), "arguments": str() | dict()}:
            return call
        case _:
            return None
