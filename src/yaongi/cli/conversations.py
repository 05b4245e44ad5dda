"""What a person is told about the conversations a model learns from: broken, leaking, too long."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from yaongi.cli.funnel import funnel
from yaongi.core.artifact import MANIFEST, Artifact, open_artifact
from yaongi.core.i18n import translate as _
from yaongi.core.install import program


@contextmanager
def told(folder: Path) -> Iterator[None]:
    """What became of the rows of the corpus that is made at ``folder``, unless it was there
    already; on stderr, as the stages are."""
    there = (folder / MANIFEST).is_file()
    try:
        yield
    finally:  # also where what follows fails: the next time it is there already
        if not there and (folder / MANIFEST).is_file():
            _tell_corpus(open_artifact(folder, "corpus"))


def _tell_corpus(corpus: Artifact) -> None:
    counts = corpus.manifest.counts
    told: dict[str, int] = {}
    for step in counts["steps"]:
        told |= step["dropped"] | {k: n for k, n in step["changed"].items() if k != "held out"}
    if not told:
        return
    for line in funnel(counts):
        click.echo(line, err=True)
    command = f"{program('yaongi')} data examples {corpus.path}"
    click.echo(_("Examples: {command}").format(command=command), err=True)


def tell_packing(model: Artifact) -> None:
    """How many conversations were learnt from, and why the others were not; on stderr."""
    click.echo(packing(model.manifest.counts["packing"], model.manifest.config), err=True)


def packing(counts: dict[str, Any], settings: dict[str, Any]) -> str:
    """The line for ``PackingReport`` and the settings of the training."""
    parts = [
        _("{n} conversations in {rows} rows of {tokens} tokens, {share:.0%} of them empty").format(
            n=f"{counts['conversations']:,}",
            rows=f"{counts['rows']:,}",
            tokens=settings["seq_len"],
            share=counts["padding"],
        )
    ]
    if counts["too_long"] and settings["truncate"]:
        parts.append(_("{n} cut because longer").format(n=f"{counts['too_long']:,}"))
    elif counts["too_long"]:
        parts.append(
            _("{n} left out because longer (a larger seq_len takes them in, truncate cuts)").format(
                n=f"{counts['too_long']:,}"
            )
        )
    if counts["untrained"]:
        parts.append(_("{n} left out with nothing to learn").format(n=f"{counts['untrained']:,}"))
    return "; ".join(parts)
