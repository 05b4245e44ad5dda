"""A run's held-out bits per byte by domain, and below them the shares that followed: one SVG.

Drawn from ``metrics.jsonl`` with nothing but text, so that it needs no library and opens anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

FIGURE = "forgetting.svg"
COLOURS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#17becf")
WIDTH, LEFT, RIGHT, TOP = 760, 70, 130, 30
UPPER, LOWER, GAP = 260, 130, 50
"""Heights of the two panels and the room between them, in pixels."""

Series = dict[str, list[tuple[int, float]]]


def figure(lines: Sequence[Mapping[str, Any]]) -> str:
    """The SVG of the lines of a ``metrics.jsonl``; a domain has one colour in both panels."""
    scores, shares = _series(lines, "val_bpb/"), _series(lines, "share/")
    last = max((step for points in (*scores.values(), *shares.values()) for step, _ in points),
               default=1)  # fmt: skip
    domains = sorted({*scores, *shares})
    colours = {d: COLOURS[i % len(COLOURS)] for i, d in enumerate(domains)}
    decided = [line["step"] for line in lines if "decision" in line]
    below = TOP + UPPER + GAP
    parts = [
        *_panel(TOP, UPPER, "held-out bits per byte", scores, colours, max(last, 1), decided),
        *_panel(
            below, LOWER, "share of tokens", _held(shares, last), colours, max(last, 1), decided
        ),
        _text((LEFT + WIDTH - RIGHT) / 2, below + LOWER + 38, "step", "middle"),
    ]
    for i, domain in enumerate(domains):
        x, y = WIDTH - RIGHT + 16, TOP + 12 + 20 * i
        parts.append(f'<path d="M{x} {y - 4}h18" stroke="{colours[domain]}" stroke-width="3"/>')
        parts.append(_text(x + 24, y, domain))
    height = below + LOWER + 50
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" font-family="sans-serif" font-size="12">'
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>{"".join(parts)}</svg>\n'
    )


def _series(lines: Sequence[Mapping[str, Any]], prefix: str) -> Series:
    """Domain -> (step, value) of every line that has it."""
    found: Series = {}
    for line in lines:
        for name, value in line.items():
            if name.startswith(prefix) and isinstance(value, float | int):
                found.setdefault(name.removeprefix(prefix), []).append((line["step"], value))
    return found


def _held(shares: Series, last: int) -> Series:
    """Shares hold from one decision to the next, so they are drawn as stairs."""
    stairs: Series = {}
    for domain, points in shares.items():
        ends = [*(step for step, _ in points[1:]), last]
        stairs[domain] = [
            corner
            for (step, share), end in zip(points, ends, strict=True)
            for corner in ((step, share), (end, share))
        ]
    return stairs


def _panel(
    top: int,
    height: int,
    title: str,
    series: Series,
    colours: Mapping[str, str],
    last: int,
    decided: Sequence[int],
) -> list[str]:
    values = [value for points in series.values() for _, value in points]
    low, high = min(values, default=0.0), max(values, default=1.0)
    margin = 0.06 * (high - low) or 0.5
    low, high = low - margin, high + margin

    def x(step: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * step / last

    def y(value: float) -> float:
        return top + height * (high - value) / (high - low)

    parts = [_text(LEFT, top - 8, title)]
    for i in range(5):
        value = low + (high - low) * i / 4
        parts.append(_line(LEFT, y(value), WIDTH - RIGHT, y(value), "#dddddd"))
        parts.append(_text(LEFT - 6, y(value) + 4, f"{value:.2f}", "end"))
        step = last * i / 4
        parts.append(_text(x(step), top + height + 16, f"{step:.0f}", "middle"))
    parts += [_line(x(s), top, x(s), top + height, "#bbbbbb", "2 3") for s in decided]
    for domain, points in series.items():
        path = " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in points)
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colours[domain]}" stroke-width="2"/>'
        )
    return parts


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, dashes: str = "none") -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
        f'stroke-dasharray="{dashes}"/>'
    )


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
