"""``yaongi continue``: train a model of ours or an imported one further, on other text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from yaongi.cli.console import emit
from yaongi.cli.options import (
    json_option,
    licence_lines,
    origin_lines,
    out_option,
    overrides_argument,
    recipe_argument,
)
from yaongi.cli.road import road_to
from yaongi.core.artifact import Artifact
from yaongi.core.i18n import translate as _
from yaongi.core.licences import terms


@click.command(
    "continue",
    help=_("Continue pretraining a model on a recipe's text, replaying what it must not forget."),
    epilog=_("Example: yaongi continue recipes/dapt-laws.yaml --model runs/korean-small/26m/base"),
)
@recipe_argument
@overrides_argument
@click.option("--model", type=click.Path(path_type=Path),
              help=_("The model to start from; by default continual.model."))  # fmt: skip
@out_option
@json_option
def command(
    recipe: Path, overrides: tuple[str, ...], model: Path | None, out: Path | None, as_json: bool
) -> None:
    """Continue, then say what changed and what the model's licence asks."""
    named = [] if model is None else [f"continual.model={json.dumps(str(model))}"]
    road = road_to("base", recipe, (*overrides, *named), out)
    _checked = road.start.tokenizer  # what is wrong with model or vocabulary shows before any work
    made = road.base
    licences = imported_licences(road.start.model)
    result = {
        "kind": made.manifest.kind,
        "path": str(made.path),
        "counts": made.manifest.counts,
        "metrics": made.manifest.metrics,
        "licences": made.manifest.licences,
        "terms": [duty for licence in licences for duty in terms(licence)],
    }
    emit(result, "\n".join([*_changes(made), *licence_lines(licences)]), as_json)


def imported_licences(model: Artifact) -> list[str]:
    """The licences of the models that others made and this one comes from."""
    nodes = model.as_ancestor().walk()
    imports = [node for node in nodes if node.kind == "base" and not node.parents]
    return sorted({name for node in imports for name in node.licences})


def _changes(made: Artifact) -> list[str]:
    """A line per domain: bits per byte before and after, and the share of the tokens."""
    metrics: dict[str, Any] = made.manifest.metrics
    mix: dict[str, dict[str, float]] = made.manifest.counts["mix"]
    lines = [f"{made.manifest.kind}: {made.path}", *origin_lines(made)]
    for name in sorted(n for n in metrics if n.startswith("before/val_bpb/")):
        domain = name.rpartition("/")[2]
        lines.append(
            _(
                "{domain}: {before:.3f} -> {after:.3f} bits per byte, {share:.0%} of the tokens"
            ).format(
                domain=domain,
                before=metrics[name],
                after=metrics[f"val_bpb/{domain}"],
                share=mix["reached"].get(domain, 0.0),
            )
        )
    if decided := made.manifest.counts["decisions"]:
        lines.append(
            _("The controller changed the shares {n} times; see {figure}.").format(
                n=len(decided), figure=made.path / "forgetting.svg"
            )
        )
    return lines
