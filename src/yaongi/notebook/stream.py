"""An answer as an iterator over its pieces, which a notebook shows while they come."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from typing import Any

from yaongi.notebook.html import rendered

SHOW_EVERY_S = 0.1


class TextStream(Iterator[str]):
    """The pieces of a text; leaving it ends the work behind it.

    Displayed in a notebook it shows the text as it grows, to its end; ■ stops it. What was taken
    before is shown too.

    Attributes:
        text: what came so far.
    """

    def __init__(self, pieces: Generator[str]) -> None:
        self._pieces = pieces
        self.text = ""

    def __next__(self) -> str:
        piece = next(self._pieces)
        self.text += piece
        return piece

    def close(self) -> None:
        """End it here."""
        self._pieces.close()

    def _ipython_display_(self) -> None:
        from IPython.core.getipython import get_ipython
        from IPython.display import display

        if not hasattr(get_ipython(), "kernel"):  # a terminal, which cannot draw over what it said
            print(self.text, end="", flush=True)
            for piece in self:
                print(piece, end="", flush=True)
            print()
            return
        shown = display(self._shape(), raw=True, display_id=True)
        assert shown is not None
        last = 0.0
        try:
            for _ in self:
                if time.monotonic() - last >= SHOW_EVERY_S:
                    last = time.monotonic()
                    shown.update(self._shape(), raw=True)
        except KeyboardInterrupt:  # ■ stops the answer, not the cells behind it
            self.close()
        shown.update(self._shape(), raw=True)

    def _shape(self) -> dict[str, Any]:
        return {"text/plain": self.text, "text/html": rendered("text", text=self.text)}
