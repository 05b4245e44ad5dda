"""Near copies and repeated passages in the shards of a corpus: what goes, and what is left.

Up to three passes over the shards, which any executor runs, and after each of the first two a
search on disk: signatures of documents, signatures of passages of what is left, and shards
without the repeated ones. The shards of the first pass stay as they are: an interrupted build
finds them so.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep

from yaongi.core.config import Config
from yaongi.core.files import read_json, write_bytes, write_json
from yaongi.core.seeds import Seed
from yaongi.data.cleaning.notes import Examples, example
from yaongi.data.cleaning.shards import Shards, shard_file
from yaongi.data.dedup import near, substring
from yaongi.data.dedup.exact import DUPLICATE, VAL, digest
from yaongi.data.dedup.near import Near
from yaongi.data.dedup.substring import Substring
from yaongi.data.executors import Executor
from yaongi.data.lines import json_line, reader, whole_file
from yaongi.data.recognise import TEXT

NEAR, PASSAGES = "near duplicates", "repeated passages"
NEAR_COPY, NEAR_HELD, ELSEWHERE = "near copy", "near copy of a held-out one", "repeated elsewhere"


class Dedup(Config):
    """Deduplication beyond exact copies, of texts; conversations are left alone.

    Args:
        near: what counts as a near duplicate, ``{}`` for the defaults; without it they stay.
        substring: the same for repeated passages.
    """

    near: Near | None = None
    substring: Substring | None = None


CHANGED = np.dtype(
    [("document", "<i8"), ("owner", "<i8"), ("sentences", "<u4"), ("lost", "<u4"), ("drop", "?")]
)
"""A document with repeated passages: which one has them first, how many sentences went, how many
bytes, and whether the whole document goes."""


class Found(NamedTuple):
    """What was found in n documents.

    Attributes:
        steps: NEAR and PASSAGES, those that were looked for.
        original: (n,) the document that each is a near copy of, or -1.
        changed: of CHANGED, in order of document.
    """

    steps: tuple[str, ...]
    original: np.ndarray
    changed: np.ndarray

    def dropped(self) -> np.ndarray:
        """(n,) bool, the documents that go."""
        return (self.original >= 0) | self.repeated()

    def repeated(self) -> np.ndarray:
        """(n,) bool, those that go because little is left without repeated passages."""
        gone = np.zeros(len(self.original), bool)
        gone[self.changed["document"][self.changed["drop"]]] = True
        return gone


def find(
    shards: Shards,
    sides: np.ndarray,
    cfg: Dedup,
    *,
    seed: Seed,
    executor: Executor,
    on_progress: Callable[[float, str], None],
) -> Found:
    """Find near copies and repeated passages, and give ``shards`` texts without the latter.

    Args:
        sides: (n,) from ``exact.assign``: what is DUPLICATE is not looked at, and what is VAL
            comes before all others, so that nothing held out is left in train.
    """
    alike, repeated = cfg.near, cfg.substring
    steps = tuple(n for n, one in ((NEAR, alike), (PASSAGES, repeated)) if one is not None)
    found = Found(steps, np.full(len(shards), -1), np.zeros(0, CHANGED))
    if not steps or TEXT not in shards.forms:
        return found
    passes = _Passes(shards, executor, (NEAR in steps) + 2 * (PASSAGES in steps), on_progress)
    there = (sides != DUPLICATE) & (shards.form == shards.forms.index(TEXT))
    if alike:
        folder = passes.run("near", there, sides, lambda table: _SignNear(table, alike))
        found = found._replace(original=near.find(folder, alike, len(shards)))
        there &= found.original < 0
    if repeated:
        folder = passes.run("passages", there, sides, lambda table: _SignPassages(table, repeated))
        substring.find(folder)
        clean = passes.run(
            "clean", there, sides, lambda table: _Remove(table, repeated, folder, seed)
        )
        found = found._replace(changed=_changed(clean, len(shards.units)))
        shards.replace(clean, [_notes(clean, rank) for rank in range(len(shards.units))])
        shards.bytes[found.changed["document"]] -= found.changed["lost"]
    return found


class _Passes:
    """Runs a step over all shards; what it leaves lies below the folder of its name."""

    def __init__(
        self, shards: Shards, executor: Executor, passes: int, report: Callable[[float, str], None]
    ) -> None:
        self.shards, self.executor, self.report = shards, executor, report
        self.passes, self.done = passes, 0
        self.starts = np.append(0, np.cumsum([unit["documents"] for unit in shards.units])).tolist()
        total = np.append(np.uint64(0), np.cumsum(shards.bytes))
        self.sizes = np.diff(total[self.starts]).astype(int).tolist()

    def run(
        self,
        name: str,
        there: np.ndarray,
        sides: np.ndarray,
        step: Callable[[_Table], PipelineStep],
    ) -> Path:
        folder = self.shards.folder / "dedup" / name
        folder.mkdir(parents=True, exist_ok=True)
        flags = folder / "flags.npy"
        np.save(flags, there.astype(np.uint8) + 2 * (there & (sides == VAL)).astype(np.uint8))
        table = _Table(self.shards.files, self.starts, folder)
        self.executor.run([step(table)], self.sizes, folder, lambda ranks: self._tell(name, ranks))
        self.done += 1
        return folder

    def _tell(self, name: str, ranks: set[int]) -> None:
        share = len(ranks) / len(self.sizes)
        self.report((self.done + share) / self.passes, f"{name} {len(ranks)}/{len(self.sizes)}")


class _Row(NamedTuple):
    """A document on its way: the whole line, and what it says when it is to be looked at."""

    number: int
    line: bytes
    row: dict[str, Any] | None
    held: bool


class _Table(NamedTuple):
    """Where the documents are: document ``starts[rank]`` is the first of ``files[rank]``."""

    files: list[Path]
    starts: list[int]
    folder: Path

    def rows(self, rank: int) -> Iterator[_Row]:
        flags = np.load(self.folder / "flags.npy", mmap_mode="r")
        with reader(self.files[rank]) as lines:
            for number, line in enumerate(lines, self.starts[rank]):
                row = json.loads(line) if flags[number] else None
                yield _Row(number, line, row, flags[number] == 3)


class _SignNear(PipelineStep):
    type, name = "🫂 - DEDUP", "near signatures"

    def __init__(self, table: _Table, cfg: Near) -> None:
        super().__init__()
        self.table, self.cfg = table, cfg

    def run(
        self, data: Iterable[Document] | None = None, rank: int = 0, world_size: int = 1
    ) -> None:
        """Sign the shard ``rank``."""
        with near.Signer(self.table.folder, self.cfg, rank) as signer:
            for number, _, row, held in self.table.rows(rank):
                if row:
                    signer.add(number, row["text"], held=held)


class _SignPassages(PipelineStep):
    type, name = "🫂 - DEDUP", "passage signatures"

    def __init__(self, table: _Table, cfg: Substring) -> None:
        super().__init__()
        self.table, self.cfg = table, cfg

    def run(
        self, data: Iterable[Document] | None = None, rank: int = 0, world_size: int = 1
    ) -> None:
        """Sign the shard ``rank``."""
        with substring.Signer(self.table.folder, self.cfg, rank) as signer:
            for number, _, row, held in self.table.rows(rank):
                if row:
                    signer.add(number, row["text"], held=held)


class _Remove(PipelineStep):
    type, name = "🫂 - DEDUP", "passages removed"

    def __init__(self, table: _Table, cfg: Substring, found: Path, seed: Seed) -> None:
        super().__init__()
        self.table, self.cfg, self.found, self.seed = table, cfg, found, seed

    def run(
        self, data: Iterable[Document] | None = None, rank: int = 0, world_size: int = 1
    ) -> None:
        """Write the shard ``rank`` anew; a document that goes as a whole stays as it is."""
        folder = self.table.folder
        first, end = self.table.starts[rank : rank + 2]
        remover = substring.Remover(self.found, self.cfg, first, end)
        changed: list[tuple[int, int, int, int, bool]] = []
        examples = Examples()
        shard_file(folder, rank).parent.mkdir(parents=True, exist_ok=True)
        with whole_file(shard_file(folder, rank)) as out:
            for number, line, row, _ in self.table.rows(rank):
                removed = remover.remove(number, row["text"]) if row else None
                if row and removed and removed.gone:
                    sentences = len(removed.gone)
                    examples.offer(_example(row, removed, self.seed))
                    drop = bool(removed.cleaned.drop)
                    lost = 0 if drop else _bytes(row["text"]) - _bytes(removed.cleaned.text)
                    changed.append((number, removed.owner, sentences, lost, drop))
                    if not drop:
                        line = json_line(row | {"text": removed.cleaned.text})
                out.write(line)
        write_bytes(_records(folder, rank), np.array(changed, CHANGED).tobytes())
        write_json(_records(folder, rank).with_suffix(".json"), {"examples": examples.rows()})


def _bytes(text: str) -> int:
    return len(text.encode())


def _example(row: dict[str, Any], removed: substring.Removed, seed: Seed) -> dict[str, Any]:
    """What went out of a document, as one text."""
    gone = "\n".join(row["text"][start:end] for start, end in removed.gone)
    reason = removed.cleaned.drop or next(iter(removed.cleaned.changed))
    return example(gone, digest(row["text"], seed), row["metadata"], step=PASSAGES, reason=reason)


def _records(folder: Path, rank: int) -> Path:
    return shard_file(folder, rank).with_suffix(".changed")


def _changed(folder: Path, ranks: int) -> np.ndarray:
    return np.concatenate([np.fromfile(_records(folder, rank), CHANGED) for rank in range(ranks)])


def _notes(folder: Path, rank: int) -> list[dict[str, Any]]:
    return read_json(_records(folder, rank).with_suffix(".json"))["examples"]
