"""Cleaned documents on disk, one shard for each unit, and who each of them is.

A shard is JSON lines in zstd, as the corpus will have them; beside it lie 32 bytes about every
document and the unit's notes. What the second pass decides, it decides from those alone.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep

from yaongi.core.files import read_json, write_bytes, write_json
from yaongi.core.seeds import Seed
from yaongi.data.cleaning.notes import Notes, example
from yaongi.data.dedup.exact import TRAIN, UNDECIDED, VAL, digest
from yaongi.data.lines import json_line, reader, whole_file
from yaongi.data.recognise import asked

_PACKED = struct.Struct("<16s8sHBBI")
ROW = np.dtype(
    [("digest", "<u8", 2), ("prompt", "<u8"), ("domain", "<u2"), ("form", "u1"), ("said", "u1"),
     ("bytes", "<u4")]
)  # fmt: skip
"""A document: digest of its content and of what it asks (a text: of its content again), codes of
domain and form, the side its source gives it (``dedup.exact``), and bytes of its text."""

_SIDES = {"train": TRAIN, "val": VAL}  # a document's metadata may say its split


def shard_file(folder: Path, rank: int) -> Path:
    """The cleaned documents of a unit."""
    return folder / "documents" / f"{rank:05d}.jsonl.zst"


def aside_file(folder: Path, rank: int) -> Path:
    """What was dropped of a unit."""
    return folder / "rejected" / f"{rank:05d}.jsonl.zst"


class ShardWriter(PipelineStep):
    """The last step of the pipeline; finishes the notes of the unit, too."""

    type = "💽 - WRITER"
    name = "shard"

    def __init__(self, folder: Path, seed: Seed, notes: Notes) -> None:
        super().__init__()
        self.folder, self.seed, self.notes = folder, seed, notes

    def run(
        self, data: Iterable[Document], rank: int = 0, world_size: int = 1
    ) -> Iterator[Document]:
        """Write everything, pass nothing on."""
        shard, aside = shard_file(self.folder, rank), aside_file(self.folder, rank)
        for file in (shard, aside):
            file.parent.mkdir(parents=True, exist_ok=True)
        rows = bytearray()
        domains, forms = _Codes(), _Codes()
        with whole_file(shard) as lines, whole_file(aside) as rejected:
            self.notes.begin(rejected)
            for document in data:
                key = digest(document.text, self.seed)
                labels = document.metadata
                lines.write(
                    json_line({"text": document.text, "id": document.id, "metadata": labels})
                )
                rows += _PACKED.pack(
                    key,
                    key[:8] if (prompt := asked(labels)) is None else digest(prompt, self.seed)[:8],
                    domains[labels["domain"]],
                    forms[labels["form"]],
                    _SIDES.get(labels.get("split", ""), UNDECIDED),
                    len(document.text.encode()),
                )
                self.notes.examples.offer(example(document.text, key, labels))
        write_bytes(shard.with_suffix(".rows"), bytes(rows))
        codes = {"domains": domains.names, "forms": forms.names}
        write_json(shard.with_suffix(".json"), codes | self.notes.as_json())
        yield from ()


class _Codes:
    """Small numbers for names, in the order of their first use."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __getitem__(self, name: str) -> int:
        if name not in self.names:
            self.names.append(name)
        return self.names.index(name)

    def all(self, names: Sequence[str]) -> np.ndarray:
        return np.asarray([self[name] for name in names], dtype=np.uint16)


class Shards:
    """All shards as one table in the order of the units: 40 bytes of memory for each document.

    Args:
        folder: where ``ShardWriter`` wrote them.
        sources: which source each unit belongs to.

    Attributes:
        digests: (n, 2) uint64.
        prompts: (n,) uint64, equal where the same is asked.
        domain, form, source, said: (n,) codes; ``domains`` and ``forms`` name the first two.
        bytes: (n,) of text.
        units: the notes of each unit as JSON, with ``documents``, their number.
    """

    def __init__(self, folder: Path, sources: Sequence[int]) -> None:
        self.folder = self._documents = folder
        self.unit_source = list(sources)
        self.units: list[dict[str, Any]] = []
        domains, forms = _Codes(), _Codes()
        tables: list[np.ndarray] = []
        for rank in range(len(self.unit_source)):
            table, unit = _load(shard_file(folder, rank))
            table["domain"] = domains.all(unit["domains"])[table["domain"]]
            table["form"] = forms.all(unit["forms"])[table["form"]]
            tables.append(table)
            self.units.append(unit | {"documents": len(table)})
        table = np.concatenate(tables)
        self.digests, self.prompts = table["digest"].copy(), table["prompt"].copy()
        self.domain, self.form, self.said = table["domain"], table["form"], table["said"]
        self.bytes = table["bytes"].astype(np.uint64)
        lengths = [unit["documents"] for unit in self.units]
        self.source = np.repeat(np.asarray(self.unit_source, dtype=np.uint16), lengths)
        self.domains, self.forms = domains.names, forms.names

    def __len__(self) -> int:
        return len(self.bytes)

    @property
    def files(self) -> list[Path]:
        """The shards, in order: document i is line i of all of them together."""
        return [shard_file(self._documents, rank) for rank in range(len(self.units))]

    def replace(self, folder: Path, examples: Sequence[list[dict[str, Any]]]) -> None:
        """Read the documents below ``folder`` from now on: as many, with other texts.

        Args:
            examples: of what was changed, for each unit.
        """
        self._documents = folder
        for unit, rows in zip(self.units, examples, strict=True):
            unit["examples"] = unit["examples"] + rows

    def lines(self) -> Iterator[bytes]:
        """Every document as it lies on disk."""
        for file in self.files:
            with reader(file) as lines:
                yield from lines

    def rejected(self) -> Iterator[bytes]:
        """Every line of what was dropped."""
        for rank in range(len(self.units)):
            with reader(aside_file(self.folder, rank)) as lines:
                yield from lines


def _load(shard: Path) -> tuple[np.ndarray, dict[str, Any]]:
    table = np.fromfile(shard.with_suffix(".rows"), dtype=ROW)
    return table, read_json(shard.with_suffix(".json"))
