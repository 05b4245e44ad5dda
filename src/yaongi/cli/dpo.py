"""``yaongi dpo``: teach a model which of two answers is preferred."""

from __future__ import annotations

from pathlib import Path

import click

from yaongi.cli.console import emit
from yaongi.cli.options import json_option, out_option, overrides_argument, recipe_argument
from yaongi.cli.recipe import read_recipe
from yaongi.cli.road import Road
from yaongi.cli.start import tokenizer_of
from yaongi.core.artifact import Artifact, open_artifact
from yaongi.core.i18n import translate as _
from yaongi.model.io import MODEL_KINDS


@click.command(
    help=_("Learn from a recipe's pairs of answers which one is preferred (DPO, IPO, SimPO, ORPO): "
           "its own fine-tuned model, or the one given."),
    epilog=_("Example: yaongi dpo my.yaml --model runs/my/26m/sft dpo.train.loss=simpo"),
)  # fmt: skip
@recipe_argument
@overrides_argument
@click.option("--model", type=click.Path(path_type=Path), help=_("A model to start from."))
@out_option
@json_option
def command(
    recipe: Path, overrides: tuple[str, ...], model: Path | None, out: Path | None, as_json: bool
) -> None:
    """Make the model that prefers, then say how it does on held-out pairs."""
    made = road_from(recipe, overrides, model, "dpo", out).dpo
    summarise(made, as_json)


def road_from(
    recipe: Path, overrides: tuple[str, ...], model: Path | None, name: str, out: Path | None
) -> Road:
    """The road of a recipe, of which a finished model may stand for the part before preferences."""
    road = Road(read_recipe(recipe, overrides), at={name: out} if out else None)
    if model is not None:
        road.adapted = open_artifact(model, MODEL_KINDS)
        road.tokenizer = tokenizer_of(road.adapted)
    return road


def summarise(made: Artifact, as_json: bool) -> None:
    """What was learnt from how many pairs."""
    m = made.manifest
    result = {"kind": m.kind, "path": str(made.path), "counts": m.counts, "metrics": m.metrics}
    used = m.counts["pairs"]
    lines = [
        f"{m.kind}: {made.path}",
        _("{pairs} pairs; answers of {chosen:.0f} and {rejected:.0f} tokens on average; "
          "{long} pairs were too long.").format(
              pairs=used["pairs"], chosen=used["chosen_tokens"],
              rejected=used["rejected_tokens"], long=used["too_long"]),
    ]  # fmt: skip
    if "val_accuracy" in m.metrics:
        told = _(
            "Held out: the chosen answer wins in {accuracy:.1%} of {n} pairs; margin {margin:.3f}."
        )
        lines.append(
            told.format(
                accuracy=m.metrics["val_accuracy"],
                n=m.counts["val_pairs"]["pairs"],
                margin=m.metrics["val_margin"],
            )
        )
    emit(result, "\n".join(lines), as_json)
