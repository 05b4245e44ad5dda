"""Numbers for Prometheus: requests, tokens, waiting times, and what the engine is doing now."""

from __future__ import annotations

import asyncio
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

from yaongi.infer.engine import Event
from yaongi.serve.worker import Worker

if TYPE_CHECKING:
    from yaongi.serve.service import Asked

_SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)


class Metrics:
    """The server's own registry, so that several servers in one process do not mix."""

    def __init__(self, worker: Worker) -> None:
        r = self.registry = CollectorRegistry()
        ProcessCollector(registry=r)
        PlatformCollector(registry=r)
        self.answers = Counter(
            "yaongi_http_requests", "Requests by route and status.", ["route", "status"], registry=r
        )
        self.prompt = Counter("yaongi_prompt_tokens", "Tokens of prompts.", ["model"], registry=r)
        self.said = Counter("yaongi_generated_tokens", "Tokens of answers.", ["model"], registry=r)
        self.first = Histogram(
            "yaongi_first_token_seconds",
            "From a request to its first token.",
            buckets=_SECONDS,
            registry=r,
        )
        self.whole = Histogram(
            "yaongi_request_seconds", "From a request to its end.", buckets=_SECONDS, registry=r
        )
        self.left = Counter(
            "yaongi_cancelled_requests", "Clients that left before the end.", registry=r
        )
        Gauge("yaongi_running", "Answers in the making.", registry=r).set_function(
            lambda: worker.running
        )
        Gauge("yaongi_waiting", "Answers not begun.", registry=r).set_function(
            lambda: worker.waiting
        )
        Gauge("yaongi_engine_failures", "Exceptions of the engine.", registry=r).set_function(
            lambda: worker.failures
        )
        for name, text in (
            ("read", "Prompt tokens read"),
            ("reused", "Prompt tokens found instead of being read"),
            ("bytes", "Memory for prompts read before"),
        ):
            gauge = Gauge(f"yaongi_prefix_{name}", f"{text}.", registry=r)
            gauge.set_function(
                lambda name=name: sum(
                    getattr(e.prefixes, name) for e in list(worker.engines.values())
                )
            )

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
            said.inc()
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
