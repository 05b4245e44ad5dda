"""Reading a package's ``words/`` folder: the part one extends without reading code.

A line is one entry; ``# comments`` and empty lines are skipped, ``== name`` opens a section.
"""

from __future__ import annotations

from importlib import resources


def rows(package: str, file: str) -> list[str]:
    """The lines of a file, stripped; empty lines and ``# comments`` left out."""
    text = (resources.files(package) / "words" / file).read_text(encoding="utf-8")
    found = (row.strip() for row in text.splitlines())
    return [row for row in found if row and (row[0] != "#" or row.startswith("##"))]


def sections(package: str, file: str) -> dict[str, list[str]]:
    """The lines below each ``== name``."""
    found: dict[str, list[str]] = {}
    name = ""
    for row in rows(package, file):
        if row.startswith("=="):
            name = row[2:].strip()
        else:
            found.setdefault(name, []).append(row)
    return found
