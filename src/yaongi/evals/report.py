"""Scores for people (a table in Markdown) and for programs (``report.json``)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from yaongi.core.files import read_json
from yaongi.core.i18n import translate as _
from yaongi.evals.task import Score


def as_json(scores: Sequence[Score]) -> dict[str, Any]:
    """What ``report.json`` holds."""
    return {"scores": [dataclasses.asdict(score) for score in scores]}


def from_json(data: dict[str, Any]) -> list[Score]:
    """The scores of a ``report.json``."""
    return [Score(**{**row, "samples": tuple(row["samples"])}) for row in data["scores"]]


def table(scores: Sequence[Score]) -> str:
    """One row per score, with its interval, baseline and chance level."""
    head = [_("task"), _("score"), _("95 % interval"), _("baseline"), _("chance"), _("measured on")]
    return grid(head, [_row(score) for score in scores])


def grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, all columns but the first to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def markdown(scores: Sequence[Score], title: str) -> str:
    """The table, how to read it, and unedited samples."""
    return "\n\n".join([f"# {title}", *_results(scores), *_samples(scores)]) + "\n"


def for_terminal(folder: Path) -> str:
    """The report in ``folder`` with its table last, where a person looks first."""
    scores = from_json(read_json(folder / "report.json"))
    return "\n\n".join([*_samples(scores), *_results(scores)])


def number(value: float, unit: str) -> str:
    """A value as people read it: shares as percent, bits with three decimals."""
    return f"{value:.1%}" if unit == "exact match" else f"{value:.3f}"


def _results(scores: Sequence[Score]) -> list[str]:
    units = sorted({(s.unit, s.better) for s in scores})
    return [table(scores), "\n".join(f"- {_reading(unit, better)}" for unit, better in units)]


def _samples(scores: Sequence[Score]) -> Iterator[str]:
    for score in scores:
        if score.samples:
            yield f"## {score.name}"
            yield from map(_sample, score.samples)


def _row(score: Score) -> list[str]:
    def show(value: float) -> str:
        return number(value, score.unit)

    baseline = "–"
    if score.baseline is not None:
        baseline = f"{show(score.baseline)} ({_(score.baseline_name or '')})"
    interval = f"{show(score.low)} – {show(score.high)}"
    counted = {"items": _("{n} items"), "bytes": _("{n} bytes")}[score.counted]
    measured = counted.format(n=f"{score.n:,}")
    return [score.name, show(score.value), interval, baseline, show(score.chance), measured]


def _reading(unit: str, better: str) -> str:
    if unit == "exact match":
        return _("Exact match: the share of answers that are exactly right; higher is better.")
    if better == "lower":
        return _("Bits per byte: how surprised the model is by unseen text; lower is better.")
    return unit


def _sample(sample: Any) -> str:
    return "\n".join(f"- **{key}**: {_quoted(value)}" for key, value in sample.items())


def _quoted(value: Any) -> str:
    """On one line, as code, so that nothing in an answer is read as Markdown."""
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    text = str(value).replace("\n", "⏎")
    fence = "`" * (1 + max((len(run) for run in _runs(text)), default=0))
    return f"{fence} {text} {fence}"


def _runs(text: str) -> list[str]:
    """The runs of backticks in ``text``."""
    return [run for run in "".join(c if c == "`" else " " for c in text).split() if run]
