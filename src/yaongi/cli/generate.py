"""``yaongi generate``: continue a text with a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import yaongi
from yaongi.cli.console import emit
from yaongi.cli.options import adapter_option, json_option, opening_options, sampling_options
from yaongi.cli.printable import printable
from yaongi.core.i18n import translate as _


@click.command(
    help=_("Continue a text with a model."),
    epilog=_('Example: yaongi generate runs/quickstart/5m/base --prompt "옛날 어느 마을에"'),
)
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--prompt", required=True, help=_("The text to continue."))
@adapter_option
@opening_options
@sampling_options
@json_option
def command(
    model: Path,
    prompt: str,
    adapter: Path | None,
    opening: dict[str, Any],
    as_json: bool,
    **sampling: Any,
) -> None:
    """Print the continuation, streaming unless JSON was asked for."""
    loaded = yaongi.load(model, adapter=adapter or (), **opening)
    if as_json:
        text = loaded.generate(prompt, **sampling)
        emit({"prompt": prompt, "text": text}, text, as_json=True)
        return
    for piece in loaded.generate(prompt, stream=True, **sampling):
        click.echo(printable(piece), nl=False)
    click.echo()
