"""``yaongi data report``: a corpus on one HTML page, and the same numbers as JSON."""

from __future__ import annotations

from pathlib import Path

import click

from yaongi.cli.console import emit, stage
from yaongi.cli.options import json_option
from yaongi.core.artifact import Artifact, open_artifact
from yaongi.core.errors import ConfigError
from yaongi.core.files import storage_errors, write_bytes
from yaongi.core.i18n import translate as _
from yaongi.core.units import human_bytes
from yaongi.data.report import Mix, Report, corpus_report


@click.command(
    "report",
    help=_("Show a corpus on one HTML page: what each step dropped, what is left, from where."),
    epilog=_("Example: yaongi data report runs/corpus --mix recipes/korean-small.yaml"),
)
@click.argument("corpus", type=click.Path(path_type=Path))
@click.option(
    "--mix",
    type=click.Path(path_type=Path),
    help=_("A recipe, or a model trained on this corpus, whose mix to compare with."),
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help=_("Where the page goes; default CORPUS-report.html beside the corpus."),
)
@json_option
def command(corpus: Path, mix: Path | None, out: Path | None, as_json: bool) -> None:
    """Write the page."""
    opened = open_artifact(corpus, "corpus")
    file = _page_of(opened, out)
    wanted = mix and _mix_of(mix, opened)
    with stage(_("report")) as progress:
        report = corpus_report(opened, mix=wanted, on_progress=progress)
        size = _write(report, file)
    text = _("Report: {path} ({size})", path=file, size=human_bytes(size))
    emit({**report.as_json(), "page": str(file)}, text, as_json)


def _page_of(corpus: Artifact, out: Path | None) -> Path:
    """The file to write, which is never inside the corpus."""
    folder = corpus.path.resolve()
    file = out or folder.with_name(f"{folder.name}-report.html")
    if file.is_dir():
        raise ConfigError("{path} is a folder; --out names the HTML file.", path=file)
    if folder in file.resolve().parents:
        raise ConfigError(
            "{path} is inside the corpus, and finished artifacts are never edited. "
            "Choose another --out.",
            path=file,
        )
    return file


def _write(report: Report, file: Path) -> int:
    from yaongi.data.report.page import page

    text = page(report).encode()
    with storage_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(file, text)
    return len(text)


def _mix_of(path: Path, corpus: Artifact) -> Mix:
    """The mix of a recipe (a file) or a model (a folder).

    Raises:
        ConfigError: the model was not made from ``corpus``.
    """
    if not path.is_dir():
        from yaongi.cli.recipe import read_recipe

        return Mix(str(path), read_recipe(path).mix)
    model = open_artifact(path, "base")
    made_from = model.as_ancestor().nearest("corpus")
    if made_from is None or made_from.hash != corpus.hash:
        raise ConfigError(
            "{model} was not trained on {corpus} but on {found}.",
            model=path,
            corpus=corpus.path,
            found=made_from.path if made_from else "?",
        )
    counts = model.manifest.counts
    return Mix(str(path), counts["mix"]["asked"], counts["mix"]["reached"], counts["epochs"])
