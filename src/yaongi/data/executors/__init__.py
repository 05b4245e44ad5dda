"""Who runs a pipeline's tasks: processes of this machine, Ray or Slurm, by one key of a recipe.

The running is datatrove's: its executors run the steps for every rank, mark a rank as complete
when it is, and skip it the next time. Here are the settings, and one way to call all three.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from yaongi.core.config import Config, Registry
from yaongi.core.errors import WorkerError, YaongiError
from yaongi.core.files import read_json, write_json

Watch = Callable[[set[int]], None]
"""Called now and then with the ranks that are complete."""

Pipeline = Sequence[Any]
"""datatrove's: steps that are called one after another with (documents, rank, number of ranks)."""


class Executor(Config):
    """Settings of a way to run pipelines."""

    kind: str

    def run(
        self, pipeline: Pipeline, sizes: Sequence[int], folder: Path, watch: Watch | None = None
    ) -> None:
        """Run ``pipeline`` for every rank that is not complete; return when all are.

        Args:
            sizes: bytes each rank has to read, roughly; one rank for each.
            folder: an absolute path that every worker sees, for marks, logs and statistics.
        Raises:
            YaongiError: what a rank raised, if it was one of ours.
            WorkerError: a rank failed otherwise, or its process is gone.
        """
        raise NotImplementedError


EXECUTORS = Registry(
    "executor",
    Executor,
    {
        "local": "yaongi.data.executors.local:LocalExecutor",
        "ray": "yaongi.data.executors.ray:RayExecutor",
        "slurm": "yaongi.data.executors.slurm:SlurmExecutor",
    },
)

ExecutorChoice = Annotated[Executor, EXECUTORS.field()]


# --- what the executors share ----------------------------------------------------------------

POLL_S = 1.0


@contextmanager
def quietly() -> Iterator[None]:
    """Without datatrove's commentary on the terminal."""
    from loguru import logger

    logger.disable("datatrove")
    try:
        yield
    finally:
        logger.enable("datatrove")


def complete_ranks(folder: Path) -> set[int]:
    """The ranks datatrove has marked as complete."""
    return {int(mark.name) for mark in (folder / "completions").glob("[0-9]*")}


def wait(
    running: Callable[[], bool], folder: Path, watch: Watch | None, every_s: float = POLL_S
) -> None:
    """Wait until nothing is running any more, telling ``watch`` what is complete."""
    while True:
        over = not running()
        if watch:
            watch(complete_ranks(folder))
        if over:
            return
        time.sleep(every_s)


def check_complete(tasks: int, folder: Path) -> None:
    """Raise what stopped the first rank that is not complete."""
    missing = sorted(set(range(tasks)) - complete_ranks(folder))
    if not missing:
        return
    for rank in missing:
        if (noted := _note(folder, rank)).is_file():
            raise _as_error(read_json(noted))
    raise WorkerError(
        "{n} of {tasks} parts of the work failed, the first is number {rank}. Logs: {logs}. "
        "What is finished is kept; run the same command again.",
        n=len(missing),
        tasks=tasks,
        rank=missing[0],
        logs=folder / "logs",
    )


@contextmanager
def noting_errors(folder: Path, rank: int) -> Iterator[None]:
    """Leave an error of ours on disk for the process that waits: it may run elsewhere."""
    note = _note(folder, rank)
    note.unlink(missing_ok=True)
    try:
        yield
    except YaongiError as error:
        note.parent.mkdir(exist_ok=True)
        fields = {name: str(value) for name, value in error.fields.items()}
        write_json(note, {"slug": error.slug, "template": error.template, "fields": fields})
        raise


def _note(folder: Path, rank: int) -> Path:
    return folder / "errors" / f"{rank:05d}.json"


def _as_error(noted: dict[str, Any]) -> YaongiError:
    return _KNOWN.get(noted["slug"], YaongiError)(noted["template"], **noted["fields"])


def _below(cls: type[YaongiError]) -> Iterator[type[YaongiError]]:
    yield cls
    for child in cls.__subclasses__():
        yield from _below(child)


_KNOWN = {cls.slug: cls for cls in _below(YaongiError)}
"""Collected here and now: Ray derives classes of its own from them later."""
