"""``yaongi serve``: a model behind OpenAI's HTTP interface, with a chat page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import yaongi
from yaongi.cli.options import opening_options, overflow_option
from yaongi.core.config import parse
from yaongi.core.i18n import translate as _
from yaongi.serve.limits import Limits
from yaongi.serve.run import serve

DEFAULT = Limits()
GGUF_ROWS = 4


@click.command(
    help=_(
        "Answer requests of OpenAI's HTTP interface, and show a chat page. Only this machine "
        "reaches it unless --host says otherwise; then YAONGI_API_KEY must hold a key."
    ),
    epilog=_("Example: yaongi serve runs/quickstart/5m/sft --port 8000"),
)
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--adapter",
    type=click.Path(path_type=Path),
    multiple=True,
    help=_("An adapter of this model, a model of its own to clients; repeatable."),
)
@opening_options
@overflow_option("error")
@click.option("--temperature", type=click.FloatRange(0, 2),
              help=_("What a request gets that gives none; if not given, the model's own, or "
                     "OpenAI's 1. 0 always takes the most likely token."))  # fmt: skip
@click.option("--name", help=_("What clients call the model; its folder's name by default."))
@click.option("--host", default="127.0.0.1", show_default=True, help=_("Address to listen on."))
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True,
              help=_("Port to listen on; 0 takes a free one."))  # fmt: skip
@click.option(
    "--host-name", multiple=True, help=_("A name other machines reach it by; repeatable.")
)
@click.option("--rows", type=click.IntRange(1),
              help=_("Answers in the making at a time; {rows}, and {gguf} for a GGUF, for each of "
                     "which memory is set aside.", rows=DEFAULT.rows, gguf=GGUF_ROWS))  # fmt: skip
@click.option("--queue", type=click.IntRange(0), default=DEFAULT.queue, show_default=True,
              help=_("Answers that may wait; more are refused."))  # fmt: skip
@click.option("--time-s", type=click.FloatRange(0, min_open=True), default=DEFAULT.time_s,
              show_default=True,
              help=_("Longest time for an answer, waiting included."))  # fmt: skip
def command(
    model: Path,
    adapter: tuple[Path, ...],
    opening: dict[str, Any],
    overflow: str,
    temperature: float | None,
    name: str | None,
    host: str,
    port: int,
    host_name: tuple[str, ...],
    rows: int | None,
    queue: int,
    time_s: float,
) -> None:
    """Load, announce the address, serve."""
    loaded = yaongi.load(model, adapter=adapter, max_rows=rows or GGUF_ROWS, **opening)
    called = name or model.resolve().name
    shown = f"[{host}]" if ":" in host else host

    def ready(port: int) -> None:
        click.echo(
            _("{name} answers at http://{host}:{port} (OpenAI: /v1). Ctrl-C ends it.").format(
                name=called, host=shown, port=port
            )
        )

    limits = {"rows": rows or DEFAULT.rows, "queue": queue, "time_s": time_s}
    serve(
        loaded,
        called,
        host=host,
        port=port,
        host_names=host_name,
        limits=parse(Limits, limits),
        overflow=overflow,
        sampling={} if temperature is None else {"temperature": temperature},
        ready=ready,
    )
