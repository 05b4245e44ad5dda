"""OpenAI's answer objects, whole and in chunks, from the engine's events."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from typing import Any

from yaongi.core.errors import TokenizerError
from yaongi.infer.engine import Event
from yaongi.infer.rules import Finish
from yaongi.infer.turns import Channel, Said, Turn
from yaongi.serve.service import Asked
from yaongi.text.foreign import AnyTokenizer

Delta = dict[str, Any]
IMPOSSIBLE = -9999.0
"""OpenAI's log-probability of what cannot come: JSON has no infinity."""


class ChatAnswer:
    """The answers to one chat request.

    Args:
        logprobs: whether they were asked for.
    """

    kind = "chat.completion"

    def __init__(self, asked: Asked, tokenizer: AnyTokenizer, *, logprobs: bool) -> None:
        self.head = _head("chatcmpl", asked.model)
        if asked.dropped:
            self.head["dropped_messages"] = asked.dropped
        self.tokenizer = tokenizer
        self.logprobs = logprobs
        self.turns = [Turn(tokenizer, asked.prompt_of(i)) for i in range(len(asked.jobs))]
        self.choices = [_ChatChoice(i) for i in range(len(asked.jobs))]
        self.usage = Usage(asked)

    def push(self, place: int, event: Event) -> list[Delta]:
        """The chunks' choices that one event brings."""
        turn, choice = self.turns[place], self.choices[place]
        self.usage.said += event.tokens
        deltas = [choice.take(piece) for piece in turn.push(event)]
        entry = None
        if self.logprobs and turn.is_content(event) and event.id not in self.tokenizer.stop_ids:
            entry = {"content": [chat_logprob(self.tokenizer, event)], "refusal": None}
            choice.logprobs += entry["content"]
        if entry and not deltas:
            deltas = [{"content": ""}]
        chunks = [
            {"index": place, "delta": d, "logprobs": None, "finish_reason": None} for d in deltas
        ]
        if entry:
            chunks[0]["logprobs"] = entry
        if event.finish is not None:
            choice.finish = finish_reason(event.finish, called=bool(choice.calls))
            end = {"index": place, "delta": {}, "logprobs": None, "finish_reason": choice.finish}
            chunks.append(end)
            self.usage.thought += turn.thinking_tokens
        return chunks

    def opening(self) -> list[Delta]:
        """The choices of the first chunks: who speaks."""
        return [_part(c.index, {"role": "assistant", "content": ""}) for c in self.choices]

    def chunk(self, choices: Sequence[Delta], **more: Any) -> Delta:
        """A chunk of the stream."""
        return {**self.head, "object": "chat.completion.chunk", "choices": list(choices), **more}

    def whole(self) -> Delta:
        """The body of an answer that was not streamed."""
        choices = [choice.whole(self.logprobs) for choice in self.choices]
        return {**self.head, "object": self.kind, "choices": choices, "usage": self.usage.body()}


def _part(index: int, delta: Delta, finish: str | None = None) -> Delta:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}


class _ChatChoice:
    """One answer so far."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.texts = {Channel.CONTENT: "", Channel.THINKING: ""}
        self.calls: list[Delta] = []
        self.logprobs: list[Delta] = []
        self.finish: str | None = None

    def take(self, piece: Said) -> Delta:
        """Add a piece; returns the delta a stream sends for it."""
        if piece.channel is not Channel.CALL:
            self.texts[piece.channel] += piece.text
            return {piece.channel.value: piece.text}
        function = {"name": piece.name, "arguments": piece.text}
        call = {"id": f"call_{secrets.token_hex(12)}", "type": "function", "function": function}
        self.calls.append(call)
        return {"tool_calls": [{"index": len(self.calls) - 1, **call}]}

    def whole(self, logprobs: bool) -> Delta:
        content = self.texts[Channel.CONTENT]
        message: Delta = {
            "role": "assistant",
            "content": content if content or not self.calls else None,
            "refusal": None,
        }
        if thinking := self.texts[Channel.THINKING]:
            message["reasoning_content"] = thinking
        if self.calls:
            message["tool_calls"] = self.calls
        return {
            "index": self.index,
            "message": message,
            "logprobs": {"content": self.logprobs, "refusal": None} if logprobs else None,
            "finish_reason": self.finish,
        }


class TextAnswer:
    """The answers to one request of completions: text as the model writes it, marks left out."""

    kind = "text_completion"

    def __init__(self, asked: Asked, tokenizer: AnyTokenizer, *, logprobs: bool) -> None:
        self.head = _head("cmpl", asked.model)
        self.tokenizer = tokenizer
        self.logprobs = logprobs
        self.texts = [""] * len(asked.jobs)
        self.entries: list[Delta] = [_no_logprobs() for _ in asked.jobs]
        self.finishes: list[str | None] = [None] * len(asked.jobs)
        self.usage = Usage(asked)

    def push(self, place: int, event: Event) -> list[Delta]:
        """The chunk's choices that one event brings."""
        self.usage.said += event.tokens
        entry = None
        if self.logprobs and event.id not in self.tokenizer.stop_ids:
            entry = self._entry(place, event)
            for key, value in entry.items():
                self.entries[place][key] += value
        self.texts[place] += event.text
        if event.finish is not None:
            self.finishes[place] = finish_reason(event.finish)
        if not (event.text or entry or event.finish):
            return []
        finish = self.finishes[place]
        return [{"index": place, "text": event.text, "logprobs": entry, "finish_reason": finish}]

    def opening(self) -> list[Delta]:
        """Nothing: there is no role to tell."""
        return []

    def chunk(self, choices: Sequence[Delta], **more: Any) -> Delta:
        """A chunk of the stream."""
        return {**self.head, "object": self.kind, "choices": list(choices), **more}

    def whole(self) -> Delta:
        """The body of an answer that was not streamed."""
        found = zip(self.texts, self.entries, self.finishes, strict=True)
        choices = [
            {
                "index": i,
                "text": text,
                "logprobs": entry if self.logprobs else None,
                "finish_reason": finish,
            }
            for i, (text, entry, finish) in enumerate(found)
        ]
        return {**self.head, "object": self.kind, "choices": choices, "usage": self.usage.body()}

    def _entry(self, place: int, event: Event) -> Delta:
        tok = self.tokenizer
        return {
            "tokens": [token_text(tok, event.id)],
            "token_logprobs": [max(event.logprob, IMPOSSIBLE)],
            "top_logprobs": [{token_text(tok, i): max(x, IMPOSSIBLE) for i, x in event.top}],
            "text_offset": [len(self.texts[place])],
        }


class Usage:
    """Tokens of a request: read, said, and of those thought."""

    def __init__(self, asked: Asked) -> None:
        self.read = sum(map(len, asked.prompts))
        self.said = 0
        self.thought = 0

    def body(self) -> Delta:
        """OpenAI's object."""
        return {
            "prompt_tokens": self.read,
            "completion_tokens": self.said,
            "total_tokens": self.read + self.said,
            "completion_tokens_details": {"reasoning_tokens": self.thought},
        }


def finish_reason(finish: Finish, *, called: bool = False) -> str:
    """OpenAI's word; a full context is ``length`` there."""
    if finish is not Finish.STOP:
        return "length"
    return "tool_calls" if called else "stop"


def chat_logprob(tokenizer: AnyTokenizer, event: Event) -> Delta:
    """OpenAI's entry for a token of the content."""
    top = [_token(tokenizer, i, value) for i, value in event.top]
    return {**_token(tokenizer, event.id, event.logprob), "top_logprobs": top}


def _token(tokenizer: AnyTokenizer, token: int, logprob: float) -> Delta:
    return {
        "token": token_text(tokenizer, token),
        "logprob": max(logprob, IMPOSSIBLE),
        "bytes": _bytes(tokenizer, token),
    }


def _bytes(tokenizer: AnyTokenizer, token: int) -> list[int] | None:
    try:
        return list(tokenizer.token_bytes(token))
    except TokenizerError:  # a vocabulary whose tokens stand for no bytes; OpenAI has null there
        return None


def token_text(tokenizer: AnyTokenizer, token: int) -> str:
    """A token by itself; part of a character shows as U+FFFD."""
    return tokenizer.decode([token], control=True)


def _no_logprobs() -> Delta:
    return {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}


def _head(prefix: str, model: str) -> Delta:
    return {
        "id": f"{prefix}-{secrets.token_hex(12)}",
        "created": int(time.time()),
        "model": model,
        "system_fingerprint": None,
    }
