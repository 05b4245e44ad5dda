"""The one thread that owns the model: it takes jobs from HTTP handlers and gives events back.

Handlers live on an asyncio loop and never touch the engine; what crosses are jobs in a queue and,
once per step, all its events in one call to the loop.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from yaongi.api import Model
from yaongi.core.errors import EndpointError, EngineError, TokenizerError, YaongiError
from yaongi.infer.request import Event, Request
from yaongi.infer.runner import Runner
from yaongi.model.adapted import BASE
from yaongi.serve.calls import Call, post

log = logging.getLogger("yaongi.serve")
T = TypeVar("T")
NOT_RUNNING = "The engine is not running; the server's log says why."


@dataclass(eq=False)
class Job:
    """A request on its way through the thread.

    Attributes:
        adapter: the adapter it uses.
        ended: whether nothing comes of it any more.
    """

    adapter: str
    request: Request
    ended: bool = False


Item = Event | YaongiError
_Found = list[tuple[Job, Item]]


class Worker:
    """Runs jobs on a model, ``rows`` at a time.

    Args:
        rows: jobs that run at once; the others wait in order.

    Attributes:
        jobs: those that have not ended, as the loop knows them.
        failures: how often the engine raised.
        failed: when it last did (Unix time), and the exception's name.
    Raises:
        TokenizerError: the model has no tokenizer.
    """

    def __init__(self, model: Model, rows: int) -> None:
        if model.tokenizer is None:
            raise TokenizerError("This model has no tokenizer, so it cannot be served.")
        self.model = model
        self.tokenizer = model.tokenizer
        self.jobs: dict[Job, Callable[[Item], None]] = {}
        self.failures = 0
        self.failed: tuple[float, str] | None = None
        self._commands: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._calls: deque[Call] = deque()
        self._called = 0
        self._engines: dict[str, Runner] = {}
        self._waiting: deque[Job] = deque()
        self._running: dict[tuple[str, int], Job] = {}
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self.rows = rows
        for adapter in (BASE, *model.adapters):  # what is wrong is said before anybody asks
            self._engine(adapter)
        self.rows = min(rows, *(engine.max_rows for engine in self._engines.values()))

    # --- on the loop --------------------------------------------------------------------------

    def start(self) -> None:
        """Begin; on the loop whose handlers will ask."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def close(self) -> None:
        """End the thread after the step it is at."""
        await asyncio.to_thread(self.end)

    def end(self) -> None:
        """``close`` where no loop runs any more; a process must not end while torch computes."""
        self._commands.put(self._close)
        if self._thread.ident is not None:
            self._thread.join()

    @property
    def alive(self) -> bool:
        """Whether jobs would be run."""
        return self._thread.is_alive()

    @property
    def running(self) -> int:
        """Jobs in the making."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Jobs that have not begun."""
        return max(0, len(self.jobs) - len(self._running))

    @property
    def load(self) -> int:
        """Jobs and calls that have not ended."""
        return len(self.jobs) + self._called

    @property
    def engines(self) -> Mapping[str, Runner]:
        """By adapter; to read numbers from."""
        return self._engines

    async def run(self, jobs: Sequence[Job], deadline: float) -> AsyncIterator[tuple[int, Event]]:
        """The events of some jobs, each with its job's place; leaving the iterator cancels them.

        Args:
            deadline: when to give up, in the loop's time.
        Raises:
            TimeoutError: the deadline came first.
            EngineError: the engine raised.
            DataError: a prompt is empty or fills the context.
        """
        found: asyncio.Queue[tuple[int, Item]] = asyncio.Queue()
        for place, job in enumerate(jobs):
            self.jobs[job] = lambda item, place=place: found.put_nowait((place, item))
            self._commands.put(lambda job=job: self._waiting.append(job))
        try:
            while any(not job.ended for job in jobs) or not found.empty():
                if not self.alive:  # it may have ended before it saw these
                    raise EngineError(NOT_RUNNING)
                async with asyncio.timeout_at(deadline):
                    place, item = await found.get()
                if isinstance(item, YaongiError):
                    raise item
                yield place, item
        finally:
            for job in jobs:
                if self.jobs.pop(job, None) is not None:
                    job.ended = True
                    self._commands.put(lambda job=job: self._cancel(job))

    def _deliver(self, found: _Found) -> None:
        for job, item in found:
            put = self.jobs.get(job)
            if put is None:  # whoever asked has left
                continue
            if isinstance(item, YaongiError) or item.finish is not None:
                job.ended = True
                del self.jobs[job]
            put(item)

    async def call(self, function: Callable[[], T]) -> T:
        """``function()`` on the thread, between two steps; one of them between each two.

        Raises:
            EngineError: it raised something that is no YaongiError.
        """
        loop = asyncio.get_running_loop()
        call = Call(function, loop.create_future(), loop)
        self._called += 1
        self._commands.put(lambda: self._calls.append(call))
        try:
            return await call.future
        finally:
            self._called -= 1

    # --- on the thread ------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._closing:
                self._obey(block=not self._waiting and not self._running and not self._calls)
                self._begin()
                self._step()
                self._call()
        except BaseException as error:
            log.exception("The engine's thread has ended.")
            failure = self._note(error)
            self._obey(block=False)  # what came meanwhile ends as well
            self._fail_all(failure)

    def _obey(self, *, block: bool) -> None:
        """Run the commands that came; wait for one where nothing else is to be done."""
        try:
            self._commands.get(block=block)()
            while True:
                self._commands.get_nowait()()
        except queue.Empty:
            return

    def _close(self) -> None:
        """End; llama.cpp's own threads would go on, and the process waits for them."""
        self._closing = True
        for adapter, handle in self._running:
            self._engines[adapter].cancel(handle)

    def _engine(self, adapter: str) -> Runner:
        if adapter not in self._engines:
            self._engines[adapter] = self.model.runner(adapter, max_rows=self.rows)
        return self._engines[adapter]

    def _begin(self) -> None:
        while self._waiting and len(self._running) < self.rows:
            job = self._waiting.popleft()
            if job.ended:
                continue
            try:
                handle = self._engine(job.adapter).submit(job.request)
            except YaongiError as error:
                self._give([(job, error)])
            else:
                self._running[job.adapter, handle] = job

    def _step(self) -> None:
        """A step of every engine that has something to do."""
        for adapter in list(dict.fromkeys(adapter for adapter, _ in self._running)):
            found: _Found = []
            try:
                with self.model.using(adapter):
                    for event in self._engines[adapter].step():
                        key = adapter, event.handle
                        found.append((self._running[key], event))
                        if event.finish is not None:
                            del self._running[key]
            except EndpointError as error:  # llama.cpp refused one of them; the others go on
                log.error(str(error))
                handle: Any = error.fields["handle"]
                job = self._running.pop((adapter, handle), None)
                found += [(job, self._note(error))] if job else []
            except Exception as error:
                log.exception("The engine failed; its requests end with an error.")
                self._restart(adapter, self._note(error))
            self._give(found)

    def _call(self) -> None:
        """One call: answers go on between two of them, however many there are."""
        if not self._calls:
            return
        call = self._calls.popleft()
        if call.future.cancelled():  # whoever asked has left
            return
        try:
            call.settle(call.function(), None)
        except YaongiError as known:
            call.settle(None, known)
        except Exception as unknown:
            log.exception("A call on the engine's thread failed.")
            call.settle(None, self._note(unknown))

    def _cancel(self, job: Job) -> None:
        for key in [key for key, other in self._running.items() if other is job]:
            self._engines[key[0]].cancel(key[1])
            del self._running[key]

    def _restart(self, adapter: str, error: EngineError) -> None:
        """What the engine holds may be half a step: its requests end, and it begins anew."""
        lost = [key for key in self._running if key[0] == adapter]
        self._give([(self._running.pop(key), error) for key in lost])
        del self._engines[adapter]
        anew = self._engine(adapter)
        for _, handle in lost:  # where it is the one there was, as llama.cpp is
            anew.cancel(handle)

    def _fail_all(self, error: EngineError) -> None:
        self._give([(job, error) for job in [*self._running.values(), *self._waiting]])
        while self._calls:
            self._calls.popleft().settle(None, error)
        self._running.clear()
        self._waiting.clear()

    def _note(self, error: BaseException) -> EngineError:
        self.failures += 1
        self.failed = time.time(), type(error).__name__
        failure = EngineError("The engine failed on this request; the server's log says why.")
        failure.__cause__ = error
        return failure

    def _give(self, found: _Found) -> None:
        if found and self._loop is not None:
            post(self._loop, self._deliver, found)
