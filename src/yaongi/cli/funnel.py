"""What became of a corpus's documents, step by step, in a few lines for a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.cells import cell_len, set_cell_size

from yaongi.core.i18n import translate as _
from yaongi.core.units import human_bytes
from yaongi.data.wording import Notice, counted, said, step_name

_REASONS = 3  # of each step; all of them are in the manifest
_WARNINGS = 5


def funnel(counts: Mapping[str, Any]) -> list[str]:
    """One line for the first and last step and for each that did something, one for the others;
    then warnings."""
    steps: Sequence[Mapping[str, Any]] = counts.get("steps", [])
    told = [s for i, s in enumerate(steps) if i in (0, len(steps) - 1) or _did(s)]
    idle = [step_name(s["step"]) for s in steps if s not in told]
    table = [(_("step"), _("documents"), _("text"), "")] if told else []
    for s in told:
        name, size = step_name(s["step"]), human_bytes(s["bytes"])
        table.append((name, f"{s['documents']:,}", size, _said(s)))
    widths = [max((cell_len(row[i]) for row in table), default=0) for i in range(3)]
    lines = [
        f"  {set_cell_size(name, widths[0])}  {_right(documents, widths[1])}  "
        f"{_right(size, widths[2])}  {what}".rstrip()
        for name, documents, size, what in table
    ]
    if idle:
        lines.append("  " + _("nothing dropped or changed: {steps}", steps=", ".join(idle)))
    warnings: Sequence[Notice | str] = counts.get("warnings", [])
    lines += [f"! {said(warning)}" for warning in warnings[:_WARNINGS]]
    if len(warnings) > _WARNINGS:
        lines.append(_("! and {n} more in manifest.json").format(n=len(warnings) - _WARNINGS))
    return lines


def _right(text: str, width: int) -> str:
    return " " * (width - cell_len(text)) + text


def _did(step: Mapping[str, Any]) -> bool:
    return bool(step["dropped"] or step["changed"])


def _said(step: Mapping[str, Any]) -> str:
    parts: list[str] = []
    if step["dropped"]:
        total = sum(step["dropped"].values())
        parts.append(_("dropped {n}: {why}").format(n=f"{total:,}", why=_few(step["dropped"])))
    if step["step"] == "split":
        parts.append(_few(step["changed"]))
    elif step["changed"]:
        parts.append(_("changed: {what}").format(what=_few(step["changed"])))
    return "; ".join(parts)


def _few(tally: Mapping[str, int]) -> str:
    shown = [counted(n, reason) for reason, n in list(tally.items())[:_REASONS]]
    return ", ".join([*shown, *(["…"] if len(tally) > _REASONS else [])])
