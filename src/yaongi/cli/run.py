"""``yaongi run``: the whole road of a recipe, from raw text to a scored model."""

from __future__ import annotations

from pathlib import Path

import click

from yaongi.cli.console import emit
from yaongi.cli.options import (
    dry_run_option,
    json_option,
    next_command,
    out_option,
    overrides_argument,
    recipe_argument,
)
from yaongi.cli.plan import emit_dry_run
from yaongi.cli.recipe import read_recipe
from yaongi.cli.road import Road
from yaongi.core.i18n import translate as _
from yaongi.evals.report import for_terminal
from yaongi.interop.targets import check


@click.command(
    help=_("Run the whole road of a recipe. A stage already done is skipped, an interrupted one "
           "continues. Settings can be overridden: pretrain.minutes=20"),
    epilog=_("Example: yaongi run recipes/korean-small.yaml pretrain.model=61m-a25m"),
)  # fmt: skip
@recipe_argument
@overrides_argument
@out_option
@dry_run_option
@json_option
def command(
    recipe: Path, overrides: tuple[str, ...], out: Path | None, dry_run: bool, as_json: bool
) -> None:
    """Make everything up to the report and the exports, then print it."""
    checked = read_recipe(recipe, overrides)
    if dry_run:
        emit_dry_run(checked, as_json)
        return
    for export in checked.export:  # what is missing at the very end shows before any work
        check(export.to, export.options)
    road = Road(checked, out)
    made = [road.reward] if checked.reward is not None else []
    report = road.report
    exports = road.exports
    result = {
        "model": str(road.model.path),
        "report": str(report.path),
        "metrics": report.manifest.metrics,
        **{artifact.manifest.kind: str(artifact.path) for artifact in made},
        "exports": [str(artifact.path) for artifact in exports],
    }
    text = "\n\n".join([for_terminal(report.path), *result["exports"]])
    chats = road.model.manifest.kind != "base"
    emit(result, f"{text}\n\n{next_command(road.model.path, chat=chats)}", as_json)
