"""How much one server takes on; what exceeds it is refused with 413, 429 or 503.

Every amount a client can name has an upper bound here or in ``schemas``.
"""

from __future__ import annotations

from pydantic import Field

from yaongi.core.config import Config


class Limits(Config):
    """Bounds of a server.

    Attributes:
        rows: answers in the making at the same time; the others wait.
        queue: answers waiting; further ones are refused (503).
        per_client: answers one other machine may have in the making or waiting (429). Requests
            from this machine are not counted: they may come through a proxy.
        body_bytes: of a request (413).
        body_s: until the head of a request has arrived (the connection is closed), and then until
            the rest has (408).
        prompt_tokens: of a prompt, where the model's context allows more (413).
        answer_tokens: of an answer, whatever was asked for: it ends with ``length`` there.
        time_s: from a request's arrival to the end of its answer (503).
        drain_s: what answers have to finish after SIGTERM.
    """

    rows: int = Field(default=64, ge=1)
    queue: int = Field(default=256, ge=0)
    per_client: int = Field(default=16, ge=1)
    body_bytes: int = Field(default=1 << 20, ge=1)
    body_s: float = Field(default=30, gt=0)
    prompt_tokens: int = Field(default=32_768, ge=1)
    answer_tokens: int = Field(default=32_768, ge=1)
    time_s: float = Field(default=600, gt=0)
    drain_s: int = Field(default=30, ge=0)
