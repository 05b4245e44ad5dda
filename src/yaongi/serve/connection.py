"""A connection that is not kept for those who never ask: the head of a request has to come in time.

uvicorn waits for one forever, and with httptools lets it grow forever: a few hundred idle sockets
("Slowloris", Hansen 2009) or one endless header would keep everybody else out. h11 refuses heads of
more than 64 KiB and is there in every installation of uvicorn.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol


def connection(head_s: float) -> type[asyncio.Protocol]:
    """uvicorn's connection, closed where the head of a request takes longer than ``head_s``.

    The rest of a body that was refused has to come in that time as well; what is expected of other
    bodies and of answers, ``Door`` and ``Service`` say.
    """

    class Connection(H11Protocol):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._expect_head()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._expect_head()

        def _expect_head(self) -> None:
            self.loop.call_later(head_s, self._close_without, self.cycle)

        def _close_without(self, before: object) -> None:
            if self.cycle is before and not self.transport.is_closing():
                self.transport.close()

    return Connection
