"""What each cleaning step does to real text: kept, dropped and changed by reason, and its speed.

    YAONGI_DATA=... python bench/filters.py                   # bench/results/filters.json
    YAONGI_DATA=... python bench/filters.py --samples DIR     # and texts to read, outside the clone

Every step sees every document as the steps before it left it, also one that an earlier step
would have dropped, so that the counts of a step do not depend on the others' limits. Steps that
pass conversations by in a build pass them by here.
"""

import argparse
import json
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from yaongi.core.config import data_root
from yaongi.core.errors import DataError
from yaongi.data.filters import FILTERS, Cleaned, Conversations, Filter
from yaongi.data.filters.html import _TAG
from yaongi.data.filters.shape import Shape
from yaongi.data.filters.spam import _words
from yaongi.data.recognise import TEXT
from yaongi.data.sources import Reading
from yaongi.data.sources.files import FilesSource

ROOT = Path(__file__).parents[1]
NEED_FILES = ("quality", "decontaminate")  # they have benches of their own
STEPS: dict[str, Filter] = {
    kind: FILTERS.lookup(kind)(kind=kind) for kind in FILTERS.builtin if kind not in NEED_FILES
}
STEPS["shape, Korean only"] = Shape(min_hangul=0.25)
SUSPECT: dict[str, Callable[[str], object]] = {"html": _TAG.search, "spam": _words().hint}
"""What a step looks for and mostly keeps: random documents hardly ever hold it."""


def texts(path: Path, max_mb: float, seed: int) -> list[tuple[str, str]]:
    """(text, form) of a file's documents in random order, up to ``max_mb``."""
    source = FilesSource(path=str(path))
    try:
        read = source.read(Reading(path.parent))
        found = [(document.text, document.metadata["form"]) for document in read]
    except DataError:  # rows that are no documents, such as prompts without answers
        return []
    random.Random(f"{seed} {path.name}").shuffle(found)
    size, taken = 0.0, []
    for text, form in found:
        taken.append((text, form))
        size += len(text.encode()) / 1e6
        if size >= max_mb:
            break
    return taken


class Measured:
    """One step on one source."""

    def __init__(self) -> None:
        self.seconds, self.megabytes = 0.0, 0.0
        self.documents = self.changed_documents = 0
        self.dropped: Counter[str] = Counter()
        self.changed: Counter[str] = Counter()

    def clean(self, step: Filter, text: str) -> Cleaned:
        """``step.clean(text)``, measured."""
        start = time.process_time()
        result = step.clean(text)
        self.seconds += time.process_time() - start
        self.megabytes += len(text.encode(errors="replace")) / 1e6
        self.documents += 1
        self.changed_documents += result.text != text
        self.dropped.update([result.drop] if result.drop else [])
        self.changed.update(result.changed)
        return result

    def as_json(self) -> dict[str, Any]:
        """For the results."""
        return {
            "documents": self.documents,
            "dropped": dict(self.dropped.most_common()),
            "changed_documents": self.changed_documents,
            "changed": dict(self.changed.most_common()),
            "mb": round(self.megabytes, 2),
            "mb_per_s": round(self.megabytes / max(self.seconds, 1e-9), 2),
        }


class Samples:
    """Texts to read: by step, what was dropped, changed and kept."""

    def __init__(self) -> None:
        self.found: dict[str, list[dict[str, str]]] = defaultdict(list)

    def add(self, step: str, source: str, before: str, result: Cleaned) -> None:
        """Remember one."""
        what = "dropped" if result.drop else "changed" if result.text != before else "kept"
        if step == "profanity":
            what = "tagged" if result.tags["profanity"] else "kept"
        row = {"source": source, "why": result.drop or str(dict(result.changed))}
        row |= {"before": before, "after": result.text}
        self.found[f"{step}.{what}"].append(row)
        if what == "kept" and step in SUSPECT and SUSPECT[step](before):
            self.found[f"{step}.suspect"].append(row)

    def write(self, folder: Path, seed: int, each: int = 50) -> None:
        """``each`` of every kind, at random."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, rows in self.found.items():
            drawn = random.Random(f"{seed} {name}").sample(rows, min(each, len(rows)))
            lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in drawn)
            (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sources", default="*", help="a glob of file names")
    parser.add_argument("--max-mb", type=float, default=2.0, help="of each source")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--samples", type=Path, help="folder for texts to read")
    parser.add_argument("--out", type=Path, default=ROOT / "bench/results/filters.json")
    args = parser.parse_args()
    for step in STEPS.values():  # lists and models are read once, which is not what is measured
        step.clean("기자 대출 caf\u00c3\u00a9 <p>a</p> The quick brown fox jumps over the lazy dog")
    samples, results = Samples(), {}
    for path in sorted((data_root() / "train").glob(f"{args.sources}.jsonl.zst")):
        source = path.name.removesuffix(".jsonl.zst")
        measured = {kind: Measured() for kind in STEPS}
        for text, form in texts(path, args.max_mb, args.seed):
            for kind, step in STEPS.items():
                if form != TEXT and step.conversations is Conversations.PASS:
                    continue
                result = measured[kind].clean(step, text)
                if args.samples:
                    samples.add(kind, source, text, result)
                text = result.text if kind != "emoticons" else text
        results[source] = {kind: one.as_json() for kind, one in measured.items()}
        print(source, json.dumps({k: v["dropped"] for k, v in results[source].items()}))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    if args.samples:
        samples.write(args.samples, args.seed)


if __name__ == "__main__":
    main()
