"""What the assistant said, told apart: thinking, content and tool calls, as it comes.

The marks between them are control tokens, so what tells them apart is ids and never text: a model
that writes ``<think>`` letter by letter has written text. A model of another family whose
vocabulary has these marks as ordinary tokens (Qwen3) is read the same way.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from yaongi.infer.request import Event
from yaongi.infer.runner import NO_TOKEN
from yaongi.text.control import END_THINK, END_TOOL_CALL, THINK, TOOL_CALL
from yaongi.text.foreign import AnyTokenizer
from yaongi.text.tokenizer import Tokenizer


class Channel(StrEnum):
    """Where a piece of an answer belongs; the values are OpenAI's and DeepSeek's field names."""

    THINKING = "reasoning_content"
    CONTENT = "content"
    CALL = "tool_calls"


MARKS = {
    THINK: Channel.THINKING,
    END_THINK: Channel.CONTENT,
    TOOL_CALL: Channel.CALL,
    END_TOOL_CALL: Channel.CONTENT,
}
"""What follows each mark."""


@dataclass(frozen=True)
class Said:
    """A piece of an answer; ``text`` of a call is its arguments, in JSON."""

    channel: Channel
    text: str
    name: str = ""


def mark_ids(tokenizer: AnyTokenizer) -> dict[str, int]:
    """The ids of the marks a tokenizer has."""
    if isinstance(tokenizer, Tokenizer):
        return {name: tokenizer.control_id(name) for name in MARKS}
    added = tokenizer.spec.get("added_tokens") or []
    return {token["content"]: token["id"] for token in added if token["content"] in MARKS}


class Turn:
    """Sorts the events of one answer.

    A mark's place is counted in characters of the whole text, because the engine holds text back
    where a stop string may begin.

    Args:
        prompt: a chat template may open the thinking itself.

    Attributes:
        channel: of the newest token.
        thinking_tokens: so far.
    """

    def __init__(self, tokenizer: AnyTokenizer, prompt: Sequence[int]) -> None:
        self._marks = {i: MARKS[name] for name, i in mark_ids(tokenizer).items()}
        self.channel = self._opened(tokenizer, prompt)
        self.thinking_tokens = 0
        self._decoder = tokenizer.stream()
        self._decoded = self._passed = 0  # characters
        self._switches: deque[tuple[int, int, Channel]] = deque()  # (begin, end) of a mark's text
        self._pieces = _Pieces(self.channel)

    def _opened(self, tokenizer: AnyTokenizer, prompt: Sequence[int]) -> Channel:
        """What the prompt ends in. A mark further up is an earlier turn's, or, in vocabularies
        where marks are ordinary tokens, what somebody typed."""
        at = next((i for i in reversed(range(len(prompt))) if prompt[i] in self._marks), None)
        if at is None or tokenizer.decode(prompt[at + 1 :], control=True).strip():
            return Channel.CONTENT
        found = self._marks[prompt[at]]
        return found if found is Channel.THINKING else Channel.CONTENT

    def is_content(self, event: Event) -> bool:
        """Whether the event that was just pushed is a token of the content."""
        return self.channel is Channel.CONTENT and event.id not in self._marks

    def push(self, event: Event) -> list[Said]:
        """What became certain with this event."""
        self._follow(event)
        found: list[Said] = []
        text = event.text
        while self._switches and self._switches[0][1] <= self._passed + len(text):
            begin, end, channel = self._switches.popleft()
            found += self._pieces.push(text[: begin - self._passed])
            text = text[end - self._passed :]
            self._passed = end
            found += self._pieces.switch(channel)
        self._passed += len(text)
        found += self._pieces.push(text)
        return found if event.finish is None else found + self._pieces.end()

    def end(self) -> list[Said]:
        """What was held back of an answer that somebody stopped; of another, nothing."""
        return self._pieces.end()

    def _follow(self, event: Event) -> None:
        begin = self._decoded
        if event.tokens == 1 and event.id != NO_TOKEN:
            self._decoded += len(self._decoder.push(event.id))
        else:  # the id does not tell all that was said, but the text does
            begin = self._decoded = self._passed + len(event.text)
        if event.id in self._marks:
            self.channel = self._marks[event.id]
            self._switches.append((begin, self._decoded, self.channel))
        self.thinking_tokens += event.tokens * (self.channel is Channel.THINKING)


class _Pieces:
    """Joins text to pieces without the line breaks that the template puts beside marks."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self._fresh = False  # just behind a mark
        self._held = ""  # line breaks, or a call that is not whole

    def push(self, text: str) -> list[Said]:
        """The pieces of more text of the same channel."""
        if self._fresh:
            text = text.lstrip("\n")
        if not text:
            return []
        self._fresh = False
        text = self._held + text
        safe = "" if self.channel is Channel.CALL else text.rstrip("\n")
        self._held = text[len(safe) :]
        return [Said(self.channel, safe)] if safe else []

    def switch(self, channel: Channel) -> list[Said]:
        """A mark came."""
        found = [_call(self._held, whole=True)] if self.channel is Channel.CALL else []
        self.channel, self._held, self._fresh = channel, "", True
        return found

    def end(self) -> list[Said]:
        """The answer ended; a call that was cut is text."""
        held, self._held = self._held, ""
        if self.channel is Channel.CALL:
            self.channel = Channel.CONTENT
            return [_call(held, whole=False)]
        return [Said(self.channel, held)] if held else []


def _call(text: str, *, whole: bool) -> Said:
    """A call; text that is none stays what it is, for the client to see."""
    found = parse_call(text) if whole else None
    if found is None:
        return Said(Channel.CONTENT, f"{TOOL_CALL}\n{text}{END_TOOL_CALL if whole else ''}")
    return Said(Channel.CALL, json.dumps(found["arguments"], ensure_ascii=False), found["name"])


def parse_call(text: str) -> Mapping[str, Any] | None:
    """``{"name", "arguments"}`` as the template writes it, or None.

    None too where it could not be passed on as JSON in UTF-8: Python reads half of a surrogate pair
    (``"\\ud800"``), ``NaN`` and ``1e999``, and nobody else does.
    """
    try:
        found = json.loads(text)
        json.dumps(found, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        return None
    match found:
        case {"name": str(), "arguments": dict()}:
            return found
        case _:
            return None
