"""``yaongi grpo``: reinforcement learning from rewards that can be checked."""

from __future__ import annotations

from pathlib import Path

import click

from yaongi.cli.console import emit
from yaongi.cli.options import (
    json_option,
    model_option,
    next_command,
    out_option,
    overrides_argument,
    recipe_argument,
)
from yaongi.cli.road import road_to
from yaongi.core.i18n import translate as _


@click.command(
    help=_("Let a model learn from rewards of its own answers: the recipe's model, or the one "
           "given. An interrupted run continues where it stopped."),
    epilog=_("Example: yaongi grpo recipes/grpo-sums.yaml --model runs/quickstart/5m/sft"),
)  # fmt: skip
@recipe_argument
@overrides_argument
@model_option
@out_option
@json_option
def command(
    recipe: Path, overrides: tuple[str, ...], model: Path | None, out: Path | None, as_json: bool
) -> None:
    """Train, then say what the rewards came to."""
    made = road_to("grpo", recipe, overrides, out).begin("preferring", model).grpo
    metrics = made.manifest.metrics
    counts = made.manifest.counts
    result = {"path": str(made.path), "kind": "grpo", "counts": counts, "metrics": metrics}
    text = _("{path}: {steps} steps from {rollouts} rollouts, mean reward {reward:.3f}").format(
        path=made.path,
        steps=counts["steps"],
        rollouts=counts["rollouts"],
        reward=metrics["reward"],
    )
    emit(result, f"{text}\n{next_command(made.path, chat=True)}", as_json)
