"""Reading the text files of words/: the part of this corpus one extends without reading code."""

from __future__ import annotations

from functools import partial

from yaongi.data import wordfiles

rows = partial(wordfiles.rows, "yaongi.data.synthetic")
sections = partial(wordfiles.sections, "yaongi.data.synthetic")


def cells(row: str) -> list[str]:
    """``a | b | c`` as a list."""
    return [cell.strip() for cell in row.split("|")]


def listed(cell: str) -> tuple[str, ...]:
    """``a; b; c`` as a tuple."""
    return tuple(part.strip() for part in cell.split(";") if part.strip())
