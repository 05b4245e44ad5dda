"""What a corpus's manifest says about it, as the rows of tables: steps, domains, sources, licences.

A corpus of an older yaongi did not count everything; what is missing is None, never zero.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from yaongi.core.artifact import Artifact
from yaongi.core.errors import DataError
from yaongi.data.corpus import SPLITS
from yaongi.data.licences import judge
from yaongi.data.mix import check_mix

Counts = Mapping[str, Any]

READ, SPLIT = "read", "split"
"""The first step and the last."""


@dataclass(frozen=True)
class Step:
    """A step of the build: what is left after it (bytes of UTF-8), and what happened in it.

    Attributes:
        dropped: documents by reason.
        changed: what was changed in those left, and how often.
    """

    step: str
    documents: int
    bytes: int
    dropped: dict[str, int]
    changed: dict[str, int]

    @property
    def lost(self) -> int:
        """Documents dropped."""
        return sum(self.dropped.values())

    @property
    def came(self) -> int:
        """Documents that reached this step."""
        return self.documents + self.lost


@dataclass(frozen=True)
class Source:
    """One source: ``rows`` were read, ``documents`` are in the corpus; ``steps`` lie between."""

    name: str
    licence: str
    domains: list[str]
    rows: int
    broken: int
    duplicates: int
    documents: int
    bytes: int
    steps: list[Step] | None


@dataclass(frozen=True)
class Domain:
    """One domain: documents and bytes of each split; ``share`` of the bytes for training."""

    name: str
    forms: dict[str, int]
    documents: dict[str, int]
    bytes: dict[str, int]
    share: float


@dataclass
class Licence:
    """A licence as it is stated, what it was taken for, and how much text is under it."""

    licence: str
    open: bool
    reason: str
    sources: list[str] = field(default_factory=list)
    documents: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class Mix:
    """A mix to compare the corpus with.

    Attributes:
        origin: the recipe or model that asks for it.
        asked: share by domain, in any unit.
        reached: share of the tokens in the batches of a model that was trained.
        epochs: how often its batches went through each domain.
    """

    origin: str
    asked: Mapping[str, float]
    reached: Mapping[str, float] | None = None
    epochs: Mapping[str, float] | None = None


@dataclass(frozen=True)
class MixRow:
    """A domain's share asked for, in the corpus, and reached in training; None: not known.

    ``times`` is asked / corpus: above 1, its documents are seen more often than the average.
    """

    domain: str
    asked: float | None
    corpus: float
    times: float | None
    reached: float | None
    epochs: float | None


def steps_of(counts: Counts) -> list[Step] | None:
    """The funnel in ``counts``, of a corpus or a source."""
    if "steps" not in counts:
        return None
    return [Step(**{name: one[name] for name in Step.__annotations__}) for one in counts["steps"]]


def duplicate_steps(corpus: Artifact, steps: Sequence[Step]) -> list[Step]:
    """The steps that are neither reading, nor a filter of the recipe, nor the split."""
    filters = {one["kind"] for one in corpus.manifest.config.get("filters", [])}
    return [step for step in steps if step.step not in filters | {READ, SPLIT}]


def sources_of(counts: Counts) -> list[Source]:
    """Every source, in the recipe's order."""
    return [
        Source(
            name,
            licence=of["licence"],
            domains=sorted(of["documents"]),
            rows=of["rows"],
            broken=sum(of["broken"].values()),
            duplicates=of["duplicates"],
            documents=sum(of["documents"].values()),
            bytes=of["bytes"],
            steps=steps_of(of),
        )
        for name, of in counts["sources"].items()
    ]


def domains_in(counts: Counts) -> list[Domain]:
    """Every domain, by name."""
    total = sum(of["train"]["bytes"] for of in counts["domains"].values())
    return [
        Domain(
            name,
            forms=dict(sum((Counter(of[split]["forms"]) for split in SPLITS), Counter())),
            documents={split: of[split]["documents"] for split in SPLITS},
            bytes={split: of[split]["bytes"] for split in SPLITS},
            share=of["train"]["bytes"] / max(1, total),
        )
        for name, of in sorted(counts["domains"].items())
    ]


def licences_of(sources: Sequence[Source]) -> list[Licence]:
    """Every licence, those that stand against an open corpus first, then by size."""
    found: dict[str, Licence] = {}
    for source in sources:
        entry = found.get(source.licence) or Licence(source.licence, *judge(source.licence))
        found[source.licence] = entry
        entry.sources.append(source.name)
        entry.documents += source.documents
        entry.bytes += source.bytes
    return sorted(found.values(), key=lambda one: (one.open, -one.bytes, one.licence))


def mix_rows(mix: Mix | None, domains: Sequence[Domain]) -> list[MixRow]:
    """Every domain that the corpus has or the mix asks for, by name."""
    shares = {domain.name: domain.share for domain in domains}
    asked = dict(mix.asked) if mix else {}
    total = sum(asked.values())
    rows: list[MixRow] = []
    for name in sorted({*shares, *asked}):
        share = shares.get(name, 0.0)
        wanted = asked.get(name, 0.0) / total if total else None
        times = wanted / share if share and wanted is not None else None
        reached, epochs = (
            of.get(name, 0.0) if of is not None else None
            for of in (mix and mix.reached, mix and mix.epochs)
        )
        rows.append(MixRow(name, wanted, share, times, reached, epochs))
    return rows


def mix_warnings(mix: Mix | None, domains: Sequence[Domain]) -> list[str]:
    """Why nothing can be trained with this mix on this corpus."""
    try:
        if mix:
            check_mix(mix.asked, [domain.name for domain in domains if domain.bytes["train"]])
    except DataError as error:
        return [str(error)]
    return []
