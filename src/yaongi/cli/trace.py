"""``yaongi trace``: the ancestry of an artifact back to raw sources and licences."""

from __future__ import annotations

from pathlib import Path

import click

from yaongi.cli.console import emit
from yaongi.cli.options import json_option
from yaongi.core.artifact import Ancestor, open_artifact, trace
from yaongi.core.i18n import translate as _


@click.command(
    help=_("Print where an artifact came from: every stage back to raw sources and licences."),
    epilog=_("Example: yaongi trace runs/quickstart/5m/sft"),
)
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option("--verify", is_flag=True, help=_("Also check every file against its hash."))
@json_option
def command(artifact: Path, verify: bool, as_json: bool) -> None:
    """Print the tree."""
    if verify:
        open_artifact(artifact).verify()
    rows = trace(artifact)
    result = [{"depth": depth, **node.model_dump(exclude={"parents"})} for depth, node in rows]
    emit({"artifact": str(artifact), "ancestry": result}, "\n".join(map(_line, rows)), as_json)


def _line(row: tuple[int, Ancestor]) -> str:
    depth, node = row
    licences = ", ".join(node.licences) or _("no licence recorded")
    branch = "   " * (depth - 1) + "└─ " if depth else ""
    return f"{branch}{node.kind}  {node.hash[:12]}  {node.path}  [{licences}]"
