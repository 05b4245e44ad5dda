"""Markdown of a card: tables, and words of others that stay words."""

from __future__ import annotations

import re
from collections.abc import Sequence


def escape(text: str) -> str:
    """Prose that no reader of Markdown or HTML takes for more, on one line."""
    plain = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return re.sub(r"([\\`*_\[\]<>|~#&!])", r"\\\1", plain).replace("://", ":\\//")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """All columns but the first to the right; cells are Markdown."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
