"""Processes of this machine, and none beside this one where the work is small."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from yaongi.core.errors import WorkerError
from yaongi.data.executors import Executor, Pipeline, Watch, complete_ranks, quietly

if TYPE_CHECKING:
    from datatrove.executor import LocalPipelineExecutor

_BYTES_PER_WORKER = 4 * 2**20  # of source; for less, starting a process takes longer than the work


class LocalExecutor(Executor):
    """The default.

    Args:
        workers: processes at once; by default as many as cores, fewer where there is little to
            do. One is this process itself.
    """

    kind: str = "local"
    workers: int | None = Field(default=None, ge=1)

    def run(
        self, pipeline: Pipeline, sizes: Sequence[int], folder: Path, watch: Watch | None = None
    ) -> None:
        """See ``Executor.run``.

        datatrove's own pool waits for ever when a worker is killed; this one notices.
        """
        task = _task(pipeline, len(sizes), folder)
        done = complete_ranks(folder)
        ranks = [rank for rank in range(len(sizes)) if rank not in done]
        watch = watch or (lambda _: None)
        if done:
            watch(done)
        workers = self._workers([sizes[rank] for rank in ranks])
        if workers > 1:
            _in_processes(task, ranks, workers, folder, watch)
            return
        for rank in ranks:
            _run_rank(task, rank)
            watch(done := done | {rank})

    def _workers(self, sizes: Sequence[int]) -> int:
        worth = 1 + sum(sizes) // _BYTES_PER_WORKER
        return min(self.workers or min(_cores(), worth), max(1, len(sizes)))


def _task(pipeline: Pipeline, tasks: int, folder: Path) -> LocalPipelineExecutor:
    from datatrove.executor import LocalPipelineExecutor

    return LocalPipelineExecutor(list(pipeline), tasks=tasks, logging_dir=str(folder))


def _run_rank(task: LocalPipelineExecutor, rank: int) -> None:
    with quietly():
        task._run_for_rank(rank, local_rank=1)  # runs, writes statistics, marks as complete


def _in_processes(
    task: LocalPipelineExecutor, ranks: Sequence[int], workers: int, folder: Path, watch: Watch
) -> None:
    context = multiprocessing.get_context("spawn")  # torch's and rich's threads do not survive fork
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin)
    try:
        for future in as_completed([pool.submit(_run_rank, task, rank) for rank in ranks]):
            future.result()
            watch(complete_ranks(folder))
    except BrokenProcessPool as error:
        raise WorkerError(
            "A worker process was killed, often because memory ran out; of this pass over the text "
            "{done} of {tasks} parts are done and kept. Run the same command again, with fewer "
            "workers if it was memory. A script of your own that calls this needs: if __name__ == "
            "'__main__'.",
            done=len(complete_ranks(folder)),
            tasks=task.tasks,
        ) from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in set(multiprocessing.active_children()) - others:
            worker.terminate()
            worker.join()


def _begin() -> None:
    """In a worker: Ctrl-C is the parent's business, and nobody works on when it is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
