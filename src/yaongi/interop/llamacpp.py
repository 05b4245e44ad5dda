"""llama.cpp as a runner: a GGUF answers our requests, through PyPI ``xllamacpp``.

Prompts go in as ids of our own chat template, so nothing a user types becomes a control token;
sampling, stop strings and seeds are ours, translated. llama.cpp batches the requests itself, in
threads of its own; here one thread waits for each.
"""

from __future__ import annotations

import queue
import secrets
import signal
import threading
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

from yaongi.core.errors import ArtifactError, CapabilityError, ConfigError, EndpointError
from yaongi.core.i18n import translate as _
from yaongi.core.install import import_extra
from yaongi.infer.answer import StopText
from yaongi.infer.request import Event, Request
from yaongi.infer.rules import Finish, never_said, room_behind, stop_ids
from yaongi.infer.runner import NO_TOKEN
from yaongi.interop.gguf.header import MOST, read_header
from yaongi.interop.gguf.tokenizer import tokenizer_of

KNOWN = ("ids", "rules", "seed")  # of a request; nothing else is left out silently
SEEDS = 2**32 - 1  # llama.cpp's seeds; the last one means "any"
PATIENCE_S = 0.05  # how long a step waits: whoever calls it may have more requests meanwhile


@dataclass(eq=False)
class _Job:
    """A request on its way.

    Attributes:
        limit: how many tokens it may have.
        cut: the finish of one that reaches the limit.
        told: how many tokens its events told of.
        gone: set when nobody wants its events any more.
    """

    handle: int
    request: Request
    limit: int
    cut: Finish
    stops: StopText
    told: int = 0
    gone: threading.Event = field(default_factory=threading.Event)


class LlamaCpp:
    """A GGUF file that llama.cpp runs; a ``Runner``.

    One thread owns it, as an engine. What it does not have of ``Engine``: its answers depend on
    what runs beside them in the last bits, seeds lead to other numbers, and of the tokens that
    make up one character only the last is told. Cancelling ends an answer at its next token.

    Args:
        context_len: the longest sequence of each request; None takes the file's, which for large
            models may need much memory.
        max_rows: requests that run at the same time.
        threads: None takes as many as PyTorch would, which OMP_NUM_THREADS sets.
    Raises:
        CapabilityError: xllamacpp is not installed.
        ArtifactError: the file is missing, damaged, or of an architecture llama.cpp does not know.
        ConfigError: a context longer than llama.cpp can count.
        TokenizerError: its tokenizer is none we can read.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_rows: int = 1,
        context_len: int | None = None,
        threads: int | None = None,
    ) -> None:
        header = read_header(path)
        header.check_sizes()
        self.path = path
        self.tokenizer = tokenizer_of(header)
        self.max_rows = max_rows
        trained = header.number(f"{header.architecture}.context_length")
        self.context_len: int | None = context_len or trained
        size = len(header.strings("tokenizer.ggml.tokens"))
        self._never = never_said(self.tokenizer, size).nonzero()[:, 0].tolist()
        self._enders = stop_ids(self.tokenizer)
        self._server = _open(path, header.architecture, max_rows, self.context_len, threads)
        self._threads = ThreadPoolExecutor(max_rows, thread_name_prefix="llamacpp")
        self._events: queue.SimpleQueue[Event | EndpointError] = queue.SimpleQueue()
        self._jobs: dict[int, _Job] = {}
        self._held: list[Event] = []  # for who asks next
        self._handles = 0

    @property
    def busy(self) -> bool:
        """Whether a step would bring anything."""
        return bool(self._jobs or self._held)

    @property
    def running(self) -> int:
        """Requests that are answered now."""
        return min(len(self._jobs), self.max_rows)

    @property
    def waiting(self) -> int:
        """Requests whose turn has not come."""
        return len(self._jobs) - self.running

    def submit(self, request: Request) -> int:
        """Take a request; its events carry the handle this returns.

        Raises:
            DataError: the prompt is empty or fills the context.
            CapabilityError: it asks for what llama.cpp cannot do for us, such as a processor of
                logits.
        """
        return self._start(self._job(request))

    def step(self) -> list[Event]:
        """What came next, of any request; waits a moment for it, and may bring nothing yet.

        Raises:
            EndpointError: llama.cpp answered a request with an error; ``fields["handle"]`` says
                which. The others go on.
        """
        held, self._held = self._held, []
        if held or not self._jobs:
            return held
        found: list[Event | EndpointError] = []
        with suppress(queue.Empty):
            found.append(self._events.get(timeout=PATIENCE_S))
            while True:
                found.append(self._events.get_nowait())
        found = [e for e in found if _handle(e) in self._jobs]
        for event in found:
            if isinstance(event, EndpointError) or event.finish is not None:
                self._jobs.pop(_handle(event))
        events = [e for e in found if isinstance(e, Event)]
        if failed := [e for e in found if isinstance(e, EndpointError)]:
            self._held = events
            raise failed[0]
        return events

    def cancel(self, handle: int) -> None:
        """Forget a request: no event of it comes any more. One that has ended is no error."""
        self._held = [e for e in self._held if e.handle != handle]
        if job := self._jobs.pop(handle, None):
            job.gone.set()

    def stream(self, request: Request) -> Iterator[Event]:
        """The events of one request; leaving the iterator cancels it.

        Raises:
            DataError: at once, when the prompt is empty or fills the context.
            EndpointError: llama.cpp answered with an error.
        """
        return self._stream(self._job(request))

    def _stream(self, job: _Job) -> Iterator[Event]:
        self._start(job)
        try:
            while self.busy:
                events = self.step()
                self._held = [e for e in events if e.handle != job.handle]
                for event in events:
                    if event.handle == job.handle:
                        yield event
                        if event.finish is not None:
                            return
        finally:
            self.cancel(job.handle)

    def _job(self, request: Request) -> _Job:
        for each in fields(request):
            if each.name not in KNOWN and getattr(request, each.name) != each.default:
                raise CapabilityError(
                    "llama.cpp cannot do what '{name}' of a request asks for.", name=each.name
                )
        room = room_behind(len(request.ids), self.context_len)
        limit, cut = request.rules.max_tokens, Finish.LENGTH
        if room is not None and room < limit:
            limit, cut = room, Finish.CONTEXT
        self._handles += 1
        return _Job(self._handles, request, limit, cut, StopText(request.rules.stop))

    def _start(self, job: _Job) -> int:
        self._jobs[job.handle] = job
        self._threads.submit(self._run, job)
        return job.handle

    def _run(self, job: _Job) -> None:
        """In a thread: pass a request's events on until it ends or nobody wants them."""
        ended = job.gone.is_set()

        def take(chunk: dict[str, Any]) -> bool:
            """Whether llama.cpp is to stop."""
            nonlocal ended
            if not job.gone.is_set():
                event = self._read(job, chunk)
                ended = isinstance(event, EndpointError) or event.finish is not None
                self._events.put(event)
            ended = ended or job.gone.is_set()
            return ended

        reason: object = _("its answer has no end")  # xllamacpp drops what a callback raises
        try:
            if not ended:
                self._server.handle_completions(self._body(job), take)
        except Exception as error:  # nobody looks at what a thread raises
            reason = error
        if not ended:
            self._events.put(self._failed(job, reason))

    def _body(self, job: _Job) -> dict[str, Any]:
        """The request as llama.cpp takes it, its samplers in our order."""
        rules = job.request.rules
        return {
            "prompt": list(job.request.ids),
            "max_tokens": job.limit,
            "samplers": ["penalties", "temperature", "top_k", "top_p", "min_p"],
            "temperature": rules.temperature,
            "top_k": rules.top_k,
            "top_p": rules.top_p,
            "min_p": rules.min_p,
            "repeat_penalty": rules.repetition_penalty,
            "repeat_last_n": len(job.request.ids) + job.limit,  # all of it
            "seed": job.request.seed % SEEDS,
            "logit_bias": [[token, False] for token in self._never],
            "logprobs": 1,
            "timings_per_token": True,  # has how many tokens there are, also inside a character
            "stream": True,
        }

    def _read(self, job: _Job, chunk: dict[str, Any]) -> Event | EndpointError:
        """A piece of llama.cpp's answer as an event."""
        if "error" in chunk:
            return self._failed(job, chunk["error"].get("message"))
        (choice,) = chunk["choices"]
        said_n: int = chunk["timings"]["predicted_n"]
        tokens, job.told = said_n - job.told, said_n
        token, logprob, finish = NO_TOKEN, 0.0, None
        if choice["finish_reason"] is not None:
            finish = job.cut if choice["finish_reason"] == "length" else Finish.STOP
        if choice["logprobs"]:
            said = choice["logprobs"]["content"][-1]
            token, logprob = said["id"], said["logprob"]
        if token in self._enders:
            finish = Finish.STOP
        elif said_n >= job.limit:
            finish = finish or job.cut
        text = job.stops.push(choice["text"])
        if job.stops.found:
            finish = Finish.STOP
        elif finish is not None:
            text += job.stops.flush()
        return Event(job.handle, token, logprob, text, finish, tokens=tokens)

    def _failed(self, job: _Job, reason: object) -> EndpointError:
        return EndpointError(
            "llama.cpp stopped answering with {path}: {reason}.",
            path=self.path,
            reason=reason,
            handle=job.handle,
        )


def _handle(event: Event | EndpointError) -> Any:
    return event.handle if isinstance(event, Event) else event.fields["handle"]


def _open(
    path: Path, architecture: str, rows: int, context_len: int | None, threads: int | None
) -> Any:
    """llama.cpp with a model in it."""
    x = import_extra(
        "Running a GGUF needs the package '{package}': {command}", "xllamacpp", "llamacpp"
    )
    params = x.CommonParams()
    params.model.path = str(path)
    length = rows * (context_len or 0)
    if length > MOST["context_length"]:
        raise ConfigError(
            "{rows} rows of {length} tokens are more than llama.cpp takes ({most} in all); lower "
            "--context-len or --rows.",
            rows=rows,
            length=context_len,
            most=MOST["context_length"],
        )
    params.n_parallel, params.n_ctx = rows, length
    n_threads = threads or torch.get_num_threads()
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = n_threads
    params.warmup, params.verbosity = False, -1
    # xllamacpp also listens on a port of the loopback address; nobody knows this key
    params.api_keys, params.ui = [secrets.token_urlsafe(32)], False
    params.endpoint_metrics = True
    try:
        with _signals_kept():
            server = x.Server(params)
            server.handle_metrics()  # answered once its loop runs; closed before, it would hang
            return server
    except RuntimeError as error:
        raise ArtifactError(
            "llama.cpp cannot load {path}, a model of the architecture '{architecture}': it does "
            "not know it, the file is damaged, or there is no memory for a context of {tokens} "
            "tokens (--context-len, --rows).",
            path=path,
            architecture=architecture,
            tokens=params.n_ctx,
        ) from error


@contextmanager
def _signals_kept() -> Generator[None]:
    """llama.cpp takes Ctrl-C for itself and would leave; give it back to Python."""
    taken = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in taken}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                if handler is not None:
                    signal.signal(number, handler)
