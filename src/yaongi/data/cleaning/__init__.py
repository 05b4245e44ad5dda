"""The first pass over a corpus: sources are read and cleaned, unit by unit, into shards.

A pipeline of datatrove steps, which any of the ``executors`` runs for every unit: ``read`` turns
a unit of a source into documents, ``steps`` holds one step for each filter, ``shards`` writes
what is left. All of them note in one ``Notes`` what they dropped and changed, and why.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from yaongi.core.seeds import Seed
from yaongi.data.cleaning.notes import Notes
from yaongi.data.cleaning.read import SourceReader, Work
from yaongi.data.cleaning.shards import Shards, ShardWriter
from yaongi.data.cleaning.steps import CleaningStep
from yaongi.data.executors import Executor
from yaongi.data.filters import Filter

READ = "read"


def clean_all(
    work: Sequence[Work],
    filters: Sequence[Filter],
    folder: Path,
    *,
    root: Path,
    seed: Seed,
    min_chars: int,
    keep_dropped: bool,
    executor: Executor,
    on_progress: Callable[[float, str], None],
) -> Shards:
    """Clean every unit into ``folder``; units that are there already stay as they are.

    Args:
        work: the units, in the order their documents are to have.
        root: the folder of relative paths.
        keep_dropped: write dropped documents down, not only rows that could not be read.
        on_progress: called with the share done and what is being read.
    Raises:
        DataError: a unit cannot be read.
        WorkerError: a worker died; what is finished stays in ``folder``.
    """
    notes = Notes([READ, *(one.kind for one in filters)], keep_dropped, seed)
    progress = _Progress([max(1, one.unit.bytes) for one in work], on_progress)
    reader = SourceReader(work, root, seed, min_chars, notes, progress.within)
    steps = [CleaningStep(one, i, notes) for i, one in enumerate(filters, 1)]
    pipeline = [reader, *steps, ShardWriter(folder, seed, notes)]
    executor.run(pipeline, [one.unit.bytes for one in work], folder, progress.done)
    return Shards(folder, [one.source_index for one in work])


class _Progress:
    """The share done: finished units, and where the one being read in this process stands."""

    def __init__(self, sizes: Sequence[int], report: Callable[[float, str], None]) -> None:
        self.sizes, self.report = sizes, report
        self.finished = 0
        self.total = sum(sizes)

    def done(self, ranks: set[int]) -> None:
        self.finished = sum(self.sizes[rank] for rank in ranks)
        self.report(self.finished / self.total, f"{len(ranks)}/{len(self.sizes)}")

    def within(self, rank: int, share: float, name: str) -> None:
        self.report((self.finished + share * self.sizes[rank]) / self.total, name)
