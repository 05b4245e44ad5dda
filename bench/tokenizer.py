"""Which regex, which shares of domains, and what comes out, on text not trained on.

    YAONGI_DATA=... python bench/tokenizer.py regexes   # each of these is one section of
    YAONGI_DATA=... python bench/tokenizer.py shares    # bench/results/tokenizer.json
    YAONGI_DATA=... python bench/tokenizer.py folds
    YAONGI_DATA=... python bench/tokenizer.py alone
    YAONGI_DATA=... python bench/tokenizer.py memory
    python bench/tokenizer.py tables                    # prints them for docs/results/tokenizer.md

What is learnt from and what is held out: tokenizer_sources.py.
"""

import argparse
import functools
import json
import random
import resource
import sysconfig
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizer_sources import FOLDS, KINDS, SOURCES, UNSEEN, UNSEEN_PACKAGES

from yaongi.core.artifact import machine
from yaongi.core.config import data_root
from yaongi.data.sources import Reading
from yaongi.data.sources.files import FilesSource
from yaongi.text.bpe import MAX_WORDS
from yaongi.text.bytelevel import DEFAULT_REGEX, REGEXES
from yaongi.text.learn import learn, word_counts
from yaongi.text.normalize import nfc
from yaongi.text.report import report
from yaongi.text.tokenizer import Tokenizer

OUT = Path(__file__).parents[1] / "bench/results/tokenizer.json"
PRETRAINING = {"ko": 0.40, "en": 0.20, "code": 0.25, "math": 0.15}
"""Shares of domains a model reads; what the tokenizer's shares are judged by."""

SLICES, MAX_CHARS, JUDGED_MB = 10, 10_000, 0.5

_S = "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?"
_START, _END = r"[^\r\n\p{L}\p{N}]?", r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_UP, _LOW = r"((?=[\p{L}])([^a-z]))", r"((?=[\p{L}])([^A-Z]))"
_LU, _LL = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
CANDIDATES = {  # beside those we support; as llama.cpp's llama-vocab.cpp has them
    "gpt-2": (r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",),
    "gpt-4o": (
        rf"{_START}{_UP}*{_LOW}+{_S}|{_START}{_UP}+{_LOW}*{_S}|\p{{N}}{{1,3}}{_END}",
    ),
    "youtu": (
        "[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+",
        rf"{_START}{_LU}*{_LL}+{_S}|{_START}{_LU}+{_LL}*{_S}|\p{{N}}{_END}",
    ),
}  # fmt: skip


def texts(name: str, field: str = "text", max_mb: float = 1e9) -> list[str]:
    """The documents of a file, cut as the stage cuts them, at most ``max_mb`` of them."""
    fields = {} if field == "text" else {"text": field}
    source = FilesSource(path=f"{name}.jsonl.zst", fields=fields)
    found, size = [], 0
    for document in source.read(Reading(data_root())):
        found.append(nfc(document.text)[:MAX_CHARS])
        size += len(found[-1].encode())
        if size > max_mb * 1e6:
            break
    return found


@functools.cache
def slices(name: str, regex: str) -> list[tuple[int, Counter[str]]]:
    """(bytes, words) of each tenth of a source's documents: every tenth, from the first on."""
    parts = [texts(f"train/{name}")[k::SLICES] for k in range(SLICES)]
    return [(sum(len(t.encode()) for t in part), word_counts(part, regex)) for part in parts]


def train(
    regex: str, out: Sequence[str], shares: Mapping[str, float] | None = None, mb: float = 80
) -> tuple[Tokenizer, dict[str, float]]:
    """A tokenizer from all sources but ``out``, and the MB of each domain it was trained on.

    Args:
        shares: of ``mb`` per domain, in steps of a tenth of what there is, which is repeated
            where that is too little; None takes everything once.
    """
    words: Counter[str] = Counter()
    got: dict[str, float] = {}
    for domain, names in SOURCES.items():
        parts = [slices(name, regex) for name in names if name not in out]
        there = sum(size for part in parts for size, _ in part) / 1e6
        take = SLICES if shares is None else round(SLICES * mb * shares[domain] / there)
        for k in range(take):
            for part in parts:
                words.update(part[k % SLICES][1])
        got[domain] = round(there * take / SLICES, 1)
    return Tokenizer(learn(words, 32_768, regex=regex).to_str().encode()), got


def judged(names: Sequence[str]) -> dict[str, list[str]]:
    """Held-out texts: of ``names``, and what is never trained on."""
    held = {name: texts(f"train/{name}", max_mb=JUDGED_MB) for name in names}
    held |= {n.split("/")[1]: texts(n, f, JUDGED_MB) for n, f in UNSEEN.items()}
    return held | {"packages": packages()}


@functools.cache
def packages() -> list[str]:
    """Modules of installed packages, each package as much of ``JUDGED_MB``."""
    found: list[str] = []
    for name in UNSEEN_PACKAGES:
        left = JUDGED_MB * 1e6 / len(UNSEEN_PACKAGES)
        for path in sorted(Path(sysconfig.get_paths()["purelib"], name).rglob("*.py")):
            found.append(nfc(path.read_text("utf-8"))[:MAX_CHARS])
            left -= len(found[-1].encode())
            if left <= 0:
                break
    return found


def run(tag: str, regex: str, fold: str, **how: Any) -> dict[str, Any]:
    """One tokenizer, judged."""
    start = time.perf_counter()
    tokenizer, got = train(regex, FOLDS[fold], **how)
    seconds = round(time.perf_counter() - start, 1)
    found = report(tokenizer, judged(FOLDS[fold])).as_json()
    print(f"{tag} {regex} fold {fold} {got} {seconds} s", flush=True)
    for kind, row in by_kind([found]).items():
        print(f"  {kind:12s} {row}", flush=True)
    return {"regex": regex, "fold": fold, "mb": got, "seconds": seconds, **how, "report": found}


def by_kind(reports: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean over the sources of a kind, each once, in whichever report it occurs first; and the
    worst tokens per syllable."""
    domains = {n: d for found in reversed(reports) for n, d in found["domains"].items()}
    rows: dict[str, dict[str, float]] = {}
    for kind, names in KINDS.items():
        there = [domains[name] for name in names if name in domains]
        rows[kind] = {"sources": len(there)}
        for field in (
            "tokens_per_syllable",
            "tokens_per_eojeol",
            "bytes_per_token",
            "partial_utf8",
        ):
            values = [d[field] for d in there if d[field] is not None]
            if values and (kind.startswith(("ko", "math")) or not field.startswith("tokens")):
                rows[kind][field] = round(sum(values) / len(values), 4)
        if kind == "ko prose" and there:
            rows[kind]["worst"] = max(d["tokens_per_syllable"] for d in there)
    return rows


def cost(kinds: Mapping[str, Mapping[str, float]]) -> float:
    """Tokens per byte of held-out text in the proportions of pretraining."""
    of = {
        "ko": ["ko prose", "ko informal", "ko docs"],
        "en": ["en prose", "en technical"],
        "code": ["python"],
        "math": ["math"],
    }
    per_byte = {
        d: sum(1 / kinds[k]["bytes_per_token"] for k in ks) / len(ks) for d, ks in of.items()
    }
    return round(sum(share * per_byte[d] for d, share in PRETRAINING.items()), 5)


def regexes(args: argparse.Namespace) -> Any:
    """Every regex on the same sources."""
    REGEXES.update(CANDIDATES)
    runs = [run("regex", regex, "1") for regex in args.only or REGEXES]
    return [{**r, "kinds": by_kind([r["report"]])} for r in runs]


def shares(args: argparse.Namespace) -> Any:
    """Korean from 40 to 70 %, the rest in the proportions of pretraining."""
    rest = 1 - PRETRAINING["ko"]
    runs = []
    for ko in (0.40, 0.50, 0.55, 0.60, 0.70):
        mix = {d: round(s * (1 - ko) / rest, 4) for d, s in PRETRAINING.items()} | {"ko": ko}
        both = [run("shares", args.regex, fold, shares=mix, mb=args.mb) for fold in ("1", "2")]
        kinds = by_kind([r["report"] for r in both])
        runs.append({"shares": mix, "mb": args.mb, "cost": cost(kinds), "kinds": kinds})
        print(f"ko {ko:.2f}: cost {runs[-1]['cost']}")
    return runs


def folds(args: argparse.Namespace) -> Any:
    """The targets: every kind unseen."""
    runs = [run("folds", args.regex, fold) for fold in FOLDS]
    return {"runs": runs, "kinds": by_kind([r["report"] for r in runs])}


def alone(args: argparse.Namespace) -> Any:
    """What a vocabulary reaches that one language has to itself, and one learnt from the very
    text it is judged by: no shares of these texts can do better."""
    held = judged(FOLDS["1"])
    plans = [(("ko",), n) for n in (16_384, 24_576, 32_768, 49_152)]
    plans += [(("en", "code", "math"), n) for n in (8_192, 16_384, 32_768, 49_152)]
    rows = {}
    for domains, size in plans:
        words: Counter[str] = Counter()
        for name in (n for d in domains for n in SOURCES[d] if n not in FOLDS["1"]):
            for _, part in slices(name, args.regex):
                words.update(part)
        rows[f"{'+'.join(domains)}, {size:,}"] = words, size
    rows["the test itself, 32,768"] = (
        word_counts((t for ts in held.values() for t in ts), args.regex), 32_768)  # fmt: skip
    found = {}
    for tag, (words, size) in rows.items():
        made = learn(words, size, regex=args.regex, allow_smaller=True)
        found[tag] = by_kind([report(Tokenizer(made.to_str().encode()), held).as_json()])
        print(tag, found[tag], flush=True)
    return found


def memory(args: argparse.Namespace) -> Any:
    """How many different words a text has, and what so many words take."""
    seen: Counter[str] = Counter()
    growth = []
    for k in range(SLICES):
        for names in SOURCES.values():
            for name in names:
                seen.update(slices(name, args.regex)[k][1])
        size = sum(slices(n, args.regex)[j][0] for ns in SOURCES.values() for n in ns
                   for j in range(k + 1))  # fmt: skip
        growth.append({"mb": round(size / 1e6, 1), "words": len(seen)})
    return {"growth": growth, "most_words": MAX_WORDS, "learning": learning(args.words)}


def learning(words: int) -> dict[str, Any]:
    """Peak memory of counting and learning from so many different words, 4 to 12 letters each."""
    rng = random.Random(0)
    letters = [chr(0xAC00 + i) for i in range(0, 11172, 12)]

    def stream() -> Iterator[str]:
        for _ in range(words // 100):
            drawn = (" " + "".join(rng.choices(letters, k=rng.randint(4, 12))) for _ in range(100))
            yield "".join(drawn) * 2

    start = time.perf_counter()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    counted = word_counts(stream(), DEFAULT_REGEX)
    middle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    learn(counted, 32_768, regex=DEFAULT_REGEX, allow_smaller=True)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"words": len(counted), "gb_before": round(before / 1e6, 2),
            "gb_counting": round(middle / 1e6, 2), "gb_learning": round(after / 1e6, 2),
            "seconds": round(time.perf_counter() - start, 1)}  # fmt: skip


def tables(kept: Mapping[str, Any]) -> Iterator[str]:
    """What was kept, in Markdown."""
    if "regexes" in kept:
        yield "\n## Regexes\n"
        yield from kinds_table({r["regex"]: r["kinds"] for r in kept["regexes"]["result"]})
    if "shares" in kept:
        yield "\n## Shares\n"
        runs = kept["shares"]["result"]
        yield from kinds_table(
            {f"ko {r['shares']['ko']:.0%}, cost {r['cost']:.4f}": r["kinds"] for r in runs}
        )
    if "folds" in kept:
        yield "\n## Every kind unseen\n"
        yield from kinds_table({"all folds": kept["folds"]["result"]["kinds"]})
        for run in kept["folds"]["result"]["runs"]:
            yield f"\nFold {run['fold']}, {run['mb']} MB, {run['seconds']} s:\n"
            yield "| source | tokens/syllable | tokens/eojeol | bytes/token | partial UTF-8 |"
            yield "|---|--:|--:|--:|--:|"
            for name, d in run["report"]["domains"].items():
                yield f"| {name} | {' | '.join(cells(d))} |"
    if "alone" in kept:
        yield "\n## One language alone\n"
        yield from kinds_table(kept["alone"]["result"])
    if "memory" in kept:
        yield f"\n{json.dumps(kept['memory']['result'], indent=1)}"


def kinds_table(rows: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Iterator[str]:
    """Kinds downwards, what is compared to the right, the numbers of a kind in one cell."""
    yield f"| kind | {' | '.join(rows)} |"
    yield f"|---|{'--:|' * len(rows)}"
    for kind in KINDS:
        if any(row[kind]["sources"] for row in rows.values()):
            shown = (" · ".join(cells(row[kind])) for row in rows.values())
            yield f"| {kind} | {' | '.join(shown)} |"
    yield "\nTokens per syllable · per eojeol · bytes per token · partial UTF-8."


def cells(d: Mapping[str, float | None]) -> list[str]:
    """The four numbers as people read them."""
    found = [d.get(f) for f in ("tokens_per_syllable", "tokens_per_eojeol", "bytes_per_token")]
    shown = ["–" if value is None else f"{value:.3f}" for value in found]
    return [*shown, f"{d.get('partial_utf8') or 0:.2%}"]


SECTIONS = {"regexes": regexes, "shares": shares, "folds": folds, "alone": alone,
            "memory": memory,
            "learning": lambda args: learning(args.words)}  # fmt: skip


def main() -> None:
    """Run one section and keep it beside the others."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("section", choices=[*SECTIONS, "tables"])
    parser.add_argument("--regex", default=DEFAULT_REGEX, choices=[*REGEXES, *CANDIDATES])
    parser.add_argument("--only", nargs="*", help="of the section regexes, these")
    parser.add_argument("--mb", type=float, default=24, help="of the section shares, each run")
    parser.add_argument("--words", type=int, default=MAX_WORDS, help="of the section memory")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    kept = json.loads(args.out.read_text("utf-8")) if args.out.exists() else {}
    if args.section == "tables":
        print("\n".join(tables(kept)))
        return
    found = SECTIONS[args.section](args)
    kept[args.section] = {"hardware": machine(), "result": found}
    args.out.write_text(json.dumps(kept, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
