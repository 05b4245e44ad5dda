"""``yaongi chat``: a conversation in the terminal, with history, streaming and slash commands."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

import yaongi
from yaongi.cli.options import adapter_option, sampling_options
from yaongi.core.artifact import MANIFEST, open_artifact
from yaongi.core.errors import InputError
from yaongi.core.i18n import translate as _

Ask = Callable[[], str]


class Chat:
    """One conversation: the messages so far and the commands that change them."""

    def __init__(self, model: Any, sampling: dict[str, Any], system: str | None) -> None:
        self.model = model
        self.sampling = sampling
        self.system = system
        self.turns: list[dict[str, Any]] = []
        self.commands: dict[str, tuple[Callable[[str], str], str]] = {
            "/help": (self.help, _("this list")),
            "/reset": (self.reset, _("forget the conversation")),
            "/system": (self.set_system, _("set the system prompt: /system TEXT")),
            "/history": (self.history, _("show the conversation")),
            "/quit": (lambda _rest: "", _("leave (also Ctrl-D)")),
        }

    def messages(self) -> list[dict[str, Any]]:
        """The conversation as the model sees it."""
        head = [{"role": "system", "content": self.system}] if self.system else []
        return head + self.turns

    def answer(self, text: str) -> Iterator[str]:
        """Stream the reply to ``text``; an interrupted or empty one leaves no half turn behind."""
        asked = {"role": "user", "content": text}
        reply = ""
        for piece in self.model.chat([*self.messages(), asked], stream=True, **self.sampling):
            reply += piece
            yield piece
        if reply.strip():
            self.turns += [asked, {"role": "assistant", "content": reply}]

    def command(self, line: str) -> str:
        """Run a slash command and return what to print."""
        name, _space, rest = line.partition(" ")
        if name not in self.commands:
            return _("{name} is not a command; /help lists them.").format(name=name)
        return self.commands[name][0](rest.strip())

    def help(self, _rest: str) -> str:
        """The commands, a line each."""
        return "\n".join(f"  {name:<10}{text}" for name, (_f, text) in self.commands.items())

    def reset(self, _rest: str) -> str:
        """Forget all turns."""
        self.turns = []
        return _("The conversation is empty now.")

    def set_system(self, rest: str) -> str:
        """Set or clear the system prompt."""
        self.system = rest or None
        return _("System prompt: {text}").format(text=rest or _("none"))

    def history(self, _rest: str) -> str:
        """All messages, one per line."""
        return "\n".join(f"{m['role']}: {m['content']}" for m in self.messages())


def talk(chat: Chat, ask: Ask) -> None:
    """Read, answer, repeat until the end of input or /quit."""
    while True:
        try:
            line = ask().strip()
        except EOFError:
            return
        except KeyboardInterrupt:
            continue
        if line == "/quit":
            return
        if line.startswith("/"):
            click.echo(chat.command(line))
        elif line:
            _print_reply(chat, line)


def _print_reply(chat: Chat, line: str) -> None:
    try:
        for piece in chat.answer(line):
            click.echo(piece, nl=False)
    except KeyboardInterrupt:
        click.echo(_(" (stopped; this turn is not kept)"), nl=False)
    except InputError as error:  # e.g. the conversation no longer fits the context
        click.echo(str(error), nl=False, err=True)
    click.echo()


def _asker() -> Ask:
    if not sys.stdin.isatty():
        return _read_line
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import FileHistory

    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "yaongi"
    state.mkdir(parents=True, exist_ok=True)
    session: PromptSession[str] = PromptSession(history=FileHistory(str(state / "chat_history")))
    return lambda: session.prompt("> ")


def _read_line() -> str:
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line


@click.command(
    help=_("Talk to a model. Inside, /help lists the commands."),
    epilog=_("Example: yaongi chat runs/quickstart/5m/sft"),
)
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--system", help=_("System prompt."))
@adapter_option
@sampling_options
def command(model: Path, system: str | None, adapter: Path | None, **sampling: Any) -> None:
    """Run the loop."""
    loaded = yaongi.load(model, adapter=adapter or ())
    told = (model / MANIFEST).is_file() and open_artifact(model).manifest.kind
    if adapter is None and told == "base":
        click.echo(
            _("{path} continues texts; it has not learnt to converse. Fine-tune it "
              "(yaongi sft), or use yaongi generate.").format(path=model),
            err=True,
        )  # fmt: skip
    if sys.stdin.isatty():
        click.echo(
            _("Talking to {path}. /help lists the commands, Ctrl-D leaves.").format(path=model)
        )
    talk(Chat(loaded, sampling, system), _asker())
