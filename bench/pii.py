"""How well ``yaongi.data.pii`` finds personal data, and how fast.

Precision and recall per kind on made-up sentences (``pii_cases.py``): a finding counts when kind,
start and end are those of the label, so half an address is a miss and a false alarm. The test
sentences are only measured; rules are changed by looking at the tuning ones.

    python bench/pii.py                          # test sentences -> bench/results/pii.json
    python bench/pii.py --split tune --failures  # what to work on
    YAONGI_DATA=... python bench/pii.py --look 50   # and findings in real text, to be read
"""

from __future__ import annotations

import argparse
import json
import os
import resource
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from pii_cases import KINDS, SLOT, Case, cases
from pii_disguises import ORDINARY

from yaongi.core.artifact import git_commit, machine
from yaongi.core.config import data_root
from yaongi.core.files import write_json
from yaongi.core.intervals import wilson
from yaongi.data.pii import Finding, find, scrub
from yaongi.data.sources import Reading
from yaongi.data.sources.files import FilesSource
from yaongi.evals.report import grid

ROOT = Path(__file__).parents[1]
EACH, LOOK_ALIKES = 400, 1600


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description="Precision, recall and speed.")
    parser.add_argument("--split", choices=["tune", "test"], default="test")
    parser.add_argument("--failures", action="store_true", help="print them (tune only)")
    parser.add_argument("--look", type=int, default=0, help="print so many findings of real text")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "bench/results/pii.json")
    args = parser.parse_args()
    suite = list(all_cases(args.split, args.seed))
    scores = judge(suite)
    for kind, common in judge([case for case in suite if not disguised(case)]).items():
        scores[kind]["common_recall"] = common["recall"]
    false_alarms = sum(bool(find(case.text)) for case in suite if not case.labels)
    names = ["kind", "labelled", "precision", "recall", "recall, common spelling"]
    print(grid(names, [row(kind, score) for kind, score in scores.items()]))
    print(f"{false_alarms} of {LOOK_ALIKES} look-alikes taken for personal data")
    if args.failures and args.split == "tune":
        show_failures(suite)
    if args.split == "test":
        result: dict[str, Any] = {"seed": args.seed, "sentences": len(suite), "kinds": scores}
        result["look_alikes"] = {"sentences": LOOK_ALIKES, "with_findings": false_alarms}
        if "YAONGI_DATA" in os.environ:
            result["real_text"] = real_text(data_root(), args.look)
        result |= {"hardware": machine(), "git_commit": git_commit()}
        write_json(args.out, result)


def all_cases(split: str, seed: int) -> Iterator[Case]:
    """The positives of each kind and the look-alikes."""
    for kind in KINDS:
        yield from cases(split, kind, EACH, seed)
    yield from cases(split, "none", LOOK_ALIKES, seed)


def judge(suite: list[Case]) -> dict[str, dict[str, Any]]:
    """Counts, precision and recall of each kind, with 95 % Wilson intervals."""
    labelled, found, right = Counter(), Counter(), Counter()
    for case in suite:
        labels, findings = set(case.labels), set(map(tuple, find(case.text)))
        for counter, items in ((labelled, labels), (found, findings), (right, labels & findings)):
            counter.update(kind for kind, _, _ in items)
    return {
        kind: {
            "labelled": labelled[kind],
            "found": found[kind],
            "right": right[kind],
            "precision": share(right[kind], found[kind]),
            "recall": share(right[kind], labelled[kind]),
        }
        for kind in KINDS
    }


def disguised(case: Case) -> bool:
    """Whether a value is spelt to deceive, scanned or broken over lines (``pii_disguises.py``)."""
    spellings = {found[2] for found in SLOT.finditer(case.template)}
    return bool(spellings - ORDINARY - {None})


def share(k: int, n: int) -> list[float]:
    """The share and its interval."""
    return [round(value, 4) for value in (k / max(n, 1), *wilson(k, n))]


def row(kind: str, score: dict[str, Any]) -> list[str]:
    """A line of the table."""
    names = ("precision", "recall", "common_recall")
    shares = ("{:.3f} ({:.3f}–{:.3f})".format(*score[name]) for name in names)
    return [kind, str(score["labelled"]), *shares]


def show_failures(suite: list[Case]) -> None:
    """Each wrong sentence, with what was missed and what was wrongly found."""
    for case in suite:
        labels, findings = set(case.labels), {(f.kind, f.start, f.end) for f in find(case.text)}
        for sign, items in (("missed", labels - findings), ("wrong", findings - labels)):
            for kind, start, end in sorted(items):
                print(f"{sign} {kind} {case.text[start:end]!r} in {case.text!r}")


# --- real text ---------------------------------------------------------------------------------


def real_text(root: Path, look: int) -> dict[str, Any]:
    """Findings per kind and the speed of ``scrub`` on every file of ``$YAONGI_DATA/train``."""
    source = FilesSource(path="train/[a-o]*.zst")
    texts = [document.text for document in source.read(Reading(root))]
    size = sum(len(text.encode()) for text in texts)
    start = user_seconds()
    for text in texts:
        scrub(text)
    speed = size / 1e6 / (user_seconds() - start)
    findings = [(text, f) for text in texts for f in find(text)]
    counts = Counter(f.kind for _, f in findings)
    print(f"{size / 1e6:.1f} MB, {speed:.1f} MB/s of user time, {dict(counts.most_common())}")
    show_some(findings, look)
    return {"bytes": size, "findings": dict(counts), "scrub_mb_per_s": round(speed, 2)}


def show_some(findings: list[tuple[str, Finding]], most: int) -> None:
    """Up to ``most`` findings in their surroundings, the kinds in turn, as most are e-mails."""
    Random(0).shuffle(findings)
    turn, seen = [], Counter()
    for text, found in findings:
        turn.append((seen[found.kind], len(turn), text, found))
        seen[found.kind] += 1
    for _, _, text, (kind, a, b) in sorted(turn)[:most]:
        around = text[max(0, a - 40) : a] + "⟦" + text[a:b] + "⟧" + text[b : b + 30]
        print(f"{kind}: {json.dumps(around, ensure_ascii=False)}")


def user_seconds() -> float:
    """CPU time of this process outside the kernel."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_utime


if __name__ == "__main__":
    main()
