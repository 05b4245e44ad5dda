"""``yaongi chat``: a conversation in the terminal, with history, streaming and slash commands."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

import yaongi
from yaongi.cli.chat.conversation import Conversation
from yaongi.cli.chat.loop import chat
from yaongi.cli.chat.prompt import piped, state_folder, typed
from yaongi.cli.chat.screen import screen
from yaongi.cli.options import adapter_option, opening_options, overflow_option, sampling_options
from yaongi.core.artifact import MANIFEST, open_artifact
from yaongi.core.i18n import translate as _
from yaongi.infer.context import Overflow


@click.command(
    help=_("Talk to a model. Inside, /help lists the commands."),
    epilog=_("Example: yaongi chat runs/quickstart/5m/sft"),
)
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--system", help=_("System prompt."))
@overflow_option(Overflow.DROP_OLDEST.value)
@adapter_option
@opening_options
@sampling_options
def command(
    model: Path,
    system: str | None,
    overflow: str,
    adapter: Path | None,
    opening: dict[str, Any],
    **sampling: Any,
) -> None:
    """Run the loop."""
    loaded = yaongi.load(model, adapter=adapter or (), **opening)
    if opening["compile"]:
        loaded.engine  # noqa: B018  (compiles now, not when somebody waits for an answer)
    if adapter is None and _only_continues(model):
        click.echo(
            _("{path} continues texts; it has not learnt to converse. Fine-tune it "
              "(yaongi sft), or use yaongi generate.").format(path=model),
            err=True,
        )  # fmt: skip
    talk = Conversation(loaded, sampling, system, overflow)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        chat(talk, piped, screen())
        return
    click.echo(_("Talking to {path}. /help lists the commands, Ctrl-D leaves.").format(path=model))
    chat(talk, typed(state_folder(), talk.brief), screen())


def _only_continues(model: Path) -> bool:
    """Whether it is a base model, in full or in few bits."""
    if not (model / MANIFEST).is_file():
        return False
    manifest = open_artifact(model).manifest
    kinds = [manifest.kind, *(node.kind for node in manifest.parents[:1])]
    return kinds[0] == "base" or kinds == ["quantized", "base"]
