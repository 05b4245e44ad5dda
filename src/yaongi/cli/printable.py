"""Text that cannot command a terminal: what a model or a file says is shown, never obeyed.

An escape sequence can move the cursor, rename the window, write the clipboard or hide text (Dworken
and others on "terminal injection"); marks of direction make code read otherwise than it runs
(Boucher & Anderson 2021, "Trojan Source", arXiv:2111.00169). They become visible signs. What
Hangul, emoji and other scripts need, such as the zero-width joiner, stays.
"""

from __future__ import annotations

_CONTROL = {c: 0x2400 + c for c in range(0x20) if chr(c) not in "\n\t\r"}  # ␛ and its like
_OTHER = [0x7F, *range(0x80, 0xA0), 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A),
          *range(0xD800, 0xE000)]  # fmt: skip
_TABLE = {
    **_CONTROL,
    **dict.fromkeys(_OTHER, "\ufffd"),
    ord("\r"): None,
    ord("\u2028"): "\n",
    ord("\u2029"): "\n",
}


def printable(text: str) -> str:
    """``text`` with a sign for every control character but line breaks and tabs."""
    return text.translate(_TABLE)
