"""Answers on their way to a client: whole or as server-sent events, and what if it leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import aclosing
from typing import Any, TypeVar, cast

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from yaongi.infer.engine import Event
from yaongi.serve.answers import ChatAnswer, TextAnswer
from yaongi.serve.refusals import JSON, Refusal, as_json

T = TypeVar("T")
Events = AsyncIterator[tuple[int, Event]]


class ClientGone(Exception):
    """Nobody is left to answer."""


async def whole(request: Request, answer: ChatAnswer | TextAnswer, events: Events) -> Response:
    """The answer in one piece; a client that leaves ends its events.

    Raises:
        Refusal: as the events do.
        ClientGone: the client left.
    """

    async def collect() -> None:
        async with _closing(events):
            async for place, event in events:
                answer.push(place, event)

    await while_there(request, collect())
    return JSON(answer.whole())


async def streamed(
    request: Request, answer: ChatAnswer | TextAnswer, events: Events, *, usage: bool
) -> Response:
    """The answer as server-sent events; begun once there is a first token, so that a refusal
    still has its status.

    Raises:
        Refusal: before the first token.
        ClientGone: the client left before it.
    """
    first = await while_there(request, anext(events))  # pyright: ignore
    return SSE(_lines(answer, first, events, usage=usage), events)


async def _lines(
    answer: ChatAnswer | TextAnswer, first: tuple[int, Event], events: Events, *, usage: bool
) -> AsyncIterator[bytes]:
    absent = {"usage": None} if usage else {}
    async with _closing(events):
        try:
            for choice in answer.opening():
                yield _data(answer.chunk([choice], **absent))
            for choice in answer.push(*first):
                yield _data(answer.chunk([choice], **absent))
            async for place, event in events:
                for choice in answer.push(place, event):
                    yield _data(answer.chunk([choice], **absent))
            if usage:
                yield _data(answer.chunk([], usage=answer.usage.body()))
        except Refusal as refusal:  # the status is out already
            yield _data(refusal.body)
    yield b"data: [DONE]\n\n"


def _data(value: Any) -> bytes:
    return b"data: " + as_json(value) + b"\n\n"


class SSE(StreamingResponse):
    """Server-sent events, whose source is closed at once when the client leaves, also before the
    first of them."""

    media_type = "text/event-stream"

    def __init__(self, lines: AsyncIterator[bytes], events: Events) -> None:
        self.events = events
        super().__init__(lines, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with _closing(self.events), _closing(self.body_iterator):
            await super().__call__(scope, receive, send)


def _closing(source: object) -> aclosing[AsyncGenerator[Any]]:
    return aclosing(cast("AsyncGenerator[Any]", source))


async def while_there(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of ``work``, which is cancelled when the client leaves.

    Raises:
        ClientGone: it left.
    """
    task = asyncio.ensure_future(work)
    watch = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGone
        return task.result()
    finally:
        for other in (task, watch):
            other.cancel()
        await asyncio.gather(task, watch, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
