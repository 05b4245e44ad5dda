"""The page of ``bench/distill.py``: means over seeds, and what a teacher changed, seed by seed."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ablate_report import Interval, interval

from yaongi.evals.report import grid


@dataclass(frozen=True)
class Finished:
    """What is kept of a run.

    Attributes:
        curve: (tokens, val_bpb) at each evaluation.
    """

    curve: list[tuple[int, float]]
    parameters: int
    steps: int
    cpu_s: float

    @property
    def val_bpb(self) -> float:
        """At the end."""
        return self.curve[-1][1]


Done = Mapping[tuple[str, int], Finished]


def page(done: Done, alone: str, facts: Mapping[str, Any]) -> str:
    """The page as Markdown."""
    one = next(iter(done.values()))
    names = list(dict.fromkeys(name for name, _ in done))
    parts = [
        "# Does a teacher help a small model?",
        f"A student of {one.parameters / 1e6:.1f} M parameters read "
        f"{facts['student_tokens'] / 1e3:,.0f} K tokens of Korean in {one.steps} steps: the text "
        f"alone, or with a teacher of {facts['teacher_parameters'] / 1e6:.1f} M parameters, which "
        f"had read {facts['teacher_tokens'] / 1e3:,.0f} K tokens of the same text and stands at "
        f"{facts['teacher_bpb']:.3f} bits per byte. First weights, text and its order are the "
        "same for all students of a seed, so differences are taken seed by seed; intervals are "
        f"95 % (Student's t). Held-out text: {facts['eval_tokens'] / 1e3:.0f} K tokens. The "
        f"teacher's {facts['top_k']} likeliest ids were kept on disk. "
        f"{facts['cpu_minutes']:.0f} CPU-minutes in all, {facts['hardware']}.",
        _table(done, names, alone),
        *(line for name in names if name != alone and (line := verdict(done, name, alone))),
        "`python bench/distill.py --pair PAIR`; all runs and settings: bench/results/distill.",
    ]
    return "\n\n".join(parts) + "\n"


def _table(done: Done, names: list[str], alone: str) -> str:
    head = ["", "seeds", "val_bpb", f"minus {alone}", "CPU-seconds a run"]
    rows = []
    for name in names:
        runs = [result for (n, _), result in done.items() if n == name]
        gap = gaps(done, name, alone)
        rows.append(
            [
                name,
                str(len(runs)),
                str(interval([r.val_bpb for r in runs])),
                "" if name == alone or not gap else str(interval(gap)),
                f"{statistics.median(r.cpu_s for r in runs):.0f}",
            ]
        )
    return grid(head, rows)


def gaps(done: Done, name: str, alone: str) -> list[float]:
    """val_bpb minus that of the twin on text alone, by seed."""
    pairs = [(result, done.get((alone, seed))) for (n, seed), result in done.items() if n == name]
    return [taught.val_bpb - twin.val_bpb for taught, twin in pairs if twin is not None]


def verdict(done: Done, name: str, alone: str) -> str:
    """Whether the arm beats the text alone; empty for fewer than two seeds."""
    found = gaps(done, name, alone)
    if len(found) < 2:
        return ""
    gap: Interval = interval(found)
    says = "is not decided by these seeds"
    if gap.high < 0:
        says = "holds"
    elif gap.low > 0:
        says = "does not hold: it is worse"
    return f'"{name}" beats {alone} at equal steps: {says} ({gap} bits per byte).'
