"""Where the user's messages come from: a terminal with history and keys, or lines of a pipe."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

from yaongi.cli.chat.commands import COMMANDS
from yaongi.core.errors import os_reason

try:
    import termios
except ModuleNotFoundError:  # Windows has none
    termios = None

Ask = Callable[[], str]
"""The next message; raises EOFError at the end and KeyboardInterrupt at Ctrl-C."""

TAKES_PATH = ("/save", "/load")


def piped() -> str:
    """A message from stdin: a line, and more lines while they end with a backslash."""
    lines: list[str] = []
    while True:
        line = sys.stdin.buffer.readline()
        if not line and not lines:
            raise EOFError
        text = line.decode(errors="replace").rstrip("\r\n")
        lines.append(text.removesuffix("\\"))
        if not text.endswith("\\"):
            return "\n".join(lines)


def typed(state: Path, status: Callable[[], str], **session: Any) -> Ask:
    """Messages typed at a terminal.

    Args:
        state: the folder that keeps the history.
        status: a line below the input.
        session: for ``PromptSession``; tests give its input and output.
    """
    asks: PromptSession[str] = PromptSession(
        history=history(state),
        multiline=True,
        key_bindings=_keys(),
        completer=Commands(),
        bottom_toolbar=status,
        prompt_continuation="… ",
        **session,
    )
    return lambda: whole(asks.prompt("> "))


@contextmanager
def unechoed() -> Generator[None]:
    """What is typed meanwhile is not drawn (``^C`` neither); it is there for the next prompt."""
    if termios is None or not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    without = [*before[:3], before[3] & ~termios.ECHO, *before[4:]]
    termios.tcsetattr(sys.stdin, termios.TCSADRAIN, without)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def whole(text: str) -> str:
    """``text`` as Unicode: bytes of a paste that were none become U+FFFD."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def state_folder() -> Path:
    """Where the user's programs keep what they remember (XDG base directories)."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "yaongi"


def history(state: Path) -> History:
    """What was typed before, for the user alone; only of this session if it cannot be kept."""
    path = state / "chat_history"
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600))
        path.chmod(0o600)
    except OSError as error:
        click.echo(f"{path}: {os_reason(error)}", err=True)
        return InMemoryHistory()
    return _Kept(str(path))


class _Kept(FileHistory):
    def store_string(self, string: str) -> None:
        super().store_string(whole(string))


class Commands(Completer):
    """Completes commands, and the files of those that take one."""

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        """What can follow the cursor."""
        name, space, rest = document.text_before_cursor.partition(" ")
        if not name.startswith("/") or "\n" in rest:
            return
        if space and name in TAKES_PATH:
            yield from PathCompleter(expanduser=True).get_completions(
                Document(rest), complete_event
            )
        elif not space:
            for command, what in COMMANDS.items():
                if command.startswith(name):
                    yield Completion(command, -len(name), display_meta=what.help)


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter")
    def _send(event: KeyPressEvent) -> None:  # pyright: ignore[reportUnusedFunction]
        buffer = event.current_buffer
        if buffer.document.text_before_cursor.endswith("\\"):
            buffer.delete_before_cursor()
            buffer.insert_text("\n")
        else:
            buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def _break(event: KeyPressEvent) -> None:  # pyright: ignore[reportUnusedFunction]
        event.current_buffer.insert_text("\n")

    return keys
