"""What crosses from the engine's thread back to the loop that the handlers live on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from yaongi.core.errors import YaongiError


@dataclass(eq=False)
class Call:
    """A function to run on the thread, and who waits for what it returns."""

    function: Callable[[], Any]
    future: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop

    def settle(self, found: Any, error: YaongiError | None) -> None:
        """Tell, from the thread."""
        post(self.loop, self._tell, found, error)

    def _tell(self, found: Any, error: YaongiError | None) -> None:
        if not self.future.cancelled():
            self.future.set_exception(error) if error else self.future.set_result(found)


def post(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *arguments: Any) -> None:
    """Run a function on the loop; on one that was closed nobody listens any more."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(function, *arguments)
