"""From a checked request to jobs for the engine: which model, which prompt, is there room.

Everything that can be refused is refused here, before the engine hears of it.
"""

from __future__ import annotations

import asyncio
import functools
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor

from yaongi.api import Model
from yaongi.core.config import parse
from yaongi.core.errors import ConfigError, DataError, EngineError, InputError
from yaongi.infer.context import Fitted, Overflow, latest
from yaongi.infer.request import Event, Request
from yaongi.infer.rules import Generation, room_behind
from yaongi.infer.sampling import Sampling
from yaongi.model.adapted import BASE
from yaongi.serve.grammar import Grammars, Processors
from yaongi.serve.hosts import is_loopback
from yaongi.serve.limits import Limits
from yaongi.serve.messages import conversation
from yaongi.serve.metrics import Metrics
from yaongi.serve.refusals import Refusal, failed, overloaded, refused
from yaongi.serve.schemas import Sampled, TokenizeRequest
from yaongi.serve.worker import NOT_RUNNING, Job, Worker
from yaongi.text.chat import Message

MAX_COMPILING = 8
"""Schemas in the compiler, which takes one at a time."""

OPENAI = {
    "temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0,
}  # fmt: skip
"""What a request gets that gives no settings, of a model that came with none."""
Given = str | list[int] | list[str] | list[list[int]]
"""A prompt or several, texts or ids."""


@dataclass(frozen=True)
class Asked:
    """Answers to make.

    Attributes:
        prompts: ids, one for every text that was sent.
        jobs: ``n`` for every prompt, in order.
        deadline: in the loop's time.
        dropped: how many of a conversation's messages the model does not see.
    """

    model: str
    prompts: list[list[int]]
    jobs: list[Job]
    deadline: float
    dropped: int = 0

    def prompt_of(self, place: int) -> list[int]:
        """The prompt of a job."""
        return self.prompts[place * len(self.prompts) // len(self.jobs)]


class Service:
    """A model to be asked by many at once.

    Args:
        name: what clients call the model; its adapters go by their own names.
        overflow: what happens to a conversation that fills the context.
        sampling: settings of ``Sampling`` for requests that give none, before the model's own.

    Raises:
        ConfigError: a setting out of range, or two models of one name.

    Attributes:
        chosen: the sampling settings that somebody chose for this model.
        defaults: those and OpenAI's: what a request gets that gives none.
        started: Unix time.
        draining: whether new requests are refused, because the server is about to end.
    """

    def __init__(
        self,
        model: Model,
        name: str,
        limits: Limits,
        overflow: str = Overflow.ERROR,
        sampling: Mapping[str, float] | None = None,
    ) -> None:
        self.model = model
        self.name = name
        self.overflow = Overflow(overflow)
        self.chosen: dict[str, float] = {**model.sampling, **(sampling or {})}
        parse(Sampling, self.chosen)  # told now, not at every request
        self.defaults = OPENAI | self.chosen
        self.limits = limits
        self.worker = Worker(model, limits.rows)
        self.tokenizer = self.worker.tokenizer
        self.adapters = {name: BASE, **{adapter: adapter for adapter in model.adapters}}
        if len(self.adapters) <= len(model.adapters):
            raise ConfigError("The model and an adapter are both called '{name}'.", name=name)
        self.started = int(time.time())
        self.draining = False
        self.metrics = Metrics(self.worker)
        self._clients: Counter[str] = Counter()
        self._compiler = ThreadPoolExecutor(1, "grammar")
        self._compiling = 0

    def adapter(self, name: str) -> str:
        """The adapter a model's name means. Raises Refusal (404) with the known names."""
        if name not in self.adapters:
            known = ", ".join(self.adapters)
            error = InputError("There is no model '{name}' here: {known}", name=name, known=known)
            raise Refusal(404, error, code="model_not_found", param="model")
        return self.adapters[name]

    @functools.cached_property
    def _grammars(self) -> Grammars:
        return Grammars(self.tokenizer, self.model.config.vocab_size)

    async def fit(self, messages: Sequence[Message], max_tokens: int | None) -> Fitted:
        """A conversation as the model gets to see it. Raises Refusal (400, 413)."""
        fit = await refused("messages", lambda: self._fit(messages, max_tokens))
        self.checked(fit.ids, "messages")
        return fit

    def _fit(self, messages: Sequence[Message], max_tokens: int | None) -> Fitted:
        encode, length = self.model.chat_ids, self.model.context_len
        if self.overflow is Overflow.ERROR or length is None:
            return Fitted(list(messages), encode(messages))
        limit = self.limits.answer_tokens
        return latest(messages, encode, length, max_tokens=min(max_tokens or limit, limit))

    async def text_ids(self, given: Given, param: str) -> list[list[int]]:
        """The ids of one prompt or several, texts or ids. Raises Refusal (400, 413)."""
        single = isinstance(given, str) or isinstance(given[0], int)
        many: list[str | list[int]] = [given] if single else given  # pyright: ignore
        ids = await refused(param, lambda: [self._ids(item) for item in many])
        return [self.checked(item, param) for item in ids]

    def _ids(self, item: str | list[int]) -> list[int]:
        if isinstance(item, str):
            return self.tokenizer.text_ids(item)
        if max(item) >= self.tokenizer.vocab_size:
            raise DataError(
                "{id} is not a token id: this tokenizer has {size}.",
                id=max(item),
                size=self.tokenizer.vocab_size,
            )
        return item

    async def tokenized(self, body: TokenizeRequest) -> list[int]:
        """The ids of what was sent, however many."""
        if body.prompt is not None:
            text = body.prompt
            return await refused("prompt", lambda: self.tokenizer.text_ids(text))
        messages = conversation(body.messages or (), body.tools or ())
        return await refused("messages", lambda: self.model.chat_ids(messages))

    async def embed(self, many: list[list[int]], adapter: str, client: str) -> list[Tensor]:
        """Each text's vector (D,) of length 1. Between two texts answers go on.

        Raises:
            Refusal: as ``events``.
        """
        with self.admitted(1, client), self._told():
            async with asyncio.timeout(self.limits.time_s):
                return [
                    await self.worker.call(lambda ids=ids: self.model.embed(ids, adapter=adapter))
                    for ids in many
                ]

    def checked(self, ids: list[int], param: str) -> list[int]:
        """``ids``, which an answer can follow. Raises Refusal (400, 413)."""
        try:
            room_behind(len(ids), self.model.context_len)
        except DataError as error:
            code = "context_length_exceeded" if ids else "invalid_value"
            raise Refusal(400, error, code=code, param=param) from error
        if len(ids) > self.limits.prompt_tokens:
            raise Refusal(
                413,
                InputError(
                    "The prompt has {n} tokens; this server takes {limit}.",
                    n=len(ids),
                    limit=self.limits.prompt_tokens,
                ),
                code="prompt_too_long",
                param=param,
            )
        return ids

    async def grammar(self, make: Callable[[Grammars], Processors], param: str) -> Processors:
        """What keeps answers to a grammar. Raises Refusal (400, 503)."""
        if self._compiling >= MAX_COMPILING:
            raise overloaded()
        self._compiling += 1
        try:
            return await refused(param, lambda: make(self._grammars), self._compiler)
        finally:
            self._compiling -= 1

    def ask(
        self,
        body: Sampled,
        prompts: list[list[int]],
        *,
        max_tokens: int | None,
        top_logprobs: int,
        processors: Processors | None,
        dropped: int = 0,
    ) -> Asked:
        """The jobs of a request. Answer *i* of several has the seed ``seed + i``."""
        adapter = self.adapter(body.model)
        limit = self.limits.answer_tokens
        given = body.model_dump(include=set(self.defaults), exclude_none=True)
        ends = {"stop": body.stop or (), "max_tokens": min(max_tokens or limit, limit)}
        rules = parse(Generation, {**self.defaults, **given, **ends})
        seed = secrets.randbits(63) if body.seed is None else body.seed
        jobs = [
            Job(
                adapter,
                Request(ids, rules, seed + i, processors and processors(), top_logprobs),
            )
            for ids in prompts
            for i in range(body.n or 1)
        ]
        deadline = asyncio.get_running_loop().time() + self.limits.time_s
        return Asked(body.model, prompts, jobs, deadline, dropped)

    @property
    def answering(self) -> bool:
        """Whether anybody waits for an answer."""
        return bool(self._clients)

    @contextmanager
    def admitted(self, jobs: int, client: str) -> Iterator[None]:
        """Room for so many answers to a client. Raises Refusal (429, 503)."""
        if not self.worker.alive:
            raise failed(EngineError(NOT_RUNNING), 503)
        if self.draining:
            raise Refusal(
                503, InputError("The server is shutting down."), code="shutting_down", retry_s=10
            )
        if self.worker.load + jobs > self.worker.rows + self.limits.queue:
            raise overloaded()
        if not is_loopback(client) and self._clients[client] + jobs > self.limits.per_client:
            raise Refusal(
                429,
                InputError(
                    "You have {n} answers in the making; {limit} is the limit.",
                    n=self._clients[client],
                    limit=self.limits.per_client,
                ),
                code="too_many_requests",
                retry_s=1,
            )
        self._clients[client] += jobs
        try:
            yield
        finally:
            self._clients[client] -= jobs
            if not self._clients[client]:
                del self._clients[client]

    async def events(self, asked: Asked, client: str) -> AsyncIterator[tuple[int, Event]]:
        """The events of a request's jobs, each with its job's place.

        Raises:
            Refusal: no room (429, 503), too late (503), or the engine failed (500).
        """
        with (
            self.admitted(len(asked.jobs), client),
            self._told(),
            self.metrics.request(asked) as seen,
        ):
            async for place, event in self.worker.run(asked.jobs, asked.deadline):
                seen(place, event)
                if event.finish is not None:
                    check_grammar(asked.jobs[place])
                yield place, event

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What can go wrong with an answer, as a client hears it."""
        try:
            yield
        except TimeoutError as error:
            late = InputError("No answer within {s} s.", s=self.limits.time_s)
            raise Refusal(503, late, code="timeout", retry_s=10) from error
        except EngineError as error:
            raise failed(error) from error
        except InputError as error:
            raise Refusal(400, error, code="invalid_value") from error


def check_grammar(job: Job) -> None:
    """Raise Refusal (400) where an answer could not follow its grammar."""
    reason = getattr(job.request.processor, "failed", "")
    if reason:
        error = DataError("The schema cannot be followed: {reason}", reason=reason)
        raise Refusal(400, error, code="invalid_value", param="response_format")
