"""What a panel tells of a road: where it is, its training runs, its last words."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from yaongi.core.artifact import is_written
from yaongi.core.i18n import translate as _
from yaongi.core.runlog import METRICS
from yaongi.notebook.html import rendered
from yaongi.notebook.job import INTERRUPTED, Job
from yaongi.notebook.run import Run, RunState


class State(StrEnum):
    """Where a road is, as its panel sees it."""

    NEW = "new"
    RUNNING = "running"
    PAUSING = "pausing"  # asked to end after its step
    STOPPING = "stopping"  # asked to end at once
    ELSEWHERE = "elsewhere"  # at work, but started somewhere else
    PAUSED = "paused"  # begun; starting again continues
    FAILED = "failed"
    FINISHED = "finished"


ACTIVE = (State.RUNNING, State.PAUSING, State.STOPPING, State.ELSEWHERE)


@dataclass(frozen=True)
class Status:
    """One look at a road.

    Attributes:
        runs: the training runs of the model worked on last, the newest at the end.
        note: what it does besides training.
        error: why it failed; "" where it did not.
    """

    state: State
    runs: list[Run]
    note: str = ""
    error: str = ""

    def html(self, title: str, out: Path) -> str:
        """The panel's upper part."""
        return rendered("panel", status=self, title=title, out=out, words=state_words())


def look(job: Job, asked: State | None, known: dict[Path, Run]) -> Status:
    """How a road is now.

    Args:
        asked: ``PAUSING`` or ``STOPPING`` while that was asked for.
        known: runs met before, by their folders; new ones are added.
    """
    runs = [known.setdefault(path, Run(path)) for path in training_folders(job.out)]
    log = job.log(1)
    if job.alive:
        return Status(asked or State.RUNNING, runs, note=log[0] if log else "")
    if written_below(job.out):
        return Status(State.ELSEWHERE, runs)
    outcome = job.outcome()
    if outcome is None:
        begun = any(run.state is not RunState.FINISHED for run in runs)
        return Status(State.PAUSED if begun else State.NEW, runs)
    if outcome.slug is None:
        return Status(State.FINISHED, runs)
    if outcome.slug == INTERRUPTED:
        return Status(State.PAUSED, runs)
    return Status(State.FAILED, runs, error=f"[{outcome.slug}] {outcome.message}")


def training_folders(out: Path) -> list[Path]:
    """The result folders ``out``/MODEL/STAGE of the model that learnt last, in their order."""
    written: dict[Path, float] = {}
    for log in out.glob(f"*/*/{METRICS}"):
        with suppress(FileNotFoundError):  # a run that ends is renamed
            written[log.parent] = log.stat().st_mtime
    last = max(written, key=written.__getitem__, default=out)
    folders = sorted((f for f in written if f.parent == last.parent), key=written.__getitem__)
    return list(dict.fromkeys(f.with_name(f.name.removesuffix(".partial")) for f in folders))


def written_below(out: Path) -> bool:
    """Whether some process is making a part of ``out``."""
    locks = [*out.glob(".*.lock"), *out.glob("*/.*.lock")]
    return any(is_written(lock.with_name(lock.name[1 : -len(".lock")])) for lock in locks)


def state_words() -> dict[str, str]:
    """What a person reads of each state."""
    return {
        State.NEW: _("not started"),
        State.RUNNING: _("running"),
        State.PAUSING: _("pausing after this step"),
        State.STOPPING: _("stopping"),
        State.ELSEWHERE: _("running, started elsewhere"),
        State.PAUSED: _("paused"),
        State.FAILED: _("failed"),
        State.FINISHED: _("finished"),
    }
