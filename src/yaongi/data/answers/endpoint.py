"""A teacher behind an OpenAI-compatible address: its settings, and one question to it.

Retries, back-off and ``Retry-After`` are the ``openai`` client's, which every compatible server is
tested with. The key comes from the environment and goes nowhere else.
"""

from __future__ import annotations

import ipaddress
import json
import os
import random
import re
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from yaongi.core.config import Config
from yaongi.core.errors import ConfigError, EndpointError
from yaongi.core.i18n import translate
from yaongi.core.install import import_extra
from yaongi.core.licences import UNSTATED
from yaongi.core.units import Count, Seconds

_REFUSALS = (400, 413, 422)
"""Answers that concern one prompt: too long, or of something the server will not talk about."""
_WAIT_S = (0.5, 8.0)  # after an answer that cannot be read: at first, and at most


class Endpoint(Config):
    """A model that answers over the network.

    Attributes:
        url: up to ``/v1``; https, or http to this machine.
        model: the server's name of it.
        licence: of what the model says, for the manifest; check that it allows training.
        terms: where these terms can be read.
        key: the environment variable that holds the API key; a server on this machine needs none.
        temperature: 0 asks for the likeliest answer, as sequence-level distillation does.
        body: further fields of each request, such as ``{top_p: 0.9}``.
        parallel: requests at a time.
        requests_per_minute: at most, retries included.
        retries: of one prompt, after 429, 5xx, time-outs and answers that cannot be read.
    """

    url: str
    model: str
    licence: str
    terms: str = ""
    key: str = "OPENAI_API_KEY"
    temperature: Annotated[float, Field(ge=0)] = 0.0
    max_tokens: Annotated[Count, Field(gt=0)] = 1024
    body: dict[str, Any] = Field(default_factory=dict)
    parallel: Annotated[int, Field(gt=0)] = Field(default=4, exclude=True)
    requests_per_minute: Annotated[float, Field(gt=0)] | None = Field(default=None, exclude=True)
    timeout_s: Annotated[Seconds, Field(gt=0)] = Field(default=120.0, exclude=True)
    retries: Annotated[int, Field(ge=0)] = Field(default=6, exclude=True)

    @field_validator("url")
    @classmethod
    def _plain_address(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError("'{url}' is not an address like https://host/v1", url=_shown(url))
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ConfigError(
                "the address {url} must not carry a key or a query; the key comes from the "
                "environment",
                url=_shown(url),
            )
        if parts.scheme == "http" and not _is_here(parts.hostname):
            raise ConfigError(
                "{url} would send key and prompts unencrypted: use https (http only to this "
                "machine)",
                url=url,
            )
        return url.rstrip("/")

    @field_validator("licence")
    @classmethod
    def _stated(cls, licence: str) -> str:
        if not licence.strip() or licence == UNSTATED:
            raise ConfigError("state the licence or terms of what the model says")
        return licence

    @field_validator("key")
    @classmethod
    def _a_name(cls, key: str) -> str:
        if not re.fullmatch(r"[A-Z][A-Z0-9_]*", key):  # perhaps the key itself: never shown
            raise ConfigError(
                "give the name of an environment variable in capitals, such as OPENAI_API_KEY, and "
                "never the key"
            )
        return key

    @property
    def here(self) -> bool:
        """Whether it runs on this machine."""
        return _is_here(urlsplit(self.url).hostname or "")

    def request(self, messages: Sequence[Mapping[str, str]]) -> dict[str, Any]:
        """The body of a request."""
        asked = [{"role": m["role"], "content": m["content"]} for m in messages]
        settings = {"temperature": self.temperature, "max_tokens": self.max_tokens}
        return {"model": self.model, "messages": asked, **settings, **self.body}


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _shown(url: str) -> str:
    """Without what may be secret."""
    return re.sub(r"//[^/@]*@", "//…@", url.partition("?")[0])


@dataclass(frozen=True)
class Reply:
    """What came back.

    Attributes:
        finish: ``stop`` where the answer is whole, ``length`` where it was cut, ``refused``.
        reason: of a refusal, in the server's words.
    """

    text: str
    finish: str
    reason: str = ""


class Client:
    """Asks an endpoint; safe to use from several threads.

    Raises:
        CapabilityError: the package ``openai`` is not installed.
        ConfigError: the key's variable is not set.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.openai: Any = import_extra(
            "Asking a teacher needs the package '{package}': {command}", "openai", "openai"
        )
        key = os.environ.get(endpoint.key)
        if not key and not endpoint.here:
            raise ConfigError(
                "The environment variable {name} is not set; it holds the key of {url}.",
                name=endpoint.key,
                url=endpoint.url,
            )
        pace = _Pace(endpoint.requests_per_minute)
        http = self.openai.DefaultHttpxClient(
            follow_redirects=False,  # not to a place nobody named
            trust_env=not endpoint.here,  # no proxy between this machine and itself
            event_hooks={"request": [lambda _request: pace.wait()]},
        )
        self.client = self.openai.OpenAI(
            base_url=endpoint.url,
            api_key=key or "none",
            organization="",
            project="",
            timeout=endpoint.timeout_s,
            max_retries=endpoint.retries,
            http_client=http,
        )

    def close(self) -> None:
        """Close its connections."""
        self.client.close()

    def ask(self, request: Mapping[str, Any]) -> Reply:
        """The answer to one request body.

        Raises:
            EndpointError: no answer, or one that concerns all requests: the caller should stop.
        """
        reason = ""
        for attempt in range(self.endpoint.retries + 1):
            if attempt:
                low, high = _WAIT_S
                time.sleep(min(high, low * 2 ** (attempt - 1)) * random.uniform(0.75, 1))
            try:
                return self._once(request)
            except _Unreadable as error:
                reason = str(error)
        raise EndpointError(
            "{url} gave {n} answers in a row that cannot be read: {reason}",
            url=self.endpoint.url,
            n=self.endpoint.retries + 1,
            reason=reason,
        )

    def _once(self, request: Mapping[str, Any]) -> Reply:
        body = dict(request)
        named = {name: body.pop(name) for name in ("model", "messages")}
        try:
            raw = self.client.chat.completions.with_raw_response.create(**named, extra_body=body)
            found = json.loads(raw.content)
        except self.openai.APITimeoutError as error:
            raise self._stop(translate("no answer in {s} s", s=self.endpoint.timeout_s)) from error
        except self.openai.APIConnectionError as error:
            raise self._stop(str(error.__cause__ or error)) from error
        except self.openai.APIStatusError as error:
            if error.status_code in _REFUSALS:
                return Reply("", "refused", _message(error))
            raise self._stop(_message(error), error.status_code) from error
        except self.openai.OpenAIError as error:
            raise self._stop(str(error)) from error
        except ValueError as error:
            raise _Unreadable(str(error)) from error
        return _reply(found)

    def _stop(self, reason: str, status: int | None = None) -> EndpointError:
        if status in (401, 403):
            return EndpointError(
                "{url} refuses the key in {name}: {reason}",
                url=self.endpoint.url,
                name=self.endpoint.key,
                reason=reason,
            )
        if status is not None:
            return EndpointError(
                "{url} answers {status} for the model '{model}': {reason}",
                url=self.endpoint.url,
                status=status,
                model=self.endpoint.model,
                reason=reason,
            )
        return EndpointError(
            "{url} cannot be reached: {reason}. Is the server running, and the address right?",
            url=self.endpoint.url,
            reason=reason,
        )


class _Unreadable(Exception):
    """An answer that is no chat completion; another one may be."""


def _reply(raw: Any) -> Reply:
    try:
        choice = raw["choices"][0]
        message, finish = choice["message"], choice.get("finish_reason") or "stop"
        text = message.get("content") or ""
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        shown = json.dumps(raw, ensure_ascii=False, default=str)[:200]
        raise _Unreadable(translate("not a chat completion: {shown}", shown=shown)) from error
    if not isinstance(text, str):
        raise _Unreadable(translate("its content is not text"))
    return Reply(text, "refused" if finish == "content_filter" else str(finish), "")


def _message(error: Any) -> str:
    """The server's own words, one line."""
    body = error.body
    said = body.get("message") if isinstance(body, Mapping) else None
    return " ".join(str(said or error).split())[:300]


class _Pace:
    """Lets at most so many requests go out in a minute, evenly spaced."""

    def __init__(self, per_minute: float | None) -> None:
        self.gap_s = 60 / per_minute if per_minute else 0.0
        self.lock, self.next = threading.Lock(), 0.0

    def wait(self) -> None:
        """Return when the next request may go."""
        if not self.gap_s:
            return
        with self.lock:
            mine = max(self.next, time.monotonic())
            self.next = mine + self.gap_s
        time.sleep(max(0.0, mine - time.monotonic()))
