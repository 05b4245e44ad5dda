"""``yaongi run``: the whole road of a recipe, from raw text to a scored model."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import click

from yaongi.cli.console import emit
from yaongi.cli.options import (
    dry_run_option,
    json_option,
    out_option,
    overrides_argument,
    recipe_argument,
)
from yaongi.cli.plan import emit_dry_run
from yaongi.cli.road import Road, read_recipe
from yaongi.core.i18n import translate as _


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
    """Make everything up to the report, then print it."""
    checked = read_recipe(recipe, overrides)
    if dry_run:
        emit_dry_run(checked, as_json)
        return
    road = Road(checked, out)
    report = road.report
    result = {
        "model": str(road.model.path),
        "report": str(report.path),
        "metrics": report.manifest.metrics,
    }
    text = (report.path / "report.md").read_text(encoding="utf-8")
    emit(result, f"{text}\n{next_command(road.model.path, chat=bool(road.recipe.sft))}", as_json)


def next_command(model: Path, *, chat: bool) -> str:
    """What to type now."""
    program = Path(sys.executable).with_name("yaongi")
    if shutil.which("yaongi") or not program.is_file():
        program = Path("yaongi")
    elif program.is_relative_to(Path.cwd()):
        program = program.relative_to(Path.cwd())
    line = f"{program} chat {model}" if chat else f'{program} generate {model} --prompt "..."'
    return _("Next: {command}").format(command=line)
