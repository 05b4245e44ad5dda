"""Markdown that grows: blocks that can no longer change, and the one that still can.

Rendering the whole answer anew with every token either flickers or, once it is longer than the
screen, loses its beginning. CommonMark has blocks, and text that is added only ever changes the
last one (spec 0.31, "Overview" of the parsing strategy): all before it can be printed for good.
"""

from __future__ import annotations

import itertools

from markdown_it import MarkdownIt
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import Heading, Markdown, TableElement
from rich.segment import Segment
from rich.table import Table


def _parser() -> MarkdownIt:
    # HTML is text here: rich leaves it out, and with it what a model says of <div> or List<int>
    # and so is the definition of a link, which it leaves out too
    known = MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"])
    return known.disable("reference")


class Block:
    """Markdown as a chat means it: line breaks are kept, HTML is text, links show where they go.

    Blank lines around it are left to whoever puts blocks together.
    """

    def __init__(self, text: str) -> None:
        self._markdown = _Markdown(text)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = console.render_lines(self._markdown, options, pad=False)
        filled = [n for n, line in enumerate(lines) if any(s.text.strip() for s in line)]
        for line in lines[filled[0] : filled[-1] + 1] if filled else []:
            yield from line
            yield Segment.line()


class _Heading(Heading):
    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        self.text.justify = "left"
        yield self.text


class _Table(TableElement):
    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for part in super().__rich_console__(console, options):
            if isinstance(part, Table):
                for column in part.columns:
                    column.overflow = "fold"  # on a narrow terminal nothing is cut off
            yield part


class _Markdown(Markdown):
    elements = Markdown.elements | {"heading_open": _Heading, "table_open": _Table}

    def __init__(self, text: str) -> None:
        super().__init__(text, hyperlinks=False, code_theme="ansi_dark")
        self.parsed = _parser().parse(text)
        for token in self.parsed:
            for child in token.children or []:
                if child.type == "softbreak":
                    child.type = "hardbreak"


class Growing:
    """The Markdown of an answer that is being written.

    Attributes:
        open: the block that may still change.
    """

    def __init__(self) -> None:
        self.open = ""

    def push(self, text: str) -> list[str]:
        """The blocks that are complete now; those of all pushes and ``open`` make up the text."""
        self.open += text
        if "\n" not in text:
            return []
        # of an unfinished line nobody knows yet what it begins ("2" may become "2. ")
        whole, _break, unfinished = self.open.rpartition("\n")
        lines = whole.split("\n")
        starts = [0, *_starts(whole)[1:]]
        done = ["\n".join(lines[a:b]) + "\n" for a, b in itertools.pairwise(starts)]
        self.open = "\n".join([*lines[starts[-1] :], unfinished])
        return done


def _starts(text: str) -> list[int]:
    """The first line of each block."""
    blocks = (t for t in _parser().parse(text) if t.level == 0 and t.nesting >= 0)
    return [block.map[0] for block in blocks if block.map]
