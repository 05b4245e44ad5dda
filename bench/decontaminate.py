"""What decontamination finds in real text, how much of what is planted, and how fast.

    YAONGI_DATA=... python bench/decontaminate.py                  # all of it
    YAONGI_DATA=... python bench/decontaminate.py --samples DIR    # and rows to read

``eval/`` is looked for in ``train/``. Planted are items of every set, with other spaces, other
punctuation and some capitals, in documents that are kept without them.
"""

import argparse
import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from yaongi.core.config import data_root
from yaongi.core.intervals import wilson
from yaongi.data.contamination import Contamination, Limits, strings
from yaongi.data.filters.decontaminate import evaluation_files, evaluation_rows
from yaongi.data.letters import Page
from yaongi.data.sources.formats import Opened, read_jsonl

ROOT = Path(__file__).parents[1]
EACH = 50
"""Rows to read of each kind."""
LAX = Limits(words=8, letters=12, overlap=0.0, exact=24)
"""What else of an evaluation set may stand in a row that is kept."""


def documents(path: Path, share: float, draw: random.Random) -> Iterator[str]:
    """A random share of a file's rows, each as its strings: also rows that are no documents."""
    with Opened(path) as opened:
        for parsed in read_jsonl(opened):
            if draw.random() < share:
                yield "\n".join(strings(parsed.row))


def disguised(item: str, draw: random.Random) -> str:
    """``item`` with some spaces gone and some added, no punctuation but new, and capitals."""
    kept = "".join(c for c in item if c.isalnum() or (c == " " and draw.random() < 0.5))
    return "".join(c.upper() + draw.choice(["", "", "", "", " ", ", ", "\n"]) for c in kept)


def planted(
    index: Contamination, rows: list[tuple[str, int, Any]], hosts: list[str], n: int, seed: int
) -> dict[str, Any]:
    """By set: how many of ``n`` items are found in a host, long enough ones only."""
    draw = random.Random(seed)
    by_set: dict[str, list[str]] = {}
    for name, _, row in rows:
        longest = max(strings(row), key=len, default="")
        if Page(longest).size >= index.limits.exact:
            by_set.setdefault(name, []).append(longest)
    found = {}
    for name, items in sorted(by_set.items()):
        chosen = draw.sample(items, min(n, len(items)))
        hits = 0
        for item in chosen:
            host = draw.choice(hosts)
            at = draw.randrange(len(host) + 1)
            hits += (
                index.find(host[:at] + " " + disguised(item, draw) + " " + host[at:]) is not None
            )
        low, high = wilson(hits, len(chosen))
        found[name] = {"planted": len(chosen), "found": hits, "recall_95": [low, high]}
    return found


class Reservoir:
    """``EACH`` random rows of a stream (Vitter 1985, algorithm R)."""

    def __init__(self, draw: random.Random) -> None:
        self.draw, self.seen = draw, 0
        self.rows: list[dict[str, Any]] = []

    def add(self, row: dict[str, Any]) -> None:
        """Maybe keep a row."""
        self.seen += 1
        if len(self.rows) < EACH:
            self.rows.append(row)
        elif (at := self.draw.randrange(self.seen)) < EACH:
            self.rows[at] = row


def write_samples(
    folder: Path,
    dropped: list[dict[str, Any]],
    kept: list[dict[str, Any]],
    rows: list[tuple[str, int, Any]],
) -> None:
    """Each with the item found in it, in a kept one by much laxer limits."""
    items = {f"{name}:{number}": row for name, number, row in rows}
    lax = Contamination(rows, LAX)
    for row in kept:
        if match := lax.find(row["text"]):
            row.update(match._asdict())
    folder.mkdir(parents=True, exist_ok=True)
    for name, found in (("dropped", dropped), ("kept", kept)):
        lines = [{**row, "item": list(strings(items.get(row.get("where", ""))))} for row in found]
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        (folder / f"decontaminate.{name}.jsonl").write_text(text, encoding="utf-8")


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="of each file's rows")
    parser.add_argument("--sources", default="*", help="a glob of file names")
    parser.add_argument("--overlap", type=float, default=Limits().overlap)
    parser.add_argument("--letters", type=int, default=Limits().letters)
    parser.add_argument("--plant", type=int, default=50, help="items of each set")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--samples", type=Path, help="folder for rows to read")
    parser.add_argument("--out", type=Path, default=ROOT / "bench/results/decontamination.json")
    args = parser.parse_args()
    root, draw = data_root(), random.Random(args.seed)
    start = time.process_time()
    rows = list(evaluation_rows(evaluation_files((str(root / "eval"),))))
    limits = Limits(overlap=args.overlap, letters=args.letters)
    index = Contamination(rows, limits)
    built_s = time.process_time() - start
    drops: list[dict[str, Any]] = []
    counts: dict[str, Counter[str]] = {}
    hosts: list[str] = []
    kept = Reservoir(random.Random(f"{args.seed} kept"))
    number, megabytes, seconds = 0, 0.0, 0.0
    for path in sorted((root / "train").glob(f"{args.sources}.jsonl.zst")):
        source = path.name.removesuffix(".jsonl.zst")
        for text in documents(path, args.share, draw):
            start = time.process_time()
            match = index.find(text)
            seconds += time.process_time() - start
            number, megabytes = number + 1, megabytes + len(text.encode(errors="replace")) / 1e6
            if match is None:
                kept.add({"source": source, "text": text})
                if 200 < len(text) < 5000 and len(hosts) < 300 and draw.random() < 0.05:
                    hosts.append(text)
                continue
            kind = "whole" if match.whole else "n-grams"
            counts.setdefault(source, Counter())[f"{match.where.partition(':')[0]} {kind}"] += 1
            drops.append({"source": source, **match._asdict(), "text": text})
        print(source, dict(counts.get(source, {})), flush=True)
    if args.samples:
        chosen = random.Random(args.seed).sample(drops, min(EACH, len(drops)))
        write_samples(args.samples, chosen, kept.rows, rows)
    result = {
        "limits": limits._asdict(),
        "index": {"texts": len(index), "n_grams": index.n_grams, "bytes": index.bytes,
                  "seconds": round(built_s, 2)},
        "documents": number,
        "mb": round(megabytes, 2),
        "mb_per_s": round(megabytes / max(seconds, 1e-9), 2),
        "dropped": {source: dict(found.most_common()) for source, found in counts.items()},
        "planted": planted(index, rows, hosts, args.plant, args.seed),
    }  # fmt: skip
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    print(json.dumps({**result, "dropped": sum(map(Counter.total, counts.values()))}))


if __name__ == "__main__":
    main()
