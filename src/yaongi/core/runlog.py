"""What a run reports: ``metrics.jsonl`` always, and any experiment tracker the recipe names.

One line per logged step, flushed at once. After a crash the file may hold steps the checkpoint
does not; ``resume`` cuts it back so the file reads as one uninterrupted run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from yaongi.core.files import is_mapping, plain, storage_errors, write_bytes
from yaongi.core.trackers import Tracker, TrackerConfig

METRICS = "metrics.jsonl"
PLAN = "checkpoints/run.json"
"""What a run decided on its first start, in its working folder: ``identity`` and ``plan``."""


class RunLog:
    """Append-only metrics of one run.

    Args:
        folder: where ``metrics.jsonl`` lives; made if missing.
        trackers: further destinations, opened here and closed by ``close``.
        name, config: shown by the trackers.
        resume_step: continue after this step: later lines are dropped.
    """

    def __init__(
        self,
        folder: Path,
        trackers: Sequence[TrackerConfig] = (),
        *,
        name: str = "run",
        config: dict[str, Any] | None = None,
        resume_step: int | None = None,
    ) -> None:
        self.path = folder / METRICS
        self.trackers: list[Tracker] = []
        self._open = ExitStack()
        with ExitStack() as opening, storage_errors(self.path):  # closes all if one fails
            folder.mkdir(parents=True, exist_ok=True)
            cut_back(self.path, resume_step if resume_step is not None else -1)
            self._stream = opening.enter_context(self.path.open("a", encoding="utf-8"))
            for tracker in trackers:
                run = tracker.open(
                    folder / "trackers", name=name, config=config or {}, resume_step=resume_step
                )
                opening.callback(run.close)
                self.trackers.append(run)
            self._open = opening.pop_all()

    def log(self, step: int, **metrics: Any) -> None:
        """Write one line; numbers also go to the trackers. NaN and infinity become strings."""
        with storage_errors(self.path):
            self._stream.write(
                json.dumps({"step": step, **plain(metrics)}, ensure_ascii=False, allow_nan=False)
                + "\n"
            )
            self._stream.flush()
        numbers = dict(_numbers(metrics))
        for tracker in self.trackers:
            tracker.log(step, numbers)

    def close(self) -> None:
        """Flush everything; one that fails does not keep the others open."""
        with storage_errors(self.path):
            self._open.close()

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_metrics(folder: str | Path) -> list[dict[str, Any]]:
    """The whole lines of ``folder/metrics.jsonl``; one still being written is left out."""
    return [record for _, record in _lines(Path(folder) / METRICS)]


class MetricsTail:
    """The lines of a ``metrics.jsonl`` that grows, each read once.

    A run that resumes cuts the file back, which makes it another file; that is read anew. The
    file moves with its folder when the run ends, and is still the same.
    """

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self._read, self._file = 0, 0

    def follow(self, folder: Path) -> list[dict[str, Any]]:
        """The records of all whole lines up to now; none while there is no file."""
        try:
            stream = (folder / METRICS).open("rb")
        except FileNotFoundError:
            return self.records
        with stream:
            found = os.fstat(stream.fileno())
            if found.st_ino != self._file or found.st_size < self._read:
                self.records, self._read, self._file = [], 0, found.st_ino
            stream.seek(self._read)
            whole = stream.read().rpartition(b"\n")[0]
        if whole:
            self._read += len(whole) + 1
            self.records = self.records + [record for _, record in _records(whole)]
        return self.records


def cut_back(path: Path, step: int) -> None:
    """Drop the lines after ``step`` and a last line a crash left incomplete."""
    if not path.is_file():
        return
    kept = [line + b"\n" for line, record in _lines(path) if record["step"] <= step]
    write_bytes(path, b"".join(kept))


def _lines(path: Path) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """Each whole line with its record. Bytes, because a crash may cut a character in half."""
    yield from _records(path.read_bytes())


def _records(content: bytes) -> Iterator[tuple[bytes, dict[str, Any]]]:
    for line in content.split(b"\n"):
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if is_mapping(record) and isinstance(record.get("step"), int):
            yield line, dict(record)


def _numbers(metrics: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """What a tracker can draw: ``{"val_bpb": {"ko": 1.2}}`` becomes ``val_bpb/ko``."""
    for key, value in metrics.items():
        value = value.item() if hasattr(value, "item") else value
        if is_mapping(value):
            yield from _numbers(value, f"{prefix}{key}/")
        elif isinstance(value, (int, float)):
            yield f"{prefix}{key}", value
