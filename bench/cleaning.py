"""Cleaning and tokenizing real text: MB per CPU second, beside datatrove's steps of the same kinds.

    YAONGI_DATA=... python bench/cleaning.py          # bench/results/cleaning.json

Every step sees every text, also one that an earlier step would drop, so that what is measured
does not depend on the limits. datatrove's steps get words for nothing (``str.split``; its own
choice for Korean is slower), and no language identification, whose model it downloads. Near and
substring deduplication are in ``bench/dedup.py``.
"""

import argparse
import os
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["RAYON_NUM_THREADS"] = "1"  # before tokenizers is imported

from datatrove.data import Document
from datatrove.pipeline.filters import (
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from datatrove.pipeline.formatters import FTFYFormatter, PIIFormatter
from datatrove.pipeline.tokens import DocumentTokenizer
from dedup import Spaces, read_all
from loguru import logger

from yaongi.core.artifact import git_commit, machine, open_artifact, versions
from yaongi.core.config import parse
from yaongi.core.files import write_json
from yaongi.core.seeds import Seed
from yaongi.data.corpus import CorpusConfig, build_corpus
from yaongi.data.filters import Filter
from yaongi.data.lines import json_line
from yaongi.data.shards import ShardsConfig, build_shards
from yaongi.text.train import TokenizerConfig
from yaongi.text.train import stage as train_tokenizer

ROOT = Path(__file__).parents[1]
SAME_KINDS = ("encoding", "shape", "repetition", "pii")
"""Of ours, what datatrove has too: ftfy, the limits of Gopher and FineWeb, repetition, PII."""


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mb", type=float, default=12.0, help="of text, over all sources")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "bench/results/cleaning.json")
    args = parser.parse_args()
    logger.disable("datatrove")
    texts = sample(args.mb, args.seed)
    size = sum(len(text.encode(errors="replace")) for text in texts) / 1e6
    chain = parse(CorpusConfig, {"sources": ["-"], "filters": "default"}).filters
    runs: dict[str, Callable[[], object]] = {
        "ours, the default chain": lambda: ours(chain, texts),
        "ours, the kinds datatrove has": lambda: ours(
            [one for one in chain if one.kind in SAME_KINDS], texts
        ),
        "datatrove, the same kinds": lambda: stock(texts),
        **{f"ours, {one.kind}": lambda one=one: ours([one], texts) for one in chain},
    }
    rates = {name: size / best(run, args.repeats) for name, run in runs.items()}
    rates |= tokenizing(texts, size, args.repeats)
    for name, rate in rates.items():
        print(f"{name:35} {rate:8.2f} MB/s")
    result: dict[str, Any] = {"mb": round(size, 2), "documents": len(texts)}
    result["mb_per_cpu_second"] = {name: round(rate, 2) for name, rate in rates.items()}
    about = {"hardware": machine(), "versions": versions(), "git_commit": git_commit()}
    write_json(args.out, result | about)


def sample(mb: float, seed: int) -> list[str]:
    """About ``mb`` of text, the same share of every source, in random order."""
    by_source = read_all(mb / 40, seed)
    texts = [text for found in by_source.values() for text in found]
    random.Random(seed).shuffle(texts)
    return texts


def best(run: Callable[[], object], repeats: int) -> float:
    """CPU seconds of the fastest run; the first, which reads lists and models, is not counted."""
    times = []
    for _ in range(repeats + 1):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return min(times[1:])


def ours(filters: list[Filter], texts: list[str]) -> None:
    """Each step on each text, as the steps before it left it."""
    for text in texts:
        for one in filters:
            text = one.clean(text).text


def stock(texts: list[str]) -> None:
    """datatrove's."""
    fix, hide = FTFYFormatter(), PIIFormatter()
    words: Any = Spaces()
    judges = [
        GopherQualityFilter(language=words),
        FineWebQualityFilter(language=words),
        GopherRepetitionFilter(language=words),
    ]
    for text in texts:
        document = Document(text=hide.format(fix.format(text)), id="")
        for judge in judges:
            judge.filter(document)


def tokenizing(texts: list[str], size: float, repeats: int) -> dict[str, float]:
    """A corpus to token files, with one tokenizer: our shards and datatrove's."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in.jsonl").write_bytes(b"".join(json_line({"text": text}) for text in texts))
        cfg = {"root": name, "sources": [{"path": "in.jsonl", "domain": "all"}], "val_fraction": 0}
        corpus = build_corpus(parse(CorpusConfig, cfg), folder / "corpus", Seed(0))
        trained = train_tokenizer(TokenizerConfig(vocab_size=16384), texts, folder / "tokenizer")
        documents = [Document(text=text, id=str(i)) for i, text in enumerate(texts)]

        def shards() -> None:
            out = Path(tempfile.mkdtemp(dir=name)) / "shards"
            build_shards(ShardsConfig(), corpus, open_artifact(trained.path), out)

        def theirs() -> None:
            out = tempfile.mkdtemp(dir=name)
            step = DocumentTokenizer(
                out,
                tokenizer_name_or_path=str(trained.path / "tokenizer.json"),
                eos_token="<|im_end|>",
                shuffle_documents=False,
            )
            step.run(iter(documents))

        return {
            "ours, corpus to shards": size / best(shards, repeats),
            "datatrove, documents to tokens": size / best(theirs, repeats),
        }


if __name__ == "__main__":
    main()
