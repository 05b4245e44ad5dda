"""``yaongi reward``: train a model that judges answers, and measure one."""

from __future__ import annotations

from pathlib import Path

import click

from yaongi.cli.console import emit
from yaongi.cli.dpo import summarise
from yaongi.cli.options import (
    json_option,
    model_option,
    next_line,
    out_option,
    overrides_argument,
    recipe_argument,
)
from yaongi.cli.road import road_to
from yaongi.core.artifact import open_artifact
from yaongi.core.i18n import translate as _
from yaongi.core.intervals import wilson
from yaongi.data.pairs import KIND as PAIRS
from yaongi.tune.reward import evaluate_reward, load_reward


@click.group(help=_("A model that judges which of two answers is better."))
def command() -> None:
    """Verbs of the reward model."""


@command.command(
    "train",
    help=_("Make a reward model of a recipe's fine-tuned model, or of the one given."),
    epilog=_("Example: yaongi reward train my.yaml --model runs/my/26m/sft --out runs/reward"),
)
@recipe_argument
@overrides_argument
@model_option
@out_option
@json_option
def train(
    recipe: Path, overrides: tuple[str, ...], model: Path | None, out: Path | None, as_json: bool
) -> None:
    """Make the reward model, then say how it does on held-out pairs."""
    road = road_to("reward", recipe, overrides, out).begin("adapted", model)
    made = road.reward
    judge = f"reward evaluate {made.path} {road.folder('reward-pairs')}"
    if made.manifest.config["truncate"]:
        judge += " --truncate"
    summarise(made, next_line(judge), as_json)


@command.command(
    "evaluate",
    help=_("How often a reward model gives the chosen answer more."),
    epilog=_("Example: yaongi reward evaluate runs/my/26m/reward runs/my/reward-pairs"),
)
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("pairs", type=click.Path(path_type=Path))
@click.option("--split", type=click.Choice(["train", "val"]), default="val", show_default=True,
              help=_("Which of the pairs."))  # fmt: skip
@click.option(
    "--truncate",
    is_flag=True,
    help=_("Judge longer answers by their beginning instead of leaving them out."),
)
@json_option
def evaluate(model: Path, pairs: Path, split: str, truncate: bool, as_json: bool) -> None:
    """Measure the accuracy."""
    found = evaluate_reward(
        load_reward(model), open_artifact(pairs, PAIRS), split=split, truncate=truncate
    )
    n = int(found["pairs"])
    low, high = wilson(round(found["accuracy"] * n), n)
    text = _(
        "The chosen answer gets more in {accuracy:.1%} of {n} pairs ({low:.1%} to {high:.1%}); "
        "margin {margin:.3f}, loss {loss:.3f}. The chosen answer is the longer one in {longer:.1%}."
    ).format(
        low=low,
        high=high,
        n=n,
        longer=found["chosen_longer"],
        **{k: found[k] for k in ("accuracy", "margin", "loss")},
    )
    if found["left_out"]:
        text += " " + _(
            "{n} pairs are longer than the model's context and were left out; --truncate judges "
            "them by their beginning."
        ).format(n=int(found["left_out"]))
    emit({**found, "low": low, "high": high}, text, as_json)
