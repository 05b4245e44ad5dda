"""Stands in for a chat server: it says what a test tells it to, at the pace the test allows."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

import yaongi
from yaongi.serve.door import HEADERS

PAGE = Path(yaongi.__file__).parent / "serve" / "web"


@dataclass
class Reply:
    """What one request gets.

    Attributes:
        pieces: texts; at an Event it waits until the test sets it; "think:" begins thinking.
        breaks: cut the connection after the pieces.
        raw: sent after the pieces, and nothing else; ends the stream as if all were well.
        error: sent as an event of the stream, after the pieces.
    """

    pieces: list[str | threading.Event] = field(default_factory=lambda: ["네."])
    finish: str = "stop"
    status: int = 200
    message: str = ""
    code: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    breaks: bool = False
    raw: str | None = None
    error: str = ""
    tokens: int | None = None


class StandIn:
    """Gives ``replies`` in turn, the last again and again.

    Attributes:
        asked: the bodies of all chat requests.
        keys: the Authorization header of each.
        left: how many clients went before the end.
    """

    def __init__(self) -> None:
        self.models = ["yaongi-26m"]
        self.url = ""
        self.forget()

    def forget(self) -> None:
        """As if newly started, for the next test."""
        self.replies: list[Reply] = [Reply()]
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.left = 0

    def says(self, *pieces: str | threading.Event, **how: Any) -> None:
        """The only reply from now on."""
        self.replies = [Reply(list(pieces), **how)]

    async def list_models(self, _request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [{"id": name} for name in self.models]})

    async def chat(self, request: Request) -> Response:
        self.asked.append(await request.json())
        self.keys.append(request.headers.get("authorization"))
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if reply.status != 200:
            error = {"message": reply.message, "type": "x", "code": reply.code}
            return JSONResponse({"error": error}, reply.status, reply.headers)
        return StreamingResponse(self.stream(reply), media_type="text/event-stream")

    async def stream(self, reply: Reply) -> AsyncIterator[str]:
        try:
            async for line in self.lines(reply):
                yield line
        except (asyncio.CancelledError, GeneratorExit):  # the client has gone
            self.left += 1
            raise

    async def lines(self, reply: Reply) -> AsyncIterator[str]:
        yield chunk({"role": "assistant"})
        tokens = 0
        for piece in reply.pieces:
            if isinstance(piece, threading.Event):
                while not piece.is_set():
                    await asyncio.sleep(0.01)
                continue
            tokens += 1
            thought = piece.removeprefix("think:")
            yield chunk({"reasoning_content": thought} if thought != piece else {"content": piece})
        if reply.breaks:
            raise ConnectionResetError
        if reply.raw is not None:
            yield reply.raw
            return
        if reply.error:
            yield f"data: {json.dumps({'error': {'message': reply.error}})}\n\n"
            return
        yield chunk({}, reply.finish)
        usage = {"prompt_tokens": 1, "completion_tokens": reply.tokens or tokens}
        yield f"data: {json.dumps({'choices': [], 'usage': usage})}\n\ndata: [DONE]\n\n"


def chunk(delta: dict[str, str], finish: str | None = None) -> str:
    """One event of a stream."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return f"data: {json.dumps({'choices': [choice]})}\n\n"


class Guarded:
    """Sends the headers that the real server sends with every answer."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] += [(k.encode(), v.encode()) for k, v in HEADERS.items()]
            await send(message)

        await self.app(scope, receive, guarded)


@contextmanager
def serve(below: str = "") -> Iterator[StandIn]:
    """A stand-in and the page, below a path where a proxy puts them there."""
    stand_in = StandIn()
    routes: list[BaseRoute] = [
        Route("/v1/models", stand_in.list_models),
        Route("/v1/chat/completions", stand_in.chat, methods=["POST"]),
        Mount("/", StaticFiles(directory=PAGE, html=True)),
    ]
    if below:
        routes = [Mount(below, routes=routes)]
    with listening(Starlette(routes=routes, middleware=[Middleware(Guarded)])) as url:
        stand_in.url = f"{url}{below.strip('/')}/" if below else url
        yield stand_in


@contextmanager
def listening(app: Any) -> Iterator[str]:
    """The address of an application, on a free port of the loopback interface."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join()
