"""``yaongi trace``: the ancestry of an artifact back to raw sources and licences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    emit({"artifact": str(artifact), "ancestry": result}, "\n".join(_lines(rows)), as_json)


def _lines(rows: Sequence[tuple[int, Ancestor]]) -> Iterator[str]:
    """The tree; an entry met before is only named."""
    seen: set[tuple[str, str]] = set()
    branches = _branches([depth for depth, _node in rows])
    for branch, (_depth, node) in zip(branches, rows, strict=True):
        name = f"{branch}{node.kind}  {node.hash[:12]}"
        if node.identity in seen:
            yield "  ".join([name, _("(see above)")])
        else:
            licences = ", ".join(node.licences) or _("no licence recorded")
            place = _("{path} (from {origin})", path=node.path, origin=node.origin)
            yield f"{name}  {place if node.origin else node.path}  [{licences}]"
        seen.add(node.identity)


def _branches(depths: Sequence[int]) -> Iterator[str]:
    """What is drawn before each line of a tree, given the depths of the lines."""
    more: list[bool] = []  # by depth: whether a sibling of the entry there follows
    for row, depth in enumerate(depths):
        follows = next((later for later in depths[row + 1 :] if later <= depth), None) == depth
        more[depth:] = [follows]
        stems = "".join("│  " if open_ else "   " for open_ in more[1:depth])
        yield stems + ("├─ " if follows else "└─ ") if depth else ""
