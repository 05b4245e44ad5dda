"""What a run reports: ``metrics.jsonl`` always, and any experiment tracker the recipe names.

One line per logged step, flushed at once. After a crash the file may hold steps the checkpoint
does not; ``resume`` cuts it back so the file reads as one uninterrupted run.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from yaongi.core.files import storage_errors, write_bytes
from yaongi.core.trackers import Tracker, TrackerConfig

METRICS = "metrics.jsonl"


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
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / METRICS
        cut_back(self.path, resume_step if resume_step is not None else -1)
        self._stream = self.path.open("a", encoding="utf-8")
        self.trackers: list[Tracker] = [
            t.open(folder / "trackers", name=name, config=config or {}) for t in trackers
        ]

    def log(self, step: int, **metrics: Any) -> None:
        """Write one line; numbers also go to the trackers. NaN and infinity become strings."""
        with storage_errors(self.path):
            self._stream.write(
                json.dumps({"step": step, **_plain(metrics)}, ensure_ascii=False) + "\n"
            )
            self._stream.flush()
        numbers = {k: v for k, v in metrics.items() if isinstance(v, (int, float))}
        for tracker in self.trackers:
            tracker.log(step, numbers)

    def close(self) -> None:
        """Flush everything."""
        self._stream.close()
        for tracker in self.trackers:
            tracker.close()

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_metrics(folder: str | Path) -> list[dict[str, Any]]:
    """The lines of ``folder/metrics.jsonl``."""
    path = Path(folder) / METRICS
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


def cut_back(path: Path, step: int) -> None:
    """Drop the lines after ``step`` and a last line a crash left incomplete."""
    if not path.is_file():
        return
    kept: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line)
        except (ValueError, KeyError):
            continue
    write_bytes(path, "".join(f"{line}\n" for line in kept).encode())


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
