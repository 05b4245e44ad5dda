"""Reading the text files of words/: the part of this corpus one extends without reading code."""

from __future__ import annotations

from importlib import resources


def rows(file: str) -> list[str]:
    """The lines of a file, stripped; empty lines and ``# comments`` left out."""
    text = (resources.files("yaongi.data.synthetic") / "words" / file).read_text(encoding="utf-8")
    found = (row.strip() for row in text.splitlines())
    return [row for row in found if row and (row[0] != "#" or row.startswith("##"))]


def sections(file: str) -> dict[str, list[str]]:
    """The lines below each ``== name``."""
    found: dict[str, list[str]] = {}
    name = ""
    for row in rows(file):
        if row.startswith("=="):
            name = row[2:].strip()
        else:
            found.setdefault(name, []).append(row)
    return found


def cells(row: str) -> list[str]:
    """``a | b | c`` as a list."""
    return [cell.strip() for cell in row.split("|")]


def listed(cell: str) -> tuple[str, ...]:
    """``a; b; c`` as a tuple."""
    return tuple(part.strip() for part in cell.split(";") if part.strip())
