"""What goes into the engine and what comes out: a request, its events, and all of them as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from yaongi.infer.rules import Finish, Generation

LogitsProcessor = Callable[[Sequence[int], Tensor], Tensor]
"""(ids said so far, logits (V,)) -> logits (V,) to choose from; at least one is not ``-inf``."""


@dataclass(frozen=True)
class Request:
    """A text to continue.

    Attributes:
        ids: the prompt, starting with ``<|endoftext|>`` as every training document does.
        rules: how tokens are chosen and where to stop; its own seed is not looked at.
        seed: decides the random numbers of this request alone.
        processor: changes the logits before the rules see them; a grammar's mask, for instance.
        top_logprobs: how many of the likeliest ids each event tells.
    """

    ids: Sequence[int]
    rules: Generation
    seed: int = 0
    processor: LogitsProcessor | None = None
    top_logprobs: int = 0


@dataclass(frozen=True)
class Completion:
    """What was said.

    Attributes:
        ids: every sampled id, the one that ended a turn included.
        logprobs: of each, under the model's distribution at temperature 1 over the ids it may
            say, whatever the sampling rules made of it.
        text: without stop strings and control tokens.
    """

    ids: list[int]
    logprobs: list[float]
    text: str
    finish: Finish


@dataclass(frozen=True)
class Event:
    """One token of one request; the last one of a request says why it ended.

    ``text`` is whole characters and may be empty while a syllable is incomplete. ``top`` has the
    likeliest ids with their log-probabilities, the likeliest first, as many as were asked for.
    ``tokens`` is how many there were since the last event: of those that make up one character
    llama.cpp tells the last alone.
    """

    handle: int
    id: int
    logprob: float
    text: str
    finish: Finish | None = None
    top: tuple[tuple[int, float], ...] = ()
    tokens: int = 1


def completed(events: Sequence[Event]) -> Completion:
    """All events of a request as one completion."""
    finish = events[-1].finish
    assert finish is not None
    return Completion(
        [e.id for e in events],
        [e.logprob for e in events],
        "".join(e.text for e in events),
        finish,
    )
