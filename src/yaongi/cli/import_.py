"""``yaongi import``: a model of ``transformers`` as an artifact, to continue, tune, chat with."""

from __future__ import annotations

from pathlib import Path

import click

from yaongi.cli.console import emit, stage
from yaongi.cli.options import json_option, licence_lines
from yaongi.core.i18n import translate as _
from yaongi.core.licences import terms
from yaongi.interop.hf import import_hf


@click.command(
    "import",
    help=_("Take in a model in the layout of transformers: a folder with safetensors and JSON."),
    epilog=_("Example: yaongi import downloads/Qwen3-0.6B --out runs/qwen3"),
)
@click.argument("source", metavar="SRC", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True,
              help=_("Where the result goes."))  # fmt: skip
@click.option("--i-trust-this-file", "trust", is_flag=True,
              help=_("Read .bin/.pt weights: pickles, which can hide programs."))  # fmt: skip
@json_option
def command(source: Path, out: Path, trust: bool, as_json: bool) -> None:
    """Import, then say what the licence asks."""
    with stage(_("import")):
        made = import_hf(source, out, trust_pickle=trust)
    manifest = made.manifest
    result = {
        "out": str(out),
        "architecture": manifest.config["architecture"],
        "parameters": manifest.counts["parameters"],
        "licences": manifest.licences,
        "terms": [duty for licence in manifest.licences for duty in terms(licence)],
    }
    line = _("{out}: {architecture}, {count:,} parameters").format(
        out=out, architecture=result["architecture"], count=result["parameters"]
    )
    emit(result, "\n".join([line, *licence_lines(manifest.licences)]), as_json)
