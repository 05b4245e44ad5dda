"""What a chat, a server or a notebook asks of whatever runs the model: few methods, two ways.

``stream`` is for one answer at a time. ``submit``, ``step`` and ``cancel`` are for many: a loop of
one thread calls ``step`` while the runner is ``busy`` and hands each event to whoever asked.
``infer.engine.Engine`` is one, ``interop.llamacpp.LlamaCpp`` another.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from yaongi.infer.request import Event, Request
from yaongi.text.foreign import AnyTokenizer

NO_TOKEN = -1
"""The id of an event that brings an end and no whole token; our own engine has none."""


class Runner(Protocol):
    """Runs requests and yields their events.

    Attributes:
        max_rows: requests that run at the same time; more wait in order.
        context_len: the longest sequence, prompt included; None for no limit.
    """

    tokenizer: AnyTokenizer
    max_rows: int
    context_len: int | None

    @property
    def busy(self) -> bool:
        """Whether a step would bring anything."""
        ...

    @property
    def running(self) -> int:
        """Requests that are answered now."""
        ...

    @property
    def waiting(self) -> int:
        """Requests whose turn has not come."""
        ...

    def submit(self, request: Request) -> int:
        """Take a request; its events carry the handle this returns.

        Raises:
            DataError: the prompt is empty or fills the context.
        """
        ...

    def step(self) -> list[Event]:
        """What came next, of any request; may wait a moment for it, and bring nothing yet."""
        ...

    def cancel(self, handle: int) -> None:
        """Forget a request: no event of it comes any more. One that has ended is no error."""
        ...

    def stream(self, request: Request) -> Iterator[Event]:
        """The events of one request; leaving the iterator cancels it.

        Raises:
            DataError: at once, when the prompt is empty or fills the context.
        """
        ...
