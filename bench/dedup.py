"""Near and substring deduplication on real text: speed, what is found, and what is dropped.

    YAONGI_DATA=... python bench/dedup.py                   # bench/results/dedup.json
    YAONGI_DATA=... python bench/dedup.py --samples DIR     # and pairs to read, outside the clone

Speed stands beside datatrove's steps of the same kinds on the same text in the same run, in CPU
seconds of one thread. Its MinHash step is given words for nothing ("spaces": str.split, the
fastest there is) and, when kiwipiepy is installed, its own choice for Korean.
"""

import argparse
import json
import random
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from datatrove.data import Document
from datatrove.pipeline.dedup.minhash import (
    MinhashConfig,
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupSignature,
)
from datatrove.pipeline.dedup.sentence_dedup import (
    SentDedupConfig,
    SentenceDedupSignature,
    SentenceFindDedups,
)
from datatrove.utils.hashes import xxhash as stock_hash
from datatrove.utils.word_tokenizers import WordTokenizer, load_word_tokenizer
from dedup_pairs import FRAMED, PROSE, Pair, pairs
from loguru import logger

from yaongi.core.config import data_root
from yaongi.core.errors import DataError
from yaongi.core.seeds import Seed
from yaongi.data.dedup import near, substring
from yaongi.data.dedup.exact import digest
from yaongi.data.dedup.shingles import SHINGLES, jaccard, sketch
from yaongi.data.recognise import TEXT
from yaongi.data.sources import Reading
from yaongi.data.sources.files import FilesSource

ROOT = Path(__file__).parents[1]
LIMITS = np.arange(0.4, 1.0, 0.05).round(2).tolist()
EACH = 50
"""Documents to read of each kind."""


def read_all(max_mb: float, seed: int) -> dict[str, list[str]]:
    """Text documents by source, up to ``max_mb`` of each, in the order of the files."""
    texts: dict[str, list[str]] = {}
    for path in sorted((data_root() / "train").glob("*.jsonl.zst")):
        try:
            documents = list(FilesSource(path=str(path)).read(Reading(path.parent)))
        except DataError:  # rows that are no documents, such as prompts without answers
            continue
        found = [d.text for d in documents if d.metadata["form"] == TEXT]
        share = max_mb * 1e6 / max(1, sum(len(text.encode(errors="replace")) for text in found))
        rng = random.Random(f"{seed} {path.name}")
        texts[path.name.removesuffix(".jsonl.zst")] = [t for t in found if rng.random() < share]
    return {source: found for source, found in texts.items() if found}


# --- what is found ---------------------------------------------------------------------------


def accuracy(texts: dict[str, list[str]], seed: int, each: int) -> dict[str, Any]:
    """Recall by kind of copy and false alarms by kind of look-alike, at every limit."""
    short = {n: [t[:6000] for t in found if len(t) > 200] for n, found in texts.items()}
    short = {n: short[n] for n in (*PROSE, *FRAMED) if len(short.get(n, [])) > 1}
    made = list(pairs(short, random.Random(seed), each))
    return {kind: _measured(made, kind) for kind in SHINGLES}


def _measured(made: list[Pair], shingles: str) -> dict[str, Any]:
    exact, estimated = np.empty(len(made)), np.empty(len(made))
    for i, pair in enumerate(made):
        a, b = (SHINGLES[shingles](text) for text in (pair.a, pair.b))
        exact[i] = jaccard(a, b)
        equal = sketch(a, near.PLACES).astype(np.uint8) == sketch(b, near.PLACES).astype(np.uint8)
        estimated[i] = (equal.mean() - 1 / 256) / (1 - 1 / 256)
    same = np.array([pair.same for pair in made])
    kinds = np.array([pair.kind for pair in made])
    curve = []
    for limit in LIMITS:
        rows = near.Near(similarity=limit).rows
        bucketed = 1 - (1 - exact**rows) ** near.BUCKETS
        found = estimated >= limit
        curve.append(
            {
                "limit": limit,
                "recall": round(float(found[same].mean()), 4),
                "recall_of_exact": round(float((exact >= limit)[same].mean()), 4),
                "precision": round(float(same[found].mean()) if found.any() else 1.0, 4),
                "in_a_bucket": round(float(bucketed[same & found].mean()), 4),
                "by_kind": {str(k): round(float(found[kinds == k].mean()), 3) for k in set(kinds)},
            }
        )
    quartiles = {
        str(kind): np.quantile(exact[kinds == kind], [0.05, 0.5, 0.95]).round(3).tolist()
        for kind in dict.fromkeys(kinds.tolist())
    }
    error = estimated - exact
    return {
        "pairs": len(made),
        "similarity_5_50_95": quartiles,
        "estimate": {"bias": round(float(error.mean()), 4), "sd": round(float(error.std()), 4)},
        "curve": curve,
    }


# --- speed -----------------------------------------------------------------------------------


def speed(texts: list[str], repeats: int) -> dict[str, Any]:
    """MB/s of one core by step, the best of ``repeats`` runs in turn."""
    stock: dict[str, WordTokenizer] = {"spaces": Spaces()}
    if find_spec("kiwipiepy"):
        stock["kiwi"] = load_word_tokenizer("kor")
    runs: dict[str, Callable[[Path], None]] = {"ours near": lambda d: _ours_near(d, texts)}
    for words, tokenizer in stock.items():
        runs[f"datatrove minhash, {words}"] = lambda d, t=tokenizer: _stock_near(d, texts, t)
    runs["ours substring"] = lambda d: _ours_substring(d, texts)
    runs["datatrove sentences, by line"] = lambda d: _stock_sentences(d, texts)
    size = sum(len(text.encode(errors="replace")) for text in texts) / 1e6
    best: dict[str, float] = defaultdict(lambda: float("inf"))
    logger.disable("datatrove")
    for turn in range(repeats):
        for name, run in runs.items():
            if "kiwi" in name and turn:
                continue  # minutes
            with tempfile.TemporaryDirectory() as folder:
                start = time.process_time()
                run(Path(folder))
                best[name] = min(best[name], time.process_time() - start)
    rates = {name: round(size / seconds, 2) for name, seconds in best.items()}
    return {"mb": round(size, 2), "documents": len(texts), "mb_per_s": rates}


class Spaces(WordTokenizer):
    """The cheapest words; datatrove's own WhitespaceTokenizer is spaCy's."""

    def word_tokenize(self, text: str) -> list[str]:
        return text.split()

    def sent_tokenize(self, text: str) -> list[str]:
        raise NotImplementedError

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        raise NotImplementedError


def _documents(texts: Iterable[str]) -> Iterable[Document]:
    return (Document(text=text, id=str(i)) for i, text in enumerate(texts))


def _ours_near(folder: Path, texts: list[str]) -> None:
    cfg = near.Near()
    with near.Signer(folder, cfg) as signer:
        for i, text in enumerate(texts):
            signer.add(i, text)
    near.find(folder, cfg, len(texts))


def _for_new_xxhash() -> None:
    """datatrove 0.9 hands xxhash strings, which version 4 wants as bytes."""
    stock_hash.xxhash64 = lambda data: xxhash.xxh64_intdigest(
        data.encode() if isinstance(data, str) else data
    )


def _stock_near(folder: Path, texts: list[str], words: Any) -> None:
    cfg = MinhashConfig()
    MinhashDedupSignature(str(folder / "sig"), cfg, language=words).run(_documents(texts))
    step = MinhashDedupBuckets(str(folder / "sig"), str(folder / "buckets"), config=cfg)
    for bucket in range(cfg.num_buckets):
        step.run(None, bucket, cfg.num_buckets)
    MinhashDedupCluster(str(folder / "buckets"), str(folder / "remove"), cfg).run()


def _ours_substring(folder: Path, texts: list[str]) -> None:
    with substring.Signer(folder, substring.Substring()) as signer:
        for i, text in enumerate(texts):
            signer.add(i, text)
    substring.find(folder)


def _stock_sentences(folder: Path, texts: list[str]) -> None:
    cfg = SentDedupConfig(split_sentences=False)
    step = SentenceDedupSignature(str(folder / "sig"), config=cfg, language=Spaces())
    step.run(_documents(texts))
    SentenceFindDedups(str(folder / "sig"), str(folder / "found"), config=cfg).run()


# --- what is dropped -------------------------------------------------------------------------


def dropped(by_source: dict[str, list[str]], samples: Path | None, seed: int) -> dict[str, Any]:
    """Documents and bytes by source that each kind drops, one kind after the other."""
    sources = [source for source, found in by_source.items() for _ in found]
    texts = [text for found in by_source.values() for text in found]
    counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    gone = np.zeros(len(texts), bool)

    def note(i: int, what: str, size: int) -> None:
        counts[sources[i]][what] += 1
        counts[sources[i]][f"{what} bytes"] += size

    seen: set[bytes] = set()
    for i, text in enumerate(texts):
        note(i, "read", _size(text))
        key = digest(text, Seed(seed))
        if key in seen:
            gone[i] = True
            note(i, "exact", _size(text))
        seen.add(key)
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        original = _near(Path(folder), texts, gone, near.Near(similarity=0.5, code_similarity=0.5))
        for i in np.flatnonzero(original >= 0).tolist():
            a, b = (SHINGLES["syllables"](texts[j]) for j in (original[i], i))
            what = {"similarity": round(jaccard(a, b), 3), "source": sources[i]}
            rows["pairs"].append({**what, "a": texts[original[i]], "b": texts[i]})
    with tempfile.TemporaryDirectory() as folder:
        original = _near(Path(folder), texts, gone, near.Near())
        for i in np.flatnonzero(original >= 0).tolist():
            gone[i] = True
            note(i, "near", _size(texts[i]))
            rows["near.dropped"].append(
                {"source": sources[i], "a": texts[original[i]], "b": texts[i]}
            )
        if samples:
            rows["near.kept"] = _near_kept(Path(folder), texts, sources, gone, seed)
    cut = np.zeros(len(texts), bool)
    with tempfile.TemporaryDirectory() as folder:
        for i, removed in _passages(Path(folder), texts, gone, substring.Substring()):
            cut[i] = True
            note(i, "substring", _size(texts[i]) - _size(removed.cleaned.text))
            counts[sources[i]]["substring drops"] += bool(removed.cleaned.drop)
            spans = [texts[i][a:b] for a, b in removed.gone]
            what = {"source": sources[i], "owner": sources[removed.owner], "gone": spans}
            rows["substring.dropped"].append(
                {**what, "text": texts[i], "drop": removed.cleaned.drop}
            )
    if samples:
        rows["substring.kept"] = _whole(texts, sources, gone, cut, seed)
        _write(rows, samples, seed)
    return {source: dict(found) for source, found in counts.items()}


def _size(text: str) -> int:
    return len(text.encode(errors="replace"))


def _near(folder: Path, texts: list[str], gone: np.ndarray, cfg: near.Near) -> np.ndarray:
    with near.Signer(folder, cfg) as signer:
        for i in np.flatnonzero(~gone).tolist():
            signer.add(i, texts[i])
    return near.find(folder, cfg, len(texts))


def _near_kept(
    folder: Path, texts: list[str], sources: list[str], gone: np.ndarray, seed: int
) -> list[dict[str, Any]]:
    """Random documents that stay, each with the one most like it that stays too."""
    sketches = np.fromfile(folder / "sketches.u8", np.uint8).reshape(-1, near.PLACES)
    judged = np.flatnonzero(~gone[: len(sketches)] & sketches.any(axis=1))
    found = []
    for i in random.Random(seed).sample(judged.tolist(), EACH):
        equal = (sketches[judged] == sketches[i]).mean(axis=1)
        equal[judged == i] = 0
        other = int(judged[np.argmax(equal)])
        a, b = (SHINGLES["syllables"](texts[j]) for j in (other, i))
        what = {"similarity": round(jaccard(a, b), 3), "source": sources[i]}
        found.append({**what, "a": texts[other], "b": texts[i]})
    return found


def _whole(
    texts: list[str], sources: list[str], gone: np.ndarray, cut: np.ndarray, seed: int
) -> list[dict[str, Any]]:
    """Random documents nothing was taken from, each with what a third of the limit would take."""
    cfg = substring.Substring(min_bytes=substring.Substring().min_bytes // 3)
    drawn = random.Random(seed).sample(np.flatnonzero(~gone & ~cut).tolist(), EACH)
    with tempfile.TemporaryDirectory() as folder:
        shorter = dict(_passages(Path(folder), texts, gone, cfg))
    rows = []
    for i in drawn:
        spans = [texts[i][a:b] for a, b in shorter[i].gone] if i in shorter else []
        owner = sources[shorter[i].owner] if spans else ""
        rows.append({"source": sources[i], "owner": owner, "shorter": spans, "text": texts[i]})
    return rows


def _passages(
    folder: Path, texts: list[str], gone: np.ndarray, cfg: substring.Substring
) -> Iterable[tuple[int, substring.Removed]]:
    with substring.Signer(folder, cfg) as signer:
        for i in np.flatnonzero(~gone).tolist():
            signer.add(i, texts[i])
    substring.find(folder)
    remover = substring.Remover(folder, cfg)
    for i in np.flatnonzero(~gone).tolist():
        removed = remover.remove(i, texts[i])
        if removed.gone:
            yield i, removed


def _write(rows: dict[str, list[dict[str, Any]]], folder: Path, seed: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, found in rows.items():
        random.Random(seed).shuffle(found)
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in found)
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--max-mb", type=float, default=20.0, help="of each source")
    parser.add_argument("--speed-mb", type=float, default=8.0, help="of text for the speed")
    parser.add_argument("--repeats", type=int, default=3, help="of the speed")
    parser.add_argument("--pairs", type=int, default=200, help="of each kind")
    parser.add_argument("--only", nargs="*", default=["accuracy", "speed", "dropped"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--samples", type=Path, help="folder for pairs to read")
    parser.add_argument("--out", type=Path, default=ROOT / "bench/results/dedup.json")
    args = parser.parse_args()
    results = json.loads(args.out.read_text("utf-8")) if args.out.is_file() else {}
    texts = read_all(args.max_mb, args.seed)
    _for_new_xxhash()
    if "accuracy" in args.only:
        results["accuracy"] = accuracy(texts, args.seed, args.pairs)
    if "speed" in args.only:
        every = [text for found in texts.values() for text in found]
        random.Random(args.seed).shuffle(every)
        ends = np.cumsum([_size(text) for text in every])
        some = every[: 1 + int(np.searchsorted(ends, args.speed_mb * 1e6))]
        results["speed"] = speed(some, args.repeats)
        print(json.dumps(results["speed"], indent=1))
    if "dropped" in args.only:
        results["dropped"] = dropped(texts, args.samples, args.seed)
    results["command"] = {k: str(v) for k, v in vars(args).items() if k not in ("out", "samples")}
    args.out.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
