"""What became of a corpus's documents, step by step, in a few lines for a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from yaongi.core.i18n import translate as _
from yaongi.core.units import human_bytes

_REASONS = 3  # of each step; all of them are in the manifest
_WARNINGS = 5


def funnel(counts: Mapping[str, Any]) -> list[str]:
    """One line for the first and last step and for each that did something; then warnings."""
    steps: Sequence[Mapping[str, Any]] = counts.get("steps", [])
    told = [s for i, s in enumerate(steps) if i in (0, len(steps) - 1) or _did(s)]
    table = [(_("step"), _("documents"), _("text"), "")] if told else []
    table += [(s["step"], f"{s['documents']:,}", human_bytes(s["bytes"]), _said(s)) for s in told]
    widths = [max((len(row[i]) for row in table), default=0) for i in range(3)]
    lines = [
        f"  {name:<{widths[0]}}  {documents:>{widths[1]}}  {size:>{widths[2]}}  {said}".rstrip()
        for name, documents, size, said in table
    ]
    warnings: Sequence[str] = counts.get("warnings", [])
    lines += [f"! {warning}" for warning in warnings[:_WARNINGS]]
    if len(warnings) > _WARNINGS:
        lines.append(_("! and {n} more in manifest.json").format(n=len(warnings) - _WARNINGS))
    return lines


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
    shown = [f"{n:,} {reason}" for reason, n in list(tally.items())[:_REASONS]]
    return ", ".join([*shown, *(["…"] if len(tally) > _REASONS else [])])
