"""One conversation in the terminal: what was said, what the model sees of it, what it took."""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from yaongi.core.errors import DataError
from yaongi.core.i18n import translate as _
from yaongi.infer.context import Overflow
from yaongi.infer.request import Event
from yaongi.infer.turns import Channel, Said, Turn

Pieces = Generator[Said]
"""An answer as it comes. Closing it ends the answer; what came is kept."""


@dataclass
class Stats:
    """What the last answer took.

    Attributes:
        prompt_tokens: what the model had read when it began.
        first_s: from the question to the first token.
        rest_s: from the first token to the last.
    """

    prompt_tokens: int = 0
    answer_tokens: int = 0
    first_s: float = 0.0
    rest_s: float = 0.0

    @property
    def tokens_per_s(self) -> float:
        """After the first one."""
        return max(self.answer_tokens - 1, 0) / self.rest_s if self.rest_s else 0.0


class Conversation:
    """The turns so far, and the ways to go on.

    Args:
        model: a ``yaongi.Model``.
        sampling: the settings of ``Generation``.
        system: the system prompt, if any.
        overflow: what happens when it no longer fits, see ``infer.context``.

    Attributes:
        turns: all messages but the system's.
        forgotten: how many of them, the oldest, the model no longer sees.
        noticed: whether the user was told so.
    """

    def __init__(
        self,
        model: Any,
        sampling: dict[str, Any],
        system: str | None = None,
        overflow: str = Overflow.DROP_OLDEST,
    ) -> None:
        self.model = model
        self.sampling = sampling
        self.overflow = overflow
        self._takes = 0
        self.start(system)

    def start(self, system: str | None, turns: list[dict[str, Any]] | None = None) -> None:
        """Begin anew, or with turns from elsewhere."""
        self.system = system
        self.turns = turns or []
        self.forgotten = 0
        self.noticed = False
        self.stats = Stats()

    def messages(self, since: int = 0) -> list[dict[str, Any]]:
        """The conversation with its system prompt, without the first ``since`` turns."""
        head = [{"role": "system", "content": self.system}] if self.system else []
        return head + self.turns[since:]

    def ask(self, text: str) -> Pieces:
        """The answer to a new question, in pieces; see ``_answer``.

        Raises:
            InputError: at once, for a question that cannot be asked; nothing has changed then.
        """
        return self._answer([*self.turns, {"role": "user", "content": text}])

    def again(self) -> Pieces:
        """Another answer to the last question; the one before stays if nothing comes.

        Raises:
            DataError: nothing was asked.
        """
        asked = self.turns[:]
        while asked and asked[-1]["role"] == "assistant":
            asked.pop()
        if not asked:
            raise DataError("There is no question to answer again.")
        self._takes += 1  # the same numbers would give the same answer
        return self._answer(asked)

    def _answer(self, asked: list[dict[str, Any]]) -> Pieces:
        """Answer ``asked`` and keep what was said, all of it or as much as came.

        Nothing is kept of a turn whose answer has not begun.
        """
        rules = self.sampling | {"seed": self.sampling.get("seed", 0) + self._takes}
        begun = time.monotonic()
        fit = self.model.fit(
            [*self.messages(len(self.turns)), *asked[self.forgotten :]],
            max_tokens=rules.get("max_tokens"),
            overflow=self.overflow,
        )
        events = self.model.events(fit.ids, **rules)
        self.forgotten += fit.dropped
        self.stats = Stats(prompt_tokens=len(fit.ids))
        return self._pieces(asked, Turn(self.model.tokenizer, fit.ids), events, begun)

    def _pieces(
        self, asked: list[dict[str, Any]], turn: Turn, events: Iterator[Event], begun: float
    ) -> Pieces:
        said: list[Said] = []
        first = 0.0
        try:
            for event in events:
                now = time.monotonic()
                first = first or now
                self.stats.answer_tokens += event.tokens
                self.stats.first_s, self.stats.rest_s = first - begun, now - first
                for piece in turn.push(event):
                    said.append(piece)
                    yield piece
        finally:  # also when somebody stops it
            cast("Generator[Event]", events).close()
            if message := answer_of([*said, *turn.end()]):
                self.turns = [*asked, message]

    def brief(self) -> str:
        """The state of things in a line."""
        stats, limit = self.stats, self.model.context_len
        used = stats.prompt_tokens + stats.answer_tokens
        parts = [_("{used} of {limit} tokens").format(used=f"{used:,}", limit=f"{limit:,}")
                 if limit else _("{used} tokens").format(used=f"{used:,}")]  # fmt: skip
        if stats.rest_s:
            parts.append(_("{rate:.1f} tokens/s").format(rate=stats.tokens_per_s))
        if self.forgotten:
            parts.append(_("the first {n} messages are out of sight").format(n=self.forgotten))
        return " · ".join(parts)


def answer_of(said: Sequence[Said]) -> dict[str, Any] | None:
    """The assistant's message; None where there is nothing in it that the user could answer."""
    texts = {
        channel: "".join(piece.text for piece in said if piece.channel is channel).strip()
        for channel in (Channel.CONTENT, Channel.THINKING)
    }
    calls = [
        {"name": piece.name, "arguments": json.loads(piece.text)}
        for piece in said
        if piece.channel is Channel.CALL
    ]
    if not texts[Channel.CONTENT] and not calls:
        return None
    optional = {"thinking": texts[Channel.THINKING], "tool_calls": calls}
    kept = {name: value for name, value in optional.items() if value}
    return {"role": "assistant", "content": texts[Channel.CONTENT], **kept}
