"""What a client hears instead of an answer: a status and OpenAI's JSON error body.

The types and codes are those OpenAI's documentation lists, where it has one; clients act on them.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import Any, TypeVar

from starlette.responses import Response

from yaongi.core.errors import CapabilityError, InputError, YaongiError

T = TypeVar("T")
_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error",
          429: "rate_limit_error"}  # fmt: skip


class Refusal(Exception):
    """A request that gets no answer.

    Args:
        error: the reason, its message in the language of the server.
        code: what a program can act on.
        param: the field of the request that is at fault.
        retry_s: when to try again, for statuses 429 and 503.
    """

    def __init__(
        self,
        status: int,
        error: YaongiError,
        *,
        code: str,
        param: str | None = None,
        retry_s: int | None = None,
    ) -> None:
        super().__init__(str(error))
        self.status = status
        self.code = code
        self.param = param
        self.headers = {} if retry_s is None else {"Retry-After": str(retry_s)}

    @property
    def body(self) -> dict[str, Any]:
        """``{"error": {...}}``."""
        return error_body(self.status, str(self), code=self.code, param=self.param)

    def response(self) -> Response:
        """As an HTTP response."""
        return JSON(self.body, self.status, headers=self.headers)


def failed(error: YaongiError, status: int = 500) -> Refusal:
    """What a client hears of a fault of the server."""
    return Refusal(status, error, code="engine_failed")


def overloaded() -> Refusal:
    """There is no room left."""
    error = InputError("Too many requests are waiting; try again later.")
    return Refusal(503, error, code="overloaded", retry_s=2)


async def refused(param: str | None, work: Callable[[], T], executor: Executor | None = None) -> T:
    """``work()`` on another thread; what is wrong with the input becomes a Refusal (400)."""
    try:
        return await asyncio.get_running_loop().run_in_executor(executor, work)
    except CapabilityError as error:
        raise Refusal(400, error, code="unsupported", param=param) from error
    except InputError as error:
        raise Refusal(400, error, code="invalid_value", param=param) from error


def error_body(status: int, message: str, *, code: str, param: str | None = None) -> dict[str, Any]:
    """OpenAI's error object."""
    kind = "server_error" if status >= 500 else _TYPES.get(status, "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def as_json(value: Any) -> bytes:
    """JSON in UTF-8, to be read by people too. Half a surrogate pair, which a client may have sent,
    is in a string always, and escaped there."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode(errors="backslashreplace")


class JSON(Response):
    """A body of JSON."""

    media_type = "application/json"

    def __init__(
        self, content: Any, status_code: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(content, status_code, headers)

    def render(self, content: Any) -> bytes:
        """The body."""
        return as_json(content)
