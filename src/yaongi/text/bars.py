"""Bars beside one another as an SVG file: no library, and Korean in the reader's own font."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

_COLOURS = ("#3b6fb6", "#e08a3c", "#4f9d69", "#b5495b", "#7d6bb3", "#8a8f98")
_FONT = "'Noto Sans KR','Apple SD Gothic Neo','Malgun Gothic','Noto Sans CJK KR',sans-serif"
_LEFT, _WIDE, _BAR, _GAP, _LINE = 190, 460, 14, 10, 22  # in pixels


class Panel(NamedTuple):
    """A group of bars for each row.

    Attributes:
        names: what the bars of every row stand for.
        rows: label -> a number >= 0 for each of ``names``.
    """

    title: str
    names: Sequence[str]
    rows: Mapping[str, Sequence[float]]


def svg(panels: Sequence[Panel]) -> str:
    """The panels below one another, each with its title and legend."""
    shapes: list[str] = []
    y = _GAP
    for panel in panels:
        y = _draw(panel, y, shapes)
    size = f'width="{_LEFT + _WIDE + 80}" height="{y}"'
    style = f'font-family="{_FONT}" font-size="12"'
    return "\n".join(
        [f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>',
         f'<rect {size} fill="white"/>', *shapes, "</svg>\n"]
    )  # fmt: skip


def _draw(panel: Panel, y: int, shapes: list[str]) -> int:
    """Add one panel's shapes; returns where the next one begins."""
    shapes.append(_text(panel.title, 10, y + 14, 'font-weight="bold"'))
    y += _LINE
    for i, name in enumerate(panel.names):
        shapes.append(_rect(10, y + 3, 12, i))
        shapes.append(_text(name, 28, y + 14))
        y += _LINE - 4
    largest = max((max(values) for values in panel.rows.values()), default=0) or 1
    for label, values in panel.rows.items():
        y += _GAP
        middle = y + _BAR * len(values) / 2 + 4
        shapes.append(_text(label, _LEFT - 8, middle, 'text-anchor="end"'))
        shapes.extend(_bars(values, y, largest))
        y += _BAR * len(values)
    return y + 2 * _GAP


def _bars(values: Sequence[float], y: int, largest: float) -> Iterator[str]:
    for i, value in enumerate(values):
        width = round(_WIDE * value / largest)
        yield _rect(_LEFT, y + i * _BAR, width, i)
        yield _text(f"{value:.2f}", _LEFT + width + 5, y + i * _BAR + _BAR - 3)


def _rect(x: int, y: int, width: int, colour: int) -> str:
    fill = _COLOURS[colour % len(_COLOURS)]
    return f'<rect x="{x}" y="{y}" width="{width}" height="{_BAR - 2}" fill="{fill}"/>'


def _text(text: str, x: float, y: float, more: str = "") -> str:
    return f'<text x="{x:g}" y="{y:g}" {more}>{escape(text)}</text>'
