"""Starting the server, and ending it: after SIGTERM what is being answered is finished first."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import socket
from collections.abc import Callable, Iterable, Mapping
from types import FrameType
from typing import Any

from yaongi.core.errors import ConfigError, os_reason
from yaongi.core.install import import_extra
from yaongi.serve.hosts import is_loopback
from yaongi.serve.limits import Limits

KEY = "YAONGI_API_KEY"
UNREAD_MS = 60_000
"""How long a client may leave what it was sent unread before its connection ends (Linux). Nothing
else ends a stream that nobody reads: the answer is made by then, and waits to be sent."""
TICKS_PER_S = 10


def serve(
    model: Any,
    name: str,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    host_names: Iterable[str] = (),
    limits: Limits | None = None,
    overflow: str = "error",
    sampling: Mapping[str, float] | None = None,
    ready: Callable[[int], None] = lambda _port: None,
) -> None:
    """Answer requests until SIGTERM or SIGINT; returns once what was begun is finished, after a
    SIGINT more at once.

    Args:
        model: a ``yaongi.Model``.
        name: what clients call it.
        port: 0 takes a free one.
        host_names: further names clients reach it by.
        overflow: of a conversation that fills the context, see ``infer.context``.
        sampling: what a request gets that gives no settings, before the model's own.
        ready: called with the port once requests are taken.
    Raises:
        ConfigError: an address other machines reach, and no key in ``YAONGI_API_KEY``; a key no
            client can send; or an address that cannot be listened on.
        CapabilityError: a package is missing.
    """
    limits = limits or Limits()
    key = os.environ.get(KEY, "").strip() or None  # files of secrets end with a line break
    if key is not None and not all("!" <= letter <= "~" for letter in key):
        raise ConfigError(
            "{name} holds characters that clients cannot send in a header. Letters a-z and A-Z, "
            "digits and signs of ASCII can be sent, without blanks.",
            name=KEY,
        )
    if key is None and not is_loopback(host):
        raise ConfigError(
            "Other machines reach {host}: set {name} (in the environment or .env) to a key that "
            "clients must send, or leave --host out.",
            host=host,
            name=KEY,
        )
    uvicorn, _, _ = [
        import_extra("Serving needs the package '{package}': {command}", package, "serve")
        for package in ("uvicorn", "fastapi", "prometheus_client")
    ]
    from yaongi.serve.app import build_app
    from yaongi.serve.connection import connection

    listener = listen(host, port)
    app = build_app(
        model,
        name,
        limits=limits,
        overflow=overflow,
        sampling=sampling,
        host=host,
        host_names=host_names,
        key=key,
    )

    class Server(uvicorn.Server):
        """Tells the application that it ends, and listens until nobody waits for an answer: a load
        balancer gets to see in ``/health`` that it has to ask elsewhere. Leaves the process to its
        caller."""

        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            if self.started:
                ready(listener.getsockname()[1])

        async def main_loop(self) -> None:
            await super().main_loop()
            left = limits.drain_s * TICKS_PER_S
            while left and app.state.service.answering and not self.force_exit:
                left -= 1
                await self.on_tick(left)
                await asyncio.sleep(1 / TICKS_PER_S)
            self.config.timeout_graceful_shutdown = math.ceil(left / TICKS_PER_S)

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            app.state.service.draining = True
            super().handle_exit(sig, frame)
            if self.force_exit:  # all that is cut off now would tell its traceback
                logging.getLogger("uvicorn.error").disabled = True
            self._captured_signals.clear()  # ending was asked for: no reason to die of it

    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=limits.drain_s,
        http=connection(limits.body_s),
        ws="none",
    )
    try:
        Server(config).run([listener])
    finally:
        app.state.service.worker.end()


def listen(host: str, port: int) -> socket.socket:
    """A socket that waits for clients. Raises ConfigError where the system refuses."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_MS)
        listener.bind(address)
    except OSError as error:
        raise ConfigError(
            "{host} cannot be listened on at port {port}: {reason}. Name another with --port.",
            host=host,
            port=port,
            reason=os_reason(error),
        ) from error
    return listener
