"""``yaongi data examples``: rows that were dropped or stand out, by step and reason."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from yaongi.cli.console import emit
from yaongi.cli.options import json_option
from yaongi.core.artifact import Artifact, open_artifact
from yaongi.core.errors import ConfigError
from yaongi.core.i18n import translate as _
from yaongi.data.splitting import EXAMPLES_FILE, REJECTED
from yaongi.data.wording import reason_name, step_name

SHOWN_CHARS = 200


@click.command(
    "examples",
    help=_("Show rows of a corpus that are broken, copies, evaluation items, or ask the same."),
    epilog=_("Example: yaongi data examples runs/korean-small/chat-corpus --reason asks"),
)
@click.argument("corpus", type=click.Path(path_type=Path))
@click.option("--reason", default="", help=_("Only reasons that contain this text."))
@click.option("-n", "most", type=click.IntRange(1), default=3, show_default=True,
              help=_("Examples of each reason."))  # fmt: skip
@json_option
def command(corpus: Path, reason: str, most: int, as_json: bool) -> None:
    """Print them, the steps in order."""
    opened = open_artifact(corpus, "corpus")
    groups = [
        group
        for group in found(opened)
        if reason in group["reason"] or reason in reason_name(group["reason"])
    ]
    if reason and not groups:
        raise ConfigError(
            "{path} has no rows for a reason with '{reason}' in it. There is: {known}.",
            path=corpus,
            reason=reason,
            known=", ".join(sorted({reason_name(g["reason"]) for g in found(opened)})) or _("none"),
        )
    for group in groups:
        group["examples"] = group["examples"][:most]
    lines = [line for group in groups for line in _lines(group)]
    if groups:
        lines.append(_("Rows that could not be read: {path}").format(path=opened.path / REJECTED))
    text = "\n".join(lines) or _("Nothing was dropped, and nothing stands out.")
    emit({"corpus": str(corpus), "groups": groups}, text, as_json)


def found(corpus: Artifact) -> list[dict[str, Any]]:
    """For each step and reason: how many documents, and those that the corpus keeps to show.

    What was changed or only counted is there where examples are.
    """
    examples: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in map(json.loads, _read(corpus)):
        if not row["kept"]:
            examples.setdefault((row["step"], row["reason"]), []).append(row)
    return [
        {"step": step["step"], "reason": reason, "documents": times,
         "examples": examples.get((step["step"], reason), [])}
        for step in corpus.manifest.counts["steps"]
        for reason, times in (step["dropped"] | step["changed"]).items()
        if reason in step["dropped"] or (step["step"], reason) in examples
    ]  # fmt: skip


def _read(corpus: Artifact) -> Sequence[str]:
    file = corpus.path / EXAMPLES_FILE
    return file.read_text(encoding="utf-8").splitlines() if file.is_file() else []


def _lines(group: Mapping[str, Any]) -> Iterator[str]:
    yield f"{step_name(group['step'])}: {reason_name(group['reason'])} ({group['documents']:,})"
    for row in group["examples"]:
        where = f"{row['file']}:{row['line']}" if row.get("line") else row["source"]
        yield f"  [{where}] {_short(row['text'])}"
        if "like" in row:
            yield f"    ~ {_short(row['like'])}"


def _short(text: str) -> str:
    line = " ⏎ ".join(part for part in text.splitlines() if part.strip())
    return line if len(line) <= SHOWN_CHARS else line[:SHOWN_CHARS] + " …"
