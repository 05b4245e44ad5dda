"""What happens to a conversation that no longer fits: it is refused, or its oldest turns go.

Turns go as a user sees them: a question together with all that answered it. The system prompt and
the question to be answered always stay.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from yaongi.core.errors import ConfigError
from yaongi.infer.rules import room_behind
from yaongi.text.chat import Message

ANSWER_SHARE = 4
"""The room an answer is to have, where turns can be dropped for it: one in so many tokens of the
context at most."""


class Overflow(StrEnum):
    """What to do with a conversation that does not fit."""

    ERROR = "error"
    DROP_OLDEST = "drop_oldest"


@dataclass(frozen=True)
class Fitted:
    """A conversation as the model gets to see it.

    Attributes:
        dropped: how many of the messages it was made from are missing, always the oldest.
    """

    messages: list[Message]
    ids: list[int]
    dropped: int = 0


def fitted(
    messages: Sequence[Message],
    encode: Callable[[Sequence[Message]], list[int]],
    context_len: int | None,
    *,
    max_tokens: int,
    overflow: str = Overflow.ERROR,
) -> Fitted:
    """``messages``, or as many of the latest as leave room for an answer.

    Args:
        encode: a conversation's prompt, as ``Model.chat_ids``; raises where it is none.
        context_len: the longest sequence; None for no limit.
        max_tokens: the longest answer. With ``drop_oldest`` it is to have room, or a quarter of
            the context if that is less; where there is not, turns go until there is twice that.
            Who remembers what went need not drop some with every question, and what the engine
            keeps of the prompt holds for several.
        overflow: one of ``Overflow``.
    Raises:
        ConfigError: an unknown ``overflow``.
        DataError: it does not fit, or with ``drop_oldest`` not even the last question does; the
            message has both numbers.
    """
    if overflow not in tuple(Overflow):
        raise ConfigError(
            "overflow is '{name}'; expected one of {known}.",
            name=overflow,
            known=", ".join(Overflow),
        )
    if context_len is None or overflow == Overflow.ERROR:
        found = Fitted(list(messages), encode(messages))
    else:
        found = latest(messages, encode, context_len, max_tokens=max_tokens)
    if context_len is not None:
        room_behind(len(found.ids), context_len)
    return found


def latest(
    messages: Sequence[Message],
    encode: Callable[[Sequence[Message]], list[int]],
    context_len: int,
    *,
    max_tokens: int,
) -> Fitted:
    """As many of the latest messages as leave room for an answer, see ``fitted``.

    The last question stays, also where it is too long by itself.
    """
    ids = encode(messages)
    room = max(1, min(max_tokens, context_len // ANSWER_SHARE))
    if len(ids) <= context_len - room:
        return Fitted(list(messages), ids)
    system, exchanges = _split(messages)

    def behind(first: int) -> list[Message]:
        return [*system, *(m for exchange in exchanges[first:] for m in exchange)]

    def fits(first: int) -> bool:
        return len(encode(behind(first))) <= context_len - 2 * room

    # a conversation gets no shorter by a turn more, so the place is found by halving
    first = bisect_left(range(len(exchanges) - 1), True, key=fits)
    kept = behind(first)
    return Fitted(kept, encode(kept), len(messages) - len(kept))


def _split(messages: Sequence[Message]) -> tuple[list[Message], list[list[Message]]]:
    """The system message, if any, and the exchanges: each begins with a user's message."""
    system = [m for m in messages[:1] if m["role"] == "system"]
    exchanges: list[list[Message]] = []
    for message in messages[len(system) :]:
        if message["role"] == "user" or not exchanges:
            exchanges.append([])
        exchanges[-1].append(message)
    return system, exchanges
