"""``yaongi lora`` trains an adapter, ``yaongi merge`` writes one into its model."""

from __future__ import annotations

from pathlib import Path

import click

from yaongi.cli.console import emit
from yaongi.cli.options import (
    json_option,
    kind_name,
    model_option,
    next_line,
    out_option,
    overrides_argument,
    recipe_argument,
)
from yaongi.cli.road import road_to
from yaongi.core.artifact import Artifact, open_artifact
from yaongi.core.i18n import translate as _
from yaongi.core.units import human_bytes
from yaongi.model.adapter_io import KIND, read_adapter
from yaongi.model.io import MODEL_KINDS
from yaongi.tune.lora import merge_adapter


@click.command(
    "lora",
    help=_("Fine-tune with an adapter on a recipe's conversations (its section lora): a few "
           "megabytes beside the model, which stays as it is."),
    epilog=_("Example: yaongi lora recipes/lora-chat.yaml --model runs/korean-small/26m/base"),
)  # fmt: skip
@recipe_argument
@overrides_argument
@model_option
@out_option
@json_option
def command(
    recipe: Path, overrides: tuple[str, ...], model: Path | None, out: Path | None, as_json: bool
) -> None:
    """Make the adapter."""
    road = road_to("lora", recipe, overrides, out).begin("tuned", model)
    made, base = road.lora, road.tuned.path
    _tell(made, f"chat {base} --adapter {made.path}", as_json)


@click.command(
    "merge",
    help=_("Write an adapter into its model: a folder like any other, to export or train on."),
    epilog=_("Example: yaongi merge runs/lora --out runs/merged"),
)
@click.argument("adapter", type=click.Path(path_type=Path))
@click.option("--base", "--model", "model", type=click.Path(path_type=Path),
              help=_("The adapter's model, if it is no longer where it was."))  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), required=True,
              help=_("Where the result goes."))  # fmt: skip
@json_option
def merge(adapter: Path, model: Path | None, out: Path, as_json: bool) -> None:
    """Make the merged model."""
    base = model or Path(read_adapter(adapter, verify=False)[1].path)
    made = merge_adapter(open_artifact(adapter, KIND), open_artifact(base, MODEL_KINDS), out)
    _tell(made, f"chat {made.path}", as_json)


def _tell(made: Artifact, next_verb: str, as_json: bool) -> None:
    m = made.manifest
    size = human_bytes(sum(f.bytes for f in m.files.values()))
    told = {"counts": m.counts, "metrics": m.metrics}  # merging counts and measures nothing
    result = {"kind": m.kind, "path": str(made.path), **{k: v for k, v in told.items() if v}}
    text = f"{kind_name(m.kind)}: {made.path} ({size})\n{next_line(next_verb)}"
    emit(result, text, as_json)
