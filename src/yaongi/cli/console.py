"""What a person sees while a stage works: a bar, the time left, and the loss.

On a terminal this is a rich progress bar; in a log file it is one plain line now and then. Both
go to stderr, so that stdout holds results only and ``--json`` output can be piped.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from yaongi.core.i18n import translate as _
from yaongi.core.units import human_time

Report = Callable[[float | None, str], None]
"""Called by a stage as ``report(fraction done, short note)``; None where that is not known, or
not changed."""

PLAIN_EVERY_S = 10.0


@contextmanager
def stage(title: str) -> Iterator[Report]:
    """Show one stage; yields the function the stage calls with its progress."""
    stderr = Console(stderr=True)
    shown = _bar(stderr, title) if stderr.is_terminal else _lines(title)
    start = time.monotonic()
    with shown as report:
        yield report
    click.echo(f"✓ {title} · {human_time(time.monotonic() - start)}", err=True)


@contextmanager
def _bar(console: Console, title: str) -> Iterator[Report]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}  {task.fields[note]}"),
    )
    clock = TimeLeft()
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(title, total=1.0, note="", left="")

        def report(fraction: float | None, note: str) -> None:
            progress.update(task, completed=fraction, note=note, left=clock.text(fraction))

        yield report


@contextmanager
def _lines(title: str) -> Iterator[Report]:
    clock = TimeLeft()
    last = time.monotonic()
    click.echo(f"… {title}", err=True)

    def report(fraction: float | None, note: str) -> None:
        nonlocal last
        left = clock.text(fraction)  # every time: it counts from the first report
        now = time.monotonic()
        if now - last >= PLAIN_EVERY_S:
            last = now
            share = "" if fraction is None else f"{fraction:4.0%} "
            click.echo(f"  {share}{left} {note}".rstrip(), err=True)

    yield report


class TimeLeft:
    """Remaining time from the share done so far."""

    def __init__(self) -> None:
        self.start = time.monotonic()
        self.first: float | None = None

    def text(self, fraction: float | None) -> str:
        """E.g. ``2m10s left``; empty while unknown."""
        if fraction is None:
            return ""
        if self.first is None:  # a resumed stage does not start at zero
            self.first, self.start = fraction, time.monotonic()
        done = fraction - self.first
        if done <= 0.01:
            return ""
        seconds = (time.monotonic() - self.start) * (1 - fraction) / done
        return _("{time} left").format(time=human_time(seconds))


def emit(result: dict[str, Any], text: str, as_json: bool) -> None:
    """Print a command's result once: JSON for programs, text for people."""
    click.echo(json.dumps(result, ensure_ascii=False) if as_json else text)
    sys.stdout.flush()
