"""``yaongi.open_run(DIR)``: a training run as one object, while it goes on and when it is done.

Read from what a run writes anyway: ``metrics.jsonl``, its plan, and the manifest at the end.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from yaongi.core.artifact import (
    MANIFEST,
    Ancestor,
    Artifact,
    is_written,
    open_artifact,
    partial_path,
)
from yaongi.core.errors import ArtifactError
from yaongi.core.i18n import translate as _
from yaongi.core.runlog import METRICS, PLAN, MetricsTail
from yaongi.notebook.curve import Curve, curve
from yaongi.notebook.html import rendered

MEASURES = ("reward", "loss")
"""What is drawn: the first that a run logs. The loss of reinforcement says nothing by itself."""


class RunState(StrEnum):
    """Where a run is."""

    RUNNING = "running"
    PAUSED = "paused"  # not finished and no process at work: it resumes from its checkpoint
    FINISHED = "finished"


def open_run(path: str | Path) -> Run:
    """The run whose result is, or will be, the folder ``path``.

    Args:
        path: what ``--out`` of a training names, ``runs/quickstart/5m/base``; its working folder
            ``DIR.partial`` stands for it too.
    Raises:
        ArtifactError: there is no such folder, or it is no training.
    """
    path = Path(path)
    if path.suffix == ".partial" and not (path / MANIFEST).is_file():
        path = path.with_suffix("")
    run = Run(path)
    if run.state is RunState.FINISHED and not (path / METRICS).is_file():
        raise ArtifactError(
            "{path} is a '{kind}' artifact; it was made without training.",
            path=path,
            kind=open_artifact(path).manifest.kind,
        )
    if run.state is not RunState.FINISHED and not partial_path(path).is_dir():
        open_artifact(path)  # says what is there instead
    return run


class Run:
    """A training run in its folder; every look at it reads what is new.

    Attributes:
        path: the folder of the result, there or not yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tail = MetricsTail()

    @property
    def state(self) -> RunState:
        """Whether it is done, and if not, whether a process is at work."""
        if (self.path / MANIFEST).is_file():
            return RunState.FINISHED
        return RunState.RUNNING if is_written(self.path) else RunState.PAUSED

    @property
    def folder(self) -> Path:
        """Where its files are now."""
        return self.path if (self.path / MANIFEST).is_file() else partial_path(self.path)

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The logged steps, oldest first."""
        return self._tail.follow(self.folder)

    @property
    def step(self) -> int:
        """The last step logged."""
        return self.metrics[-1]["step"] if self.metrics else 0

    @property
    def steps(self) -> int | None:
        """Steps of the whole run; None until they are planned."""
        if self.artifact is not None:
            return self.artifact.manifest.counts.get("steps", self.step)
        return self._planned("plan").get("steps")

    @property
    def artifact(self) -> Artifact | None:
        """The result; None until it is complete."""
        return open_artifact(self.path) if (self.path / MANIFEST).is_file() else None

    @property
    def config(self) -> dict[str, Any]:
        """Its settings, as resolved; empty until it is planned."""
        if self.artifact is not None:
            return self.artifact.manifest.config
        return self._planned("identity").get("config", {})

    @property
    def parents(self) -> list[Ancestor]:
        """What it was made from; an unfinished run knows only kinds and hashes of it."""
        if self.artifact is not None:
            return self.artifact.manifest.parents
        told = [entry.split(" ", 1) for entry in self._planned("identity").get("inputs", [])]
        return [Ancestor(kind=kind, path="", hash=found) for kind, found in told]

    @property
    def seconds(self) -> float:
        """Time in steps; of an unfinished run, from the speeds it logged."""
        if self.artifact is not None:
            return float(self.artifact.manifest.metrics.get("training_s", 0.0))
        return sum(_seconds(before, line) for before, line in _pairs(self.metrics))

    @property
    def seconds_left(self) -> float | None:
        """At the speed of the last steps; None where it is unknown or nothing runs."""
        lines, steps = self.metrics[-20:], self.steps
        if self.state is not RunState.RUNNING or steps is None or len(lines) < 2:
            return None
        spent = sum(_seconds(before, line) for before, line in _pairs(lines[1:], lines[0]))
        return (steps - lines[-1]["step"]) * spent / max(1, lines[-1]["step"] - lines[0]["step"])

    @property
    def measure(self) -> str:
        """The name of what its curve shows."""
        return next(
            (name for name in MEASURES if any(name in m for m in self.metrics[-1:])), "loss"
        )

    @property
    def points(self) -> list[tuple[int, float]]:
        """Its curve as (step, value); some lines have none, as the evaluation before step 1."""
        name = self.measure
        return [(m["step"], float(m[name])) for m in self.metrics if _is_number(m.get(name))]

    def curve(self) -> Curve | None:
        """The geometry of its curve."""
        return curve(self.points, self.steps)

    def __repr__(self) -> str:
        points = self.points
        value = f", {self.measure} {points[-1][1]:.3f}" if points else ""
        return f"Run({str(self.path)!r}, {self.state}, step {self.step} of {self.steps}{value})"

    def _repr_html_(self) -> str:
        return rendered("run", run=self, state=self.state, words=state_words())

    def _planned(self, part: str) -> Mapping[str, Any]:
        try:
            return json.loads((self.folder / PLAN).read_text(encoding="utf-8"))[part]
        except FileNotFoundError:  # it has only begun, or ends just now
            return {}


def state_words() -> dict[str, str]:
    """What a person reads of each state."""
    return {
        RunState.RUNNING: _("running"),
        RunState.PAUSED: _("paused"),
        RunState.FINISHED: _("finished"),
    }


def _pairs(
    lines: list[dict[str, Any]], before: dict[str, Any] | None = None
) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Each line with the one before it."""
    return list(zip([before or {}, *lines], lines, strict=False))


def _seconds(before: Mapping[str, Any], line: Mapping[str, Any]) -> float:
    """Time of the steps between two logged lines, by the speed of the later one."""
    if not _is_number(line.get("tokens_per_s")) or not line["tokens_per_s"]:
        return 0.0
    return (line.get("tokens", 0) - before.get("tokens", 0)) / line["tokens_per_s"]


def _is_number(value: object) -> bool:
    """One that can be drawn. JSON as Python reads it has NaN and numbers without end."""
    return isinstance(value, int | float) and abs(value) < 1e300
