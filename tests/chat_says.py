"""A model for the terminal chat that says what it is told to, token by token."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tiny

from yaongi.infer.answer import Answer
from yaongi.infer.context import Fitted, fitted
from yaongi.infer.request import Event
from yaongi.infer.rules import Finish, Generation
from yaongi.text.control import END_THINK, IM_END, THINK

TOK = tiny.tokenizer()


class Says:
    """Stands in for ``yaongi.Model``.

    Args:
        reply: the ids to say, from the messages the model sees.
        at: called with the number of each token before it comes.
    """

    def __init__(
        self,
        reply: Callable[[list[Any]], list[int]],
        *,
        context_len: int | None = None,
        at: Callable[[int], None] = lambda _n: None,
    ) -> None:
        self.tokenizer = TOK
        self.context_len = context_len
        self.reply, self.at = reply, at
        self.seen: list[list[Any]] = []
        self.settings: list[dict[str, Any]] = []

    def fit(self, messages: Sequence[Any], *, max_tokens: int | None, overflow: str) -> Fitted:
        fit = fitted(messages, TOK.chat_ids, self.context_len,
                     max_tokens=max_tokens or 256, overflow=overflow)  # fmt: skip
        self.seen.append(fit.messages)
        return fit

    def events(self, prompt: Sequence[int], **settings: Any) -> Iterator[Event]:
        self.settings.append(settings)
        answer = Answer(TOK, Generation(), 100_000, Finish.LENGTH)
        for n, token in enumerate([*self.reply(self.seen[-1]), TOK.control_id(IM_END)]):
            self.at(n)
            yield Event(0, token, 0.0, *answer.push(token))


def text(said: str, thinking: str = "") -> list[int]:
    """Ids of an answer."""
    marks = [TOK.control_id(THINK), *TOK.encode(f"\n{thinking}\n"), TOK.control_id(END_THINK),
             *TOK.encode("\n\n")]  # fmt: skip
    return [*(marks if thinking else []), *TOK.encode(said)]


def lines(*given: Any) -> Callable[[], str]:
    """Somebody who types these; an exception is raised instead."""
    rest = iter(given)

    def ask() -> str:
        line = next(rest, EOFError())
        if isinstance(line, BaseException):
            raise line
        return line

    return ask
