"""The second pass over a corpus: copies go, part is held out, each split gets its lines.

What is decided here is decided from a few bytes about every document (``Shards``); the documents
themselves pass by once, in order.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from yaongi.data.cleaning.notes import (
    EXAMPLE_CHARS,
    EXAMPLES,
    Examples,
    StepCounts,
    example,
    place,
    rejected_line,
)
from yaongi.data.cleaning.shards import Shards
from yaongi.data.dedup.exact import DUPLICATE, TRAIN, VAL
from yaongi.data.dedup.stage import ELSEWHERE, NEAR, NEAR_COPY, NEAR_HELD, PASSAGES, Found
from yaongi.data.lines import json_line, writer
from yaongi.data.prompts import LEAK, SAME, Kin
from yaongi.data.sources import Rejected, Source
from yaongi.data.wording import Notice, notice

SPLITS = ("train", "val")
REJECTED = "rejected.jsonl.zst"
EXAMPLES_FILE = "examples.jsonl"
COPY = "copy"
NOT_UTF8 = "not UTF-8"
NOTE_EVERY = 500  # documents between calls of the progress function


def write_splits(
    shards: Shards,
    sides: np.ndarray,
    found: Found,
    kin: Kin,
    folder: Path,
    *,
    keep_dropped: bool,
    on_progress: Callable[[float, str], None],
) -> None:
    """Copy every line to its split and domain; write the rejected set and the examples.

    Args:
        sides: (n,) DUPLICATE, TRAIN or VAL.
        found: why those are duplicates that are no copies.
        kin: which conversations ask the same.
        keep_dropped: put duplicates into the rejected set, too.
    """
    drops = _Drops(shards, sides, found, kin)
    with ExitStack() as files:
        rejected = files.enter_context(writer(folder / REJECTED))
        for line in shards.rejected():
            rejected.write(line)
        out: dict[tuple[int, int], BinaryIO] = {}
        for i, line in enumerate(shards.lines()):
            drops.see(i, line)
            key = (int(sides[i]), int(shards.domain[i]))
            if key[0] == DUPLICATE:
                if keep_dropped:
                    rejected.write(drops.rejected(i, line))
            else:
                if key not in out:
                    name = f"{SPLITS[key[0] - TRAIN]}/{shards.domains[key[1]]}.jsonl.zst"
                    (folder / name).parent.mkdir(exist_ok=True)
                    out[key] = files.enter_context(writer(folder / name))
                out[key].write(line)
            if i % NOTE_EVERY == 0:
                on_progress(i / len(sides), "writing")
    on_progress(1.0, "writing")
    examples = _examples(shards)
    for row in drops.examples():
        examples.offer(row)
    (folder / EXAMPLES_FILE).write_bytes(b"".join(map(json_line, examples.rows())))


def _examples(shards: Shards) -> Examples:
    examples = Examples()
    for unit in shards.units:
        for row in unit["examples"]:
            examples.offer(row)
    return examples


SPLIT = "split"
_WHY = [("duplicates", COPY), (NEAR, NEAR_COPY), (NEAR, NEAR_HELD), (PASSAGES, ELSEWHERE),
        (SPLIT, SAME), (SPLIT, LEAK)]  # fmt: skip
"""Step and reason of a duplicate, or of a conversation that asks what another one asks."""


class _Drops:
    """Why documents are duplicates, and the texts of those that are shown as examples."""

    def __init__(self, shards: Shards, sides: np.ndarray, found: Found, kin: Kin) -> None:
        self.digests = shards.digests
        self.original = np.where(kin.like >= 0, kin.like, found.original)
        self.why = np.where(sides == DUPLICATE, 0, -1)
        self.why[kin.again], self.why[kin.leaks] = 4, 5
        near = np.flatnonzero(found.original >= 0)
        self.why[near] = 1 + (sides[found.original[near]] == VAL)
        self.why[found.repeated()] = 3
        codes = (0, 1, 2, 4, 5)  # of what little was left an example is there
        shown = [_smallest(self.digests, self.why == code) for code in codes]
        self.shown = set[int]().union(*shown)
        self.originals = {int(self.original[i]) for i in self.shown} - {-1}
        self.lines: dict[int, bytes] = {}

    def see(self, i: int, line: bytes) -> None:
        """A document passes by."""
        if i in self.shown or i in self.originals:
            self.lines[i] = line

    def rejected(self, i: int, line: bytes) -> bytes:
        """A duplicate as a line of the rejected set."""
        step, reason = _WHY[self.why[i]]
        row = json.loads(line)
        said = Rejected(*place(row["id"]), reason, row["text"])
        return rejected_line(said, row["metadata"]["source"], step)

    def examples(self) -> Iterator[dict[str, Any]]:
        """Duplicates and such; where one is like another document, with that one's beginning."""
        for i in sorted(self.shown):
            step, reason = _WHY[self.why[i]]
            row = json.loads(self.lines[i])
            key = self.digests[i].tobytes()
            shown = example(row["text"], key, row["metadata"], step=step, reason=reason)
            if self.original[i] >= 0:
                like = json.loads(self.lines[int(self.original[i])])
                shown["like"] = like["text"][:EXAMPLE_CHARS]
            yield shown


def _smallest(digests: np.ndarray, where: np.ndarray) -> set[int]:
    """The documents to show: some more than ``EXAMPLES``, since copies share a digest."""
    there = np.flatnonzero(where)
    return {int(i) for i in there[np.argsort(digests[there, 0], kind="stable")[: 4 * EXAMPLES]]}


# --- counts ----------------------------------------------------------------------------------


def count_all(
    shards: Shards, sides: np.ndarray, found: Found, kin: Kin, sources: Sequence[Source]
) -> dict[str, Any]:
    """The counts of the manifest: by step, by domain and split, by source and reason."""
    copies = sides == DUPLICATE
    domains = {name: _domain_counts(shards, sides, name) for name in sorted(shards.domains)}
    by_source = _source_counts(shards, sides, found, kin, sources)
    unheld = [name for name, counts in domains.items() if not counts["val"]["documents"]]
    return {
        "documents": int(np.count_nonzero(~copies)),
        "duplicates": int(np.count_nonzero(copies)),
        "broken": broken_rows(shards.units),
        "steps": _funnel(
            shards, sides, found, kin, range(len(shards.units)), np.ones(len(shards), bool)
        ),
        "domains": domains,
        "sources": by_source,
        "warnings": _warnings(shards, by_source)
        + [notice("no document of the domain '{domain}' is held out", domain=d) for d in unheld]
        + _leaks(_count(kin.leaks)),
    }


def broken_rows(units: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Rows that are no documents, by reason."""
    return dict(sum((Counter(unit["steps"][0]["dropped"]) for unit in units), Counter()))


def not_utf8(units: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[Notice]:
    """How to convert the files of which at least half is not UTF-8, where there are any.

    Args:
        names: of the units; "" is no file.
    """
    found: list[str] = []
    for unit, name in zip(units, names, strict=True):
        read = unit["steps"][0]
        if name and 2 * read["dropped"].get(NOT_UTF8, 0) > read["documents"]:
            found.append(name)
    return [
        notice(
            "{n} files are not UTF-8, e.g. {file}: convert them with iconv -f CP949 -t UTF-8 OLD > "
            "NEW (what Windows calls Unicode: -f UTF-16)",
            n=len(found),
            file=name,
        )
        for name in found[:1]
    ]


def _leaks(n: int) -> list[Notice]:
    leak = notice(
        "{n} conversations trained on ask what is held out; their source put them there", n=n
    )
    return [leak][:n]


def _funnel(
    shards: Shards,
    sides: np.ndarray,
    found: Found,
    kin: Kin,
    units: Iterable[int],
    of_these: np.ndarray,
) -> list[dict[str, Any]]:
    """The steps in order, for some units and the documents in them."""
    steps = [StepCounts(step["step"]) for step in shards.units[0]["steps"]]
    for unit in units:
        for total, counts in zip(steps, shards.units[unit]["steps"], strict=True):
            total.add(counts)
    steps += _duplicate_steps(shards, sides, found, of_these)
    kept = of_these & (sides != DUPLICATE)
    told = {"held out": sides == VAL, SAME: kin.again, LEAK: kin.leaks}
    changed = Counter({name: _count(kept & there) for name, there in told.items()})
    steps.append(StepCounts(SPLIT, _count(kept), int(shards.bytes[kept].sum()), changed=+changed))
    return [step.as_json() for step in steps]


def _duplicate_steps(
    shards: Shards, sides: np.ndarray, found: Found, of_these: np.ndarray
) -> Iterator[StepCounts]:
    before = shards.bytes.copy()  # as long as no passage has gone
    before[found.changed["document"]] += found.changed["lost"]
    copies = of_these & (sides == DUPLICATE) & ~found.dropped()
    left = of_these & ~copies
    dropped = Counter({COPY: _count(copies)})
    yield StepCounts("duplicates", _count(left), int(before[left].sum()), dropped=+dropped)
    if NEAR in found.steps:
        near = found.original[left & (found.original >= 0)]
        held = _count(sides[near] == VAL)
        left &= found.original < 0
        dropped = Counter({NEAR_COPY: len(near) - held, NEAR_HELD: held})
        yield StepCounts(NEAR, _count(left), int(before[left].sum()), dropped=+dropped)
    if PASSAGES in found.steps:
        gone = left & found.repeated()
        left &= ~gone
        mine = found.changed[left[found.changed["document"]]]
        changed = Counter({"repeated sentence": int(mine["sentences"].sum())})
        dropped = Counter({ELSEWHERE: _count(gone)})
        size = int(shards.bytes[left].sum())
        yield StepCounts(PASSAGES, _count(left), size, dropped=+dropped, changed=+changed)


def _count(where: np.ndarray) -> int:
    return int(np.count_nonzero(where))


def _domain_counts(shards: Shards, sides: np.ndarray, domain: str) -> dict[str, Any]:
    of_domain = shards.domain == shards.domains.index(domain)
    counts: dict[str, Any] = {"duplicates": int(np.count_nonzero(of_domain & (sides == DUPLICATE)))}
    for split, side in zip(SPLITS, (TRAIN, VAL), strict=True):
        there = of_domain & (sides == side)
        counts[split] = {
            "documents": int(np.count_nonzero(there)),
            "bytes": int(shards.bytes[there].sum()),
            "forms": _tally(shards.form[there], shards.forms),
        }
    return counts


def _source_counts(
    shards: Shards, sides: np.ndarray, found: Found, kin: Kin, sources: Sequence[Source]
) -> dict[str, dict[str, Any]]:
    copies = sides == DUPLICATE
    counts: dict[str, dict[str, Any]] = {}
    for i, source in enumerate(sources):
        units = [unit for unit, of in enumerate(shards.unit_source) if of == i]
        of_source = shards.source == i
        there = of_source & ~copies
        funnel = _funnel(shards, sides, found, kin, units, of_source)
        broken = broken_rows(shards.units[unit] for unit in units)
        counts[_unique(source.name, counts)] = {
            "licence": source.licence,
            "rows": funnel[0]["documents"] + sum(broken.values()),
            "broken": broken,
            "duplicates": int(np.count_nonzero(of_source & copies)),
            "documents": _tally(shards.domain[there], shards.domains),
            "bytes": int(shards.bytes[there].sum()),
            "steps": funnel,
        }
    return counts


def _warnings(shards: Shards, by_source: Mapping[str, Mapping[str, Any]]) -> list[Notice | str]:
    said = [warning for unit in shards.units for warning in unit["warnings"]]
    return said + [
        notice(
            "{source}: {n} of {rows} rows cannot be used ({reasons}); they are in {file}",
            source=name,
            n=sum(counts["broken"].values()),
            rows=counts["rows"],
            reasons=counts["broken"],
            file=REJECTED,
        )
        for name, counts in by_source.items()
        if counts["broken"]
    ]


def _tally(codes: np.ndarray, names: list[str]) -> dict[str, int]:
    return {names[code]: int(n) for code, n in enumerate(np.bincount(codes)) if n}


def _unique(name: str, taken: Mapping[str, Any]) -> str:
    return name if name not in taken else _unique(name + "'", taken)
