"""Numbers for Prometheus: requests, tokens, waiting times, and what the engine is doing now."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from yaongi.infer.engine import Engine, Event
from yaongi.infer.prefix import PrefixCache
from yaongi.serve.worker import Worker

if TYPE_CHECKING:
    from yaongi.serve.service import Asked

_SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)

_PREFIXES = {
    "read": "Prompt tokens that were read.",
    "reused": "Prompt tokens that were known and not read again.",
    "bytes": "Memory of what is known of prompts.",
}


class Metrics:
    """The server's own registry, so that several servers in one process do not mix."""

    def __init__(self, worker: Worker) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.answers = self._counter("http_requests", "Requests by route.", "route", "status")
        self.prompt = self._counter("prompt_tokens", "Tokens of prompts.", "model")
        self.said = self._counter("generated_tokens", "Tokens of answers.", "model")
        self.left = self._counter("cancelled_requests", "Clients that left before the end.")
        self.first = self._seconds("first_token_seconds", "From a request to its first token.")
        self.whole = self._seconds("request_seconds", "From a request to its end.")
        self._gauge("running", "Answers in the making.", lambda: worker.running)
        self._gauge("waiting", "Answers not begun.", lambda: worker.waiting)
        self._gauge("engine_failures", "Exceptions of the engine.", lambda: worker.failures)
        if _known_prefixes(worker):  # llama.cpp does not tell of its own
            for what, text in _PREFIXES.items():
                self._gauge(f"prefix_{what}", text, functools.partial(_prefixes, worker, what))

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"yaongi_{name}", text, labels, registry=self.registry)

    def _seconds(self, name: str, text: str) -> Histogram:
        return Histogram(f"yaongi_{name}", text, buckets=_SECONDS, registry=self.registry)

    def _gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        Gauge(f"yaongi_{name}", text, registry=self.registry).set_function(value)

    def text(self) -> bytes:
        """In Prometheus's format."""
        return generate_latest(self.registry)

    @contextmanager
    def request(self, asked: Asked) -> Iterator[Callable[[int, Event], None]]:
        """Measure a request; its events go through the function."""
        began = time.monotonic()
        open_jobs = set(range(len(asked.jobs)))
        self.prompt.labels(asked.model).inc(sum(map(len, asked.prompts)))
        said = self.said.labels(asked.model)
        first = True

        def seen(place: int, event: Event) -> None:
            nonlocal first
            said.inc(event.tokens)
            if first:
                self.first.observe(time.monotonic() - began)
                first = False
            if event.finish is not None:
                open_jobs.discard(place)

        try:
            yield seen
        except (GeneratorExit, asyncio.CancelledError):
            self.left.inc()
            raise
        finally:
            self.whole.observe(time.monotonic() - began)


def _prefixes(worker: Worker, what: str) -> float:
    return sum(getattr(known, what) for known in _known_prefixes(worker))


def _known_prefixes(worker: Worker) -> list[PrefixCache]:
    return [e.prefixes for e in list(worker.engines.values()) if isinstance(e, Engine)]


class Counted:
    """ASGI middleware that counts answers by route and status."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        status = 0

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, counted)
        finally:
            if scope["type"] == "http":
                route = getattr(scope.get("route"), "path", "other")  # never what a client chose
                self.metrics.answers.labels(route, status).inc()
