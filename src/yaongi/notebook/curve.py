"""A curve over the steps of a run, as where its lines and labels go; ``curve.html.jinja`` draws it.

Small enough to be sent to a browser every second: a long run is drawn by a few hundred points.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

WIDTH, HEIGHT = 640, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 26, 10, 22
POINTS = 320
"""Drawn at most; each stands for the mean of the steps around it."""

SMOOTHED = 20
"""From so many points on, a smoothed line is drawn over them."""

Points = Sequence[tuple[int, float]]


class Label(NamedTuple):
    """A mark of an axis: where it is, and what it says."""

    at: float
    text: str


class Curve(NamedTuple):
    """The lines, as an SVG's ``points``, and the axes' marks; ``smooth`` is "" for few points."""

    line: str
    smooth: str
    last: tuple[float, float]
    columns: list[Label]
    rows: list[Label]
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    top: int = _TOP
    base: int = HEIGHT - _BOTTOM
    width: int = WIDTH
    height: int = HEIGHT


def curve(points: Points, total: int | None = None) -> Curve | None:
    """The geometry of ``points`` (step, value), or None where there is none.

    Args:
        total: the steps of the whole run, which the axis reaches to; at the beginning of a long
            run, to a half, a quarter, ... of it.
    """
    if not points:
        return None
    drawn = _thinned(points)
    smooth = _smoothed(drawn) if len(drawn) >= SMOOTHED else []
    rows = _marks(min(v for _, v in drawn), max(v for _, v in drawn), 4)
    low, high = rows[0], rows[-1]
    end = _end(points[-1][0], total)
    columns = _marks(0, end, 6)

    def x(step: float) -> float:
        return round(_LEFT + (WIDTH - _LEFT - _RIGHT) * step / end, 1)

    def y(value: float) -> float:
        return round(HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * (value - low) / (high - low), 1)

    def joined(line: Points) -> str:
        return " ".join(f"{x(step)},{y(value)}" for step, value in line)

    tip_step, tip_value = (smooth or drawn)[-1]
    return Curve(
        line=joined(drawn),
        smooth=joined(smooth),
        last=(x(tip_step), y(tip_value)),
        columns=[Label(x(step), f"{step:,.0f}") for step in columns if step <= end],
        rows=[Label(y(value), f"{value:.6g}") for value in rows],
    )


def _end(last: int, total: int | None) -> float:
    """Where the axis ends: the curve takes a quarter of it at least."""
    end = float(max(total or 0, last, 1))
    while last < end / 4 and end > 1:
        end /= 2
    return end


def _thinned(points: Points) -> list[tuple[int, float]]:
    """At most ``POINTS`` of them: the mean of every few, at the last step of these."""
    every = math.ceil(len(points) / POINTS)
    parts = [points[i : i + every] for i in range(0, len(points), every)]
    return [(part[-1][0], math.fsum(v for _, v in part) / len(part)) for part in parts]


def _smoothed(points: Points) -> list[tuple[int, float]]:
    """An exponential mean over about a twentieth of the points, without a pull to the start."""
    keep = 1 - min(1.0, 20 / len(points))
    keep = max(keep, 0.6)
    mean = weight = 0.0
    out: list[tuple[int, float]] = []
    for step, value in points:
        mean, weight = keep * mean + (1 - keep) * value, keep * weight + (1 - keep)
        out.append((step, mean / weight))
    return out


def _marks(low: float, high: float, about: int) -> list[float]:
    """Round numbers about so many, the first at or below ``low``, the last at or above ``high``."""
    if high <= low:
        low, high = low - 0.5, high + 0.5
    rough = (high - low) / about
    unit = 10.0 ** math.floor(math.log10(rough))
    gap = next(unit * m for m in (1, 2, 2.5, 5, 10) if unit * m >= rough * 0.999)
    first, last = math.floor(low / gap + 1e-9), math.ceil(high / gap - 1e-9)
    return [i * gap for i in range(first, last + 1)]
