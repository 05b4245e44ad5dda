"""``yaongi export``: a model as the files other programs read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from yaongi.cli.console import emit, stage
from yaongi.cli.options import json_option
from yaongi.core.i18n import translate as _
from yaongi.interop.targets import TARGETS, export


@click.command(
    help=_("Write a model for other programs: transformers and vLLM (hf), llama.cpp (gguf); or an "
           "adapter (peft)."),
    epilog=_("Example: yaongi export runs/quickstart/5m/sft --to hf --out exported"),
)  # fmt: skip
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--to", "kind", required=True, help=_("The target: {names}.").format(
              names=", ".join(TARGETS)))  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), required=True,
              help=_("Where the result goes."))  # fmt: skip
@click.option("--quant", help=_("gguf: the number format, for example q8_0."))
@click.option("--fallback", help=_("gguf: the format of tensors that --quant cannot divide."))
@click.option("--context-len", type=click.IntRange(min=1),
              help=_("gguf: the longest sequence, where the model does not say."))  # fmt: skip
@click.option("--custom-code", is_flag=True, default=None,
              help=_("hf: with yaongi's own modeling file, for any model."))  # fmt: skip
@click.option("--base", type=click.Path(path_type=Path),
              help=_("peft: the adapter's model, if it is no longer where it was."))  # fmt: skip
@json_option
def command(model: Path, kind: str, out: Path, as_json: bool, **options: Any) -> None:
    """Export."""
    with stage(_("export")):
        facts = export(kind, model, out, **options)
    lines = [f"{name}: {value}" for name, value in facts.items()]
    emit({"out": str(out), **facts}, "\n".join([str(out), *lines]), as_json)
