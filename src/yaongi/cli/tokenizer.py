"""``yaongi tokenizer report``: how tokenizers spend their tokens, side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import click
from datatrove.data import Document

from yaongi.cli.console import emit, stage
from yaongi.cli.eval import unchanged
from yaongi.cli.options import json_option
from yaongi.core.artifact import MANIFEST, Artifact, open_artifact
from yaongi.core.errors import ConfigError, DataError
from yaongi.core.files import write_bytes
from yaongi.core.i18n import translate as _
from yaongi.core.seeds import Seed
from yaongi.core.units import human_bytes
from yaongi.data.corpus import domains_of, read_corpus
from yaongi.data.sources import Reading
from yaongi.data.sources.files import FilesSource
from yaongi.data.synthetic import DOMAINS, documents
from yaongi.evals.report import grid
from yaongi.text.bars import Panel, svg
from yaongi.text.foreign import load_tokenizer
from yaongi.text.report import DomainReport, TokenizerReport
from yaongi.text.report import report as measured

MAX_BYTES = 5_000_000
"""Of each domain; more would not change what is shown."""

_EMBEDDED_BYTES = 200_000  # of each domain


class Texts(NamedTuple):
    """What tokenizers are measured on, and what to call it."""

    origin: str
    domains: Mapping[str, Sequence[str]]


@click.command(
    "report",
    help=_("Compare tokenizers: tokens per syllable and eojeol, bytes per token, and more."),
    epilog=_("Example: yaongi tokenizer report runs/tok --against other-model/ --data news.jsonl"),
)
@click.argument("tokenizers", nargs=-1, required=True, metavar="DIR...",
                type=click.Path(path_type=Path))  # fmt: skip
@click.option("--against", multiple=True, type=click.Path(path_type=Path),
              help=_("Another tokenizer: any folder with tokenizer.json; repeatable."))  # fmt: skip
@click.option("--data", "paths", multiple=True, type=click.Path(path_type=Path),
              help=_("Text to measure on, a file, folder or corpus; repeatable. Default: what was "
                     "held out of the corpus the first one was trained on, else the embedded "
                     "corpus."))  # fmt: skip
@click.option("--plot", type=click.Path(path_type=Path), help=_("Also draw it, as an .svg file."))
@json_option
def report(
    tokenizers: tuple[Path, ...],
    against: tuple[Path, ...],
    paths: tuple[Path, ...],
    plot: Path | None,
    as_json: bool,
) -> None:
    """Measure and show."""
    if plot is not None and plot.suffix.lower() != ".svg":
        raise ConfigError("{path}: plots are written as .svg; give such a name.", path=plot)
    opened = {str(folder): load_tokenizer(folder) for folder in dict.fromkeys(tokenizers + against)}
    texts = _given(paths) if paths else _default(tokenizers[0])
    found: dict[str, TokenizerReport] = {}
    with stage(_("measuring")) as progress:
        for i, (name, tokenizer) in enumerate(opened.items()):
            progress(i / len(opened), name)
            found[name] = measured(tokenizer, texts.domains)
    if plot is not None:
        write_bytes(plot, svg(_panels(found)).encode())
    result = {
        "text": texts.origin,
        "tokenizers": {name: each.as_json() for name, each in found.items()},
        "plot": str(plot) if plot else None,
    }
    emit(result, "\n\n".join(_shown(texts, found)), as_json)


def _given(paths: Sequence[Path]) -> Texts:
    """The files the user names, each a domain; of a corpus, what it holds out."""
    domains: dict[str, Sequence[str]] = {}
    for path in paths:
        if (path / MANIFEST).is_file():
            domains |= _held_out(open_artifact(path, "corpus"))
        else:
            rows = FilesSource(path=str(path.absolute())).read(Reading(root=path.parent))
            name = path.name.partition(".")[0]
            domains[str(path) if name in {*domains, ""} else name] = _upto(rows, MAX_BYTES)
    return Texts(", ".join(map(str, paths)), domains)


def _default(tokenizer: Path) -> Texts:
    """What was held out of the corpus a tokenizer comes from, else the embedded corpus."""
    if (tokenizer / MANIFEST).is_file():
        node = open_artifact(tokenizer).as_ancestor().nearest("corpus")
        corpus = unchanged(node).get("corpus") if node else None
        if corpus is not None and domains_of(corpus, "val"):
            origin = _("held out of {path}").format(path=corpus.path)
            return Texts(origin, _held_out(corpus))
    read = {domain: _upto(documents(Seed(0), "val", domain), _EMBEDDED_BYTES) for domain in DOMAINS}
    return Texts(_("the embedded corpus, as no held-out text was found (see --data)"), read)


def _held_out(corpus: Artifact) -> dict[str, Sequence[str]]:
    domains = domains_of(corpus, "val")
    if not domains:
        raise DataError("{path} holds no text out for validation.", path=corpus.path)
    return {name: _upto(read_corpus(corpus, "val", name), MAX_BYTES) for name in domains}


def _upto(rows: Iterable[Document], most: int) -> list[str]:
    """The first texts, ``most`` bytes of them."""
    found: list[str] = []
    size = 0
    for document in rows:
        found.append(document.text)
        size += len(document.text.encode(errors="surrogatepass"))
        if size >= most:
            break
    return found


def _shown(texts: Texts, found: Mapping[str, TokenizerReport]) -> list[str]:
    """A table of the tokenizers, one for each domain, and what they were measured on."""
    names = list(found)
    head = [_("tokenizer"), _("vocabulary"), "KS X 1001", _("syllables"), _("never used")]
    shown = [
        grid(
            head,
            [
                [name, f"{r.vocab_size:,}", f"{r.ks_x_1001:,}", f"{r.all_syllables:,}",
                 f"{r.never_used:,}"]
                for name, r in found.items()
            ],
        )
    ]  # fmt: skip
    for domain in texts.domains:
        head = [domain, _("tokens/syllable"), _("tokens/eojeol"), _("bytes/token"),
                _("partial UTF-8"), _("decomposed")]  # fmt: skip
        shown.append(grid(head, [[n, *_cells(found[n].domains[domain])] for n in names]))
    sizes = ", ".join(
        f"{name} {human_bytes(each.bytes)}" for name, each in found[names[0]].domains.items()
    )
    shown.append(_("Text: {origin} ({sizes}).").format(origin=texts.origin, sizes=sizes))
    shown.append(
        _("KS X 1001, syllables: how many of the 2,350 and of all 11,172 are one token. "
          "Decomposed: tokens of the same text in NFD, times as many.")
    )  # fmt: skip
    return shown


def _cells(domain: DomainReport) -> list[str]:
    partial, blowup = domain.partial_utf8, domain.nfd_blowup
    return [
        _number(domain.tokens_per_syllable),
        _number(domain.tokens_per_eojeol),
        _number(domain.bytes_per_token),
        "–" if partial is None else f"{partial:.2%}",
        "–" if blowup is None else f"{blowup:.1f}×",
    ]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _panels(found: Mapping[str, TokenizerReport]) -> list[Panel]:
    """Bars of tokens per syllable where there is Korean, of bytes per token everywhere."""
    names = list(found)
    titles = {
        "tokens_per_syllable": _("tokens per syllable (fewer is better)"),
        "bytes_per_token": _("bytes per token (more is better)"),
    }
    panels: list[Panel] = []
    for field, title in titles.items():
        rows: dict[str, list[float]] = {}
        for domain in found[names[0]].domains:
            values = [getattr(found[name].domains[domain], field) for name in names]
            if None not in values:
                rows[domain] = values
        if rows:
            panels.append(Panel(title, names, rows))
    return panels
