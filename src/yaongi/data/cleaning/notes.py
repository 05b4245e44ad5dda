"""What happened to the documents of one unit: counts for every step, examples, dropped rows.

One ``Notes`` is shared by all steps of a pipeline and travels with them to another process. Its
contents end up beside the unit's shard and are added up over all units in the end.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from datatrove.data import Document

from yaongi.core.seeds import Seed
from yaongi.data.dedup.exact import digest
from yaongi.data.lines import json_line
from yaongi.data.pii import scrub
from yaongi.data.sources import Rejected
from yaongi.data.wording import Notice

EXAMPLES = 10  # of each step and reason, and of what is kept of each domain
EXAMPLE_CHARS = 600


@dataclass
class StepCounts:
    """A step in the funnel: what is left after it, and why the rest is not.

    Args:
        step: its name.
        documents, bytes: left; bytes of UTF-8.
        dropped: documents by reason.
        changed: what was changed in those left, and how often.
    """

    step: str
    documents: int = 0
    bytes: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)

    def as_json(self) -> dict[str, Any]:
        """With the commonest reasons first."""
        return {
            "step": self.step,
            "documents": self.documents,
            "bytes": self.bytes,
            "dropped": _by_frequency(self.dropped),
            "changed": _by_frequency(self.changed),
        }

    def add(self, counts: Mapping[str, Any]) -> None:
        """Add the same step's counts of another unit, as ``as_json`` gives them."""
        self.documents += counts["documents"]
        self.bytes += counts["bytes"]
        self.dropped.update(counts["dropped"])
        self.changed.update(counts["changed"])


def _by_frequency(tally: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(tally.items(), key=lambda item: (-item[1], item[0])))


class Examples:
    """The ``EXAMPLES`` with the smallest digests of every kind: however the work was divided."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[bool, str, str], list[tuple[str, dict[str, Any]]]] = {}

    def offer(self, row: dict[str, Any]) -> None:
        """A row with ``digest``, ``kept``, ``step``, ``reason`` and ``domain``."""
        about = row["domain"] if row["kept"] else row["reason"]
        kind = self._kinds.setdefault((row["kept"], row["step"], about), [])
        key = row["digest"]
        if len(kind) == EXAMPLES and key >= kind[-1][0]:
            return
        if all(key != other for other, _ in kind):
            insort(kind, (key, row), key=lambda pair: pair[0])
            del kind[EXAMPLES:]

    def rows(self) -> list[dict[str, Any]]:
        """All of them, kept ones last."""
        return [row for _, kind in sorted(self._kinds.items()) for _, row in kind]


def example(
    text: str, key: bytes, labels: Mapping[str, Any], *, step: str = "", reason: str = ""
) -> dict[str, Any]:
    """A row for ``Examples``; without a step it is of a document that is kept."""
    return {
        "kept": not step,
        "step": step,
        "reason": reason,
        "source": labels.get("source", ""),
        "domain": labels.get("domain", ""),
        "chars": len(text),
        "text": text[:EXAMPLE_CHARS],
        "digest": key.hex(),
    }


class Notes:
    """What the steps say about the unit at work.

    Args:
        steps: their names in order; the first is reading.
        keep_dropped: write dropped documents down, not only rows that could not be read.
        seed: of the digests.
    """

    def __init__(self, steps: Sequence[str], keep_dropped: bool, seed: Seed) -> None:
        self.names, self.keep_dropped, self.seed = list(steps), keep_dropped, seed
        self._aside: BinaryIO | None = None
        self._reset()

    def _reset(self) -> None:
        self.counts = [StepCounts(name) for name in self.names]
        self.examples = Examples()
        self.warnings: list[Notice | str] = []

    def begin(self, aside: BinaryIO) -> None:
        """Start a unit; what is dropped goes to ``aside`` as JSON lines."""
        self._reset()
        self._aside = aside

    def left(self, step: int, text: str, changed: Iterable[tuple[str, int]] = ()) -> None:
        """A document goes on."""
        counts = self.counts[step]
        counts.documents += 1
        counts.bytes += len(text.encode())
        for what, times in changed:
            counts.changed[what] += times

    def unreadable(self, row: Rejected, source: str) -> None:
        """A row is no document."""
        self._drop(0, row, {"source": source}, keep=True)

    def dropped(self, step: int, reason: str, document: Document) -> None:
        """A step drops ``document``."""
        row = Rejected(*place(document.id), reason, document.text)
        self._drop(step, row, document.metadata, keep=self.keep_dropped)

    def _drop(self, step: int, row: Rejected, labels: Mapping[str, Any], keep: bool) -> None:
        counts = self.counts[step]
        counts.dropped[row.reason] += 1
        key = digest(row.row.encode(errors="backslashreplace").decode(), self.seed)
        shown = example(row.row, key, labels, step=counts.step, reason=row.reason)
        self.examples.offer({**shown, "file": row.file, "line": row.line})
        if keep and self._aside is not None:
            self._aside.write(rejected_line(row, labels["source"], counts.step))

    def as_json(self) -> dict[str, Any]:
        """For the file beside the shard."""
        rows = self.examples.rows()
        if "pii" in self.names:  # what an earlier step dropped was never scrubbed
            rows = [row | {"text": scrub(row["text"])} for row in rows]
        return {
            "steps": [counts.as_json() for counts in self.counts],
            "examples": rows,
            "warnings": self.warnings,
        }


def place(identity: str) -> tuple[str, int]:
    """File and line of a document's id, ``file:line``."""
    where, _, line = identity.rpartition(":")
    return where or identity, int(line) if line.isdigit() else 0


def rejected_line(row: Rejected, source: str, step: str) -> bytes:
    """A line of the rejected set."""
    return json_line({"source": source, "step": step, **row._asdict()})
