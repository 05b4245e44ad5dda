"""Where a chat is shown: a terminal, with Markdown as it grows, or plain text for everything else.

Both show an answer from its pieces and return when it is over; Ctrl-C ends it early.
"""

from __future__ import annotations

import sys
import time
from contextlib import closing
from typing import Protocol

import click
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.segment import Segment
from rich.text import Text

from yaongi.cli.chat.conversation import Pieces
from yaongi.cli.chat.markdown import Block, Growing
from yaongi.cli.printable import printable
from yaongi.core.i18n import translate as _
from yaongi.infer.turns import Channel, Said

FRAME_S = 1 / 12
SHARE = 0.1  # of the time, for drawing
THINKING_LINES = 3  # of thinking, while it goes on


class Screen(Protocol):
    """Somewhere to show a chat."""

    def show(self, pieces: Pieces) -> bool:
        """An answer as it comes; whether it came to its end."""
        ...

    def tell(self, text: str) -> None:
        """What a command answers."""
        ...

    def note(self, text: str) -> None:
        """A remark of the program's."""
        ...


class Plain:
    """Text as it comes, without thinking: for pipes, files and terminals that know no more."""

    def show(self, pieces: Pieces) -> bool:
        """See ``Screen``."""
        whole = True
        try:
            with closing(pieces):
                for said in pieces:
                    if said.channel is not Channel.THINKING:
                        click.echo(printable(_shown(said)), nl=False)
                        sys.stdout.flush()
        except KeyboardInterrupt:
            whole = False
        click.echo()
        return whole

    def tell(self, text: str) -> None:
        """See ``Screen``."""
        click.echo(printable(text))

    def note(self, text: str) -> None:
        """See ``Screen``; apart from the answers, which may go to a file."""
        click.echo(printable(text), err=True)


class Terminal:
    """Markdown as it grows: what is finished is printed, only what may change is drawn again.

    Nothing is lost where an answer is longer than the screen, and scrolling back finds it once.
    """

    def __init__(self, console: Console) -> None:
        self.console = console

    def show(self, pieces: Pieces) -> bool:
        """See ``Screen``."""
        page = _Page(self.console)
        whole = True
        try:
            with page.live, closing(pieces):
                for said in pieces:
                    page.add(said.channel, printable(_shown(said)))
        except KeyboardInterrupt:
            whole = False
        finally:  # not of the live region, which is gone now
            page.finish()
            self.console.print()
        return whole

    def tell(self, text: str) -> None:
        """See ``Screen``."""
        self.console.print(Text(printable(text)), soft_wrap=True)

    def note(self, text: str) -> None:
        """See ``Screen``."""
        self.console.print(Text(printable(text), style="dim"), soft_wrap=True)


class _Page:
    """One answer on a terminal."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.live = Live(
            Text("…", style="dim"), console=console, auto_refresh=False, transient=True
        )
        self._text, self._thought = Growing(), ""
        self._calls: list[str] = []
        self._blocks = 0
        self._next = 0.0

    def add(self, channel: Channel, text: str) -> None:
        """A piece of the answer."""
        if channel is Channel.THINKING:
            self._thought += text
        else:
            self._fold()
        if channel is Channel.CALL:
            self._calls.append(text)
        elif channel is Channel.CONTENT:
            done = self._text.push(text)
            self.live.update(self._changing())
            for block in done:
                self._print(block)
        now = time.monotonic()
        if now >= self._next:
            self.live.update(self._changing(), refresh=True)
            took = time.monotonic() - now  # long code takes longer; most of the time is the model's
            self._next = now + max(FRAME_S, took / SHARE)

    def finish(self) -> None:
        """Print what is still open."""
        self._fold()
        if self._text.open.strip():
            self._print(self._text.open)
        for call in self._calls:
            self.console.print(Text(call, style="cyan"))

    def _fold(self) -> None:
        """Thinking that has ended becomes a line."""
        if lines := self._thought.strip().splitlines():
            self._thought = ""
            told = _("▸ thought in {n} lines; /thinking shows them").format(n=len(lines))
            self.console.print(Text(told, style="dim italic"))

    def _print(self, block: str) -> None:
        self.console.print(*[""] * bool(self._blocks), Block(block), sep="\n")
        self._blocks += 1

    def _changing(self) -> RenderableType:
        """What may still change, cut to what fits on the screen."""
        thought = _Tail(Text(self._thought.strip(), style="dim italic"), THINKING_LINES)
        shown: list[RenderableType] = [thought] if self._thought.strip() else []
        if self._text.open.strip():
            gap = [""] * bool(self._blocks)
            shown += [*gap, _Tail(Block(self._text.open), max(self.console.height - 3, 1))]
        return Group(*shown)


class _Tail:
    """The last lines of something."""

    def __init__(self, inside: RenderableType, most: int) -> None:
        self.inside, self.most = inside, most

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in console.render_lines(self.inside, options, pad=False)[-self.most :]:
            yield from line
            yield Segment.line()


def _shown(said: Said) -> str:
    return f"{said.name}({said.text})" if said.channel is Channel.CALL else said.text


def screen() -> Screen:
    """The screen that fits where the output goes."""
    console = Console(highlight=False)
    if console.is_terminal and not console.is_dumb_terminal:
        return Terminal(console)
    return Plain()
