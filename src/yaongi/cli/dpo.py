"""``yaongi dpo``: teach a model which of two answers is preferred."""

from __future__ import annotations

from pathlib import Path

import click

from yaongi.cli.console import emit
from yaongi.cli.options import (
    json_option,
    kind_name,
    model_option,
    next_command,
    out_option,
    overrides_argument,
    recipe_argument,
)
from yaongi.cli.road import road_to
from yaongi.core.artifact import Artifact
from yaongi.core.i18n import translate as _


@click.command(
    help=_("Learn from a recipe's pairs of answers which one is preferred (DPO, IPO, SimPO, ORPO): "
           "its own fine-tuned model, or the one given."),
    epilog=_("Example: yaongi dpo my.yaml --model runs/my/26m/sft dpo.train.loss=simpo"),
)  # fmt: skip
@recipe_argument
@overrides_argument
@model_option
@out_option
@json_option
def command(
    recipe: Path, overrides: tuple[str, ...], model: Path | None, out: Path | None, as_json: bool
) -> None:
    """Make the model that prefers, then say how it does on held-out pairs."""
    made = road_to("dpo", recipe, overrides, out).begin("adapted", model).dpo
    summarise(made, next_command(made.path, chat=True), as_json)


def summarise(made: Artifact, then: str, as_json: bool) -> None:
    """What was learnt from how many pairs, and what to do next."""
    m = made.manifest
    result = {"kind": m.kind, "path": str(made.path), "counts": m.counts, "metrics": m.metrics}
    used = m.counts["pairs"]
    lines = [
        f"{kind_name(m.kind)}: {made.path}",
        _("pairs: {pairs}; too long: {long}; tokens of a chosen and a rejected answer on average: "
          "{chosen:.0f} and {rejected:.0f}").format(
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
    emit(result, "\n".join([*lines, then]), as_json)
