"""Where things go in the page's charts; ``charts.html.jinja`` draws them.

Only geometry: every name and number is written by the template, which escapes it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from yaongi.data.report.texts import UNJUDGED, Bin, Lengths

WIDTH, HEIGHT = 320, 128  # of a histogram; text stays readable on a phone, which is about as wide
_BASE, _TOP = 104, 6  # the axis and the highest bar

COLOURS = 6
"""Of a stacked bar; ``.c1`` ... of the style sheet. What has none is grey."""


class Bar(NamedTuple):
    """A rectangle of a histogram, and what it stands for."""

    x: float
    y: float
    width: float
    height: float
    low: int
    high: int
    documents: int


class Histogram(NamedTuple):
    """Bars, the marks of the logarithmic axis as (x, length), and the median's x."""

    bars: list[Bar]
    ticks: list[tuple[float, int]]
    median: float


class Part(NamedTuple):
    """A part of a stacked bar: its name, its share, where it begins (shares of 1), its class."""

    name: str
    share: float
    start: float
    style: str


def histograms(lengths: Mapping[str, Lengths]) -> dict[str, Histogram]:
    """One histogram for each name, all on the same axis."""
    bins = {name: one.bins() for name, one in lengths.items()}
    low = min((b[0].low for b in bins.values() if b), default=1)
    high = max((b[-1].high + 1 for b in bins.values() if b), default=10)
    span = math.log10(high / low)

    def x(length: float) -> float:
        return round(WIDTH * math.log10(max(length, low) / low) / span, 2)

    decades = range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)
    ticks = [(x(10**d), 10**d) for d in decades]
    return {
        name: Histogram(_bars(of, x), ticks, x(lengths[name].quantile(0.5)))
        for name, of in bins.items()
    }


def _bars(bins: Sequence[Bin], x: Callable[[float], float]) -> list[Bar]:
    most = max((one.documents for one in bins), default=1)
    bars: list[Bar] = []
    for one in bins:
        tall = round((_BASE - _TOP) * one.documents / most, 2)
        wide = round(x(one.high + 1) - x(one.low) - 1, 2)  # a gap to the next
        bars.append(Bar(x(one.low), _BASE - tall, wide, tall, one.low, one.high, one.documents))
    return [bar for bar in bars if bar.documents]


def stacked(tallies: Mapping[str, Counter[str]], last: Sequence[str]) -> dict[str, list[Part]]:
    """Shares as parts of one bar for each name; the same thing has the same colour in all.

    Args:
        last: names that get no colour and stand at the end.
    """
    everything = sum(tallies.values(), Counter())
    ranked = [name for name, _ in everything.most_common() if name not in last]
    style = {name: f"c{i}" for i, name in enumerate(ranked[:COLOURS], 1)}
    order = [*ranked[:COLOURS], *ranked[COLOURS:], *last]
    result: dict[str, list[Part]] = {}
    for bar, tally in tallies.items():
        total, start = max(1, tally.total()), 0.0
        parts = result.setdefault(bar, [])
        for name in order:
            if tally[name]:
                grey = "c-none" if name == UNJUDGED else "c-other"
                share = tally[name] / total
                parts.append(Part(name, share, start, style.get(name, grey)))
                start += share
    return result
