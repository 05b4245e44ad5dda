"""A corpus on one page: what came in, what each step took away and why, and what is left.

``corpus_report`` gathers the numbers, ``page`` writes them as one HTML file that needs nothing
else: no network, no script, no font. Funnels and samples of what was dropped are how the authors
of C4, Gopher and FineWeb judge a cleaning pipeline; here every corpus brings its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from yaongi.core.artifact import Artifact
from yaongi.core.files import plain
from yaongi.data.report.tables import (
    Domain,
    Licence,
    Mix,
    MixRow,
    Source,
    Step,
    domains_in,
    duplicate_steps,
    licences_of,
    mix_rows,
    mix_warnings,
    sources_of,
    steps_of,
)
from yaongi.data.report.texts import Measured, measure
from yaongi.data.wording import said

__all__ = ["Mix", "Report", "corpus_report"]


@dataclass(frozen=True)
class Report:
    """All numbers of the page.

    Attributes:
        corpus: what it is about.
        steps: the funnel; None when the corpus was built before steps were counted.
        duplicates: those of the steps that look for copies.
        mix_origin: whose mix was asked for; "" without one.
        measured: lengths, languages and scripts by domain.
    """

    corpus: Artifact
    steps: list[Step] | None
    duplicates: list[Step] | None
    sources: list[Source]
    domains: list[Domain]
    licences: list[Licence]
    mix_origin: str
    mix: list[MixRow]
    measured: dict[str, Measured]
    warnings: list[str]

    @property
    def rows(self) -> int:
        """Read from all sources, those that are no documents included."""
        return sum(source.rows for source in self.sources)

    @property
    def documents(self) -> int:
        """In the corpus."""
        return self.corpus.manifest.counts["documents"]

    @property
    def bytes(self) -> int:
        """UTF-8 bytes of text in the corpus."""
        return sum(source.bytes for source in self.sources)

    def as_json(self) -> dict[str, Any]:
        """Plain numbers, as ``--json`` prints them."""
        m = self.corpus.manifest
        about = {name: getattr(m, name) for name in ("created", "seed", "git_commit", "versions")}
        tables = ("steps", "duplicates", "sources", "domains", "licences", "mix", "warnings")
        return plain(
            {
                "corpus": str(self.corpus.path),
                "hash": self.corpus.hash,
                **about,
                "rows": self.rows,
                "documents": self.documents,
                "bytes": self.bytes,
                "mix_origin": self.mix_origin,
                **{name: _rows(getattr(self, name)) for name in tables},
                "measured": {name: of.as_json() for name, of in self.measured.items()},
            }
        )


def _rows(table: list[Any] | None) -> list[Any] | None:
    return table and [row if isinstance(row, str) else asdict(row) for row in table]


def corpus_report(
    corpus: Artifact,
    *,
    mix: Mix | None = None,
    on_progress: Callable[[float, str], None] = lambda share, note: None,
) -> Report:
    """The numbers of a ``corpus`` artifact. Reads all of it once, in bounded memory.

    Args:
        mix: what its domains are asked to be mixed to.
        on_progress: called with the share done and what is being read.
    """
    counts, config = corpus.manifest.counts, corpus.manifest.config
    steps, sources, domains = steps_of(counts), sources_of(counts), domains_in(counts)
    filters = {one["kind"] for one in config.get("filters", [])}
    return Report(
        corpus,
        steps=steps,
        duplicates=None if steps is None else duplicate_steps(corpus, steps),
        sources=sources,
        domains=domains,
        licences=licences_of(sources),
        mix_origin=mix.origin if mix else "",
        mix=mix_rows(mix, domains),
        measured=measure(corpus, tagged="language" in filters, on_progress=on_progress),
        warnings=[*map(said, counts["warnings"]), *mix_warnings(mix, domains)],
    )
