"""What every request passes first: who may come in, and how much they may carry.

Against DNS rebinding the Host must be one this server goes by; against other web pages their
Origin must be this server's own, and there are no CORS headers at all. The key is compared in
constant time.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from yaongi.core.errors import InputError
from yaongi.serve.hosts import address, host_name, is_loopback, origin_place
from yaongi.serve.limits import Limits
from yaongi.serve.refusals import Refusal
from yaongi.serve.stream import ClientGone

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; font-src 'self'; connect-src 'self'; manifest-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_HEADERS = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
GUARDED = ("/v1/", "/metrics", "/openapi.json")
"""What needs the key where one is set; the page itself does not, it asks for the key."""


class Door:
    """ASGI middleware around the whole application.

    Args:
        host: the address the server listens on.
        names: further host names it goes by.
        key: what ``Authorization: Bearer`` must carry; None asks for nothing.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        host: str,
        names: Iterable[str] = (),
        key: str | None = None,
        limits: Limits,
    ) -> None:
        self.app = app
        self.everywhere = host in ("", "0.0.0.0", "::")
        self.names = {host.lower(), *(name.lower() for name in names)}
        if self.everywhere or is_loopback(host):
            self.names |= {"localhost", "127.0.0.1", "::1"}
        self.key = key
        self.limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = {name for name, _ in message.get("headers", [])}
                message["headers"] = [
                    *message.get("headers", []),
                    *(
                        (k.encode(), v.encode())
                        for k, v in HEADERS.items()
                        if k.encode() not in own
                    ),
                ]
            await send(message)

        try:
            self._check(scope)
            body = await self._body(scope, receive)
        except Refusal as refusal:
            await refusal.response()(scope, receive, guarded)
            return
        except ClientGone:
            return
        await self.app(scope, _replay(body, receive), guarded)

    def _check(self, scope: Scope) -> None:
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        said = headers.get(b"host", "")
        if not self._is_ours(said):
            raise Refusal(
                421,
                InputError("This server does not go by the name '{host}'.", host=said[:100]),
                code="wrong_host",
            )
        origin = headers.get(b"origin")
        if origin is not None and origin_place(origin) != said.lower():
            raise Refusal(
                403,
                InputError("Pages of other servers may not use this one."),
                code="wrong_origin",
            )
        if self.key is not None and str(scope["path"]).startswith(GUARDED):
            self._check_key(headers.get(b"authorization", ""))

    def _check_key(self, said: str) -> None:
        kind, _, key = said.partition(" ")
        if kind.lower() != "bearer" or not hmac.compare_digest(
            key.strip().encode("latin-1"), str(self.key).encode()
        ):
            raise Refusal(
                401,
                InputError("Send the server's key: 'Authorization: Bearer KEY'."),
                code="invalid_api_key",
            )

    def _is_ours(self, said: str) -> bool:
        """Rebinding needs a name, so where every interface is open, addresses are let in."""
        name = host_name(said)
        return name in self.names or (self.everywhere and address(name) is not None)

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        """The whole body, refused as soon as it is too long.

        Raises:
            ClientGone: it broke off. Half a body may well be a request of its own.
        """
        if scope["method"] in ("GET", "HEAD", "OPTIONS"):
            return b""
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self.limits.body_s):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientGone
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > self.limits.body_bytes:
                        raise Refusal(
                            413,
                            InputError(
                                "The request is longer than {limit} bytes.",
                                limit=self.limits.body_bytes,
                            ),
                            code="body_too_long",
                        )
                    if not message.get("more_body", False):
                        break
        except TimeoutError as error:
            raise Refusal(
                408,
                InputError("The request did not arrive within {s} s.", s=self.limits.body_s),
                code="body_too_slow",
            ) from error
        return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    """``receive`` that begins with the body that was read."""
    waiting = [body]

    async def again() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return again
