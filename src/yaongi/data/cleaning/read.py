"""The first step of the pipeline: a unit of a source as documents with their labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep

from yaongi.core.seeds import Seed
from yaongi.data.cleaning.notes import Notes, place
from yaongi.data.recognise import TEXT, BrokenRow
from yaongi.data.sources import Reading, Source, Unit, safe_domain

NOTE_EVERY = 500  # documents between calls of the progress function

Within = Callable[[int, float, str], None]
"""Called with the rank, the share of its unit read, and the unit's name."""


class Work(NamedTuple):
    """One rank's work."""

    source: Source
    source_index: int
    unit: Unit


class SourceReader(PipelineStep):
    """Reads the unit of its rank; the step that other readers of datatrove could stand for.

    Args:
        work: all units; the rank says which.
        root, seed: what sources are read with.
        min_chars: shorter documents count as rows that cannot be used.
        notes: where they are noted.
        within: told how far it is, in this process only.
    """

    type = "📖 - READER"
    name = "source"

    def __init__(
        self,
        work: Sequence[Work],
        root: Path,
        seed: Seed,
        min_chars: int,
        notes: Notes,
        within: Within | None = None,
    ) -> None:
        super().__init__()
        self.work, self.root, self.seed, self.min_chars = list(work), root, seed, min_chars
        self.notes, self.within = notes, within

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"within": None}

    def run(
        self, data: Iterable[Document] | None = None, rank: int = 0, world_size: int = 1
    ) -> Iterator[Document]:
        """The documents of the unit number ``rank``."""
        source, _, unit = self.work[rank]
        share = [0.0]
        reading = Reading(
            root=self.root,
            unit=unit.name,
            seed=self.seed.split("source", source.name),
            reject=lambda row: self.notes.unreadable(row, source.name),
            warn=self.notes.warnings.append,
            advance=lambda fraction: share.__setitem__(0, fraction),
        )
        self._tell(rank, 0.0)
        for n, document in enumerate(source.read(reading), 1):
            if len(document.text.strip()) < self.min_chars:
                broken = BrokenRow("too short", document.text)
                reading.reject_row(*place(document.id), broken)
                continue
            document.metadata = labelled(document.metadata, source)
            self.notes.left(0, document.text)
            yield document
            if n % NOTE_EVERY == 0:
                self._tell(rank, share[0])

    def _tell(self, rank: int, share: float) -> None:
        if self.within:
            self.within(rank, share, self.work[rank].unit.name or self.work[rank].source.name)


def labelled(metadata: Mapping[str, Any], source: Source) -> dict[str, Any]:
    """A document's metadata with form, domain, source and licence."""
    form = metadata.get("form", TEXT)
    domain = str(source.domain or metadata.get("domain") or form)
    labels = {"form": form, "domain": safe_domain(domain), "source": source.name}
    return {"licence": source.licence, **metadata, **labels}
