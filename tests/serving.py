"""A server of a tiny model, in this process."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import tiny
import uvicorn
from fastapi import FastAPI
from starlette.testclient import TestClient

from yaongi.api import Model
from yaongi.serve.app import build_app
from yaongi.serve.connection import connection
from yaongi.serve.limits import Limits

NAME = "tiny"
TOK = tiny.tokenizer()
HELLO = [{"role": "user", "content": "안녕하세요"}]


def model(**more: Any) -> Model:
    """A hybrid with 512 tokens of context."""
    return Model(tiny.lm("M*-E"), TOK, **{"context_len": 512, **more})


def application(served: Model | None = None, limits: Limits | None = None, **more: Any) -> FastAPI:
    """The application around it."""
    return build_app(served or model(), NAME, limits=limits, **more)


def client(app: FastAPI, **more: Any) -> TestClient:
    """Asks it without a network; use it in a ``with``."""
    settings = {"base_url": "http://localhost", "raise_server_exceptions": False, **more}
    return TestClient(app, **settings)


@contextmanager
def running(app: FastAPI, head_s: float = 30) -> Iterator[str]:
    """The address of a real server on a free port."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    http = connection(head_s)
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", http=http, ws="none"))
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    wait_until(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)


def wait_until(true: Any, timeout_s: float = 10) -> None:
    """Return when ``true()``; fails after a while."""
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.005)
