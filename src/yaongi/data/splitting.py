"""The second pass over a corpus: copies go, part is held out, each split gets its lines.

What is decided here is decided from a few bytes about every document (``Shards``); the documents
themselves pass by once, in order.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from yaongi.data.cleaning.notes import (
    EXAMPLES,
    Examples,
    StepCounts,
    example,
    place,
    rejected_line,
)
from yaongi.data.cleaning.shards import Shards
from yaongi.data.dedup.exact import DUPLICATE, TRAIN, VAL
from yaongi.data.lines import json_line, writer
from yaongi.data.sources import Rejected, Source

SPLITS = ("train", "val")
REJECTED = "rejected.jsonl.zst"
EXAMPLES_FILE = "examples.jsonl"
COPY = "copy"
NOTE_EVERY = 500  # documents between calls of the progress function


def write_splits(
    shards: Shards,
    sides: np.ndarray,
    folder: Path,
    *,
    keep_dropped: bool,
    on_progress: Callable[[float, str], None],
) -> None:
    """Copy every line to its split and domain; write the rejected set and the examples.

    Args:
        sides: (n,) DUPLICATE, TRAIN or VAL.
        keep_dropped: put duplicates into the rejected set, too.
    """
    examples = _examples(shards)
    shown = _smallest(shards.digests, sides == DUPLICATE)
    with ExitStack() as files:
        rejected = files.enter_context(writer(folder / REJECTED))
        for line in shards.rejected():
            rejected.write(line)
        out: dict[tuple[int, int], BinaryIO] = {}
        for i, line in enumerate(shards.lines()):
            key = (int(sides[i]), int(shards.domain[i]))
            if key[0] == DUPLICATE:
                _drop(line, shards.digests[i], i in shown, examples, keep_dropped and rejected)
            else:
                if key not in out:
                    name = f"{SPLITS[key[0] - TRAIN]}/{shards.domains[key[1]]}.jsonl.zst"
                    (folder / name).parent.mkdir(exist_ok=True)
                    out[key] = files.enter_context(writer(folder / name))
                out[key].write(line)
            if i % NOTE_EVERY == 0:
                on_progress(i / len(sides), "writing")
    on_progress(1.0, "writing")
    (folder / EXAMPLES_FILE).write_bytes(b"".join(map(json_line, examples.rows())))


def _examples(shards: Shards) -> Examples:
    examples = Examples()
    for unit in shards.units:
        for row in unit["examples"]:
            examples.offer(row)
    return examples


def _smallest(digests: np.ndarray, where: np.ndarray) -> set[int]:
    """The documents to show: some more than ``EXAMPLES``, since copies share a digest."""
    there = np.flatnonzero(where)
    return {int(i) for i in there[np.argsort(digests[there, 0], kind="stable")[: 4 * EXAMPLES]]}


def _drop(
    line: bytes, key: np.ndarray, shown: bool, examples: Examples, rejected: BinaryIO | bool
) -> None:
    """A duplicate: perhaps an example, perhaps a line of the rejected set."""
    if not (shown or rejected):
        return
    row = json.loads(line)
    labels, text = row["metadata"], row["text"]
    if shown:
        examples.offer(example(text, key.tobytes(), labels, step="duplicates", reason=COPY))
    if not isinstance(rejected, bool):
        said = Rejected(*place(row["id"]), COPY, text)
        rejected.write(rejected_line(said, labels["source"], "duplicates"))


# --- counts ----------------------------------------------------------------------------------


def count_all(shards: Shards, sides: np.ndarray, sources: Sequence[Source]) -> dict[str, Any]:
    """The counts of the manifest: by step, by domain and split, by source and reason."""
    copies = sides == DUPLICATE
    domains = {name: _domain_counts(shards, sides, name) for name in sorted(shards.domains)}
    by_source = _source_counts(shards, sides, sources)
    unheld = [name for name, counts in domains.items() if not counts["val"]["documents"]]
    return {
        "documents": int(np.count_nonzero(~copies)),
        "duplicates": int(np.count_nonzero(copies)),
        "broken": broken_rows(shards.units),
        "steps": _funnel(shards, sides, range(len(shards.units)), np.ones(len(shards), dtype=bool)),
        "domains": domains,
        "sources": by_source,
        "warnings": _warnings(shards, by_source)
        + [f"no document of the domain '{name}' is held out" for name in unheld],
    }


def broken_rows(units: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Rows that are no documents, by reason."""
    return dict(sum((Counter(unit["steps"][0]["dropped"]) for unit in units), Counter()))


def reasons(tally: Mapping[str, int]) -> str:
    """``3 not JSON, 1 too short``."""
    return ", ".join(f"{n} {reason}" for reason, n in sorted(tally.items())) or "no rows"


def _funnel(
    shards: Shards, sides: np.ndarray, units: Iterable[int], of_these: np.ndarray
) -> list[dict[str, Any]]:
    """The steps in order, for some units and the documents in them."""
    steps = [StepCounts(step["step"]) for step in shards.units[0]["steps"]]
    for unit in units:
        for total, counts in zip(steps, shards.units[unit]["steps"], strict=True):
            total.add(counts)
    kept, copies = of_these & (sides != DUPLICATE), of_these & (sides == DUPLICATE)
    left = int(np.count_nonzero(kept)), int(shards.bytes[kept].sum())
    dropped = Counter({COPY: int(np.count_nonzero(copies))})
    held = Counter({"held out": int(np.count_nonzero(kept & (sides == VAL)))})
    steps += [
        StepCounts("duplicates", *left, dropped=+dropped),
        StepCounts("split", *left, changed=+held),
    ]
    return [step.as_json() for step in steps]


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
    shards: Shards, sides: np.ndarray, sources: Sequence[Source]
) -> dict[str, dict[str, Any]]:
    copies = sides == DUPLICATE
    counts: dict[str, dict[str, Any]] = {}
    for i, source in enumerate(sources):
        units = [unit for unit, of in enumerate(shards.unit_source) if of == i]
        of_source = shards.source == i
        there = of_source & ~copies
        funnel = _funnel(shards, sides, units, of_source)
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


def _warnings(shards: Shards, by_source: Mapping[str, Mapping[str, Any]]) -> list[str]:
    said = [warning for unit in shards.units for warning in unit["warnings"]]
    return said + [
        f"{name}: {sum(counts['broken'].values())} of {counts['rows']} rows "
        f"cannot be used ({reasons(counts['broken'])}); they are in {REJECTED}"
        for name, counts in by_source.items()
        if counts["broken"]
    ]


def _tally(codes: np.ndarray, names: list[str]) -> dict[str, int]:
    return {names[code]: int(n) for code, n in enumerate(np.bincount(codes)) if n}


def _unique(name: str, taken: Mapping[str, Any]) -> str:
    return name if name not in taken else _unique(name + "'", taken)
