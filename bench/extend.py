"""How to begin new tokens: which merges first, which rows.

Two questions on the English and code models that ``bench/adapt.py`` leaves in its work folder, and
on Korean text neither they nor the merges have seen:

- Should the 2,350 syllables of KS X 1001 become tokens before the commonest pairs do? Tokens per
  syllable and the share of tokens that are no whole characters, at several sizes.
- Which init gives the lowest bits per byte before the first step of training? All of
  ``model.extend.INITS``, and token distillation; beside them the old model in its old tokens.

    YAONGI_DATA=... python bench/extend.py --work runs/adapt [--seeds 0 1 2] [--add 2048 8192]
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import zstandard

from yaongi.core.artifact import Artifact, git_commit, machine, open_artifact
from yaongi.core.config import data_root
from yaongi.core.files import write_json
from yaongi.data.corpus import read_corpus, sample_texts
from yaongi.data.shards import ShardsConfig, build_shards
from yaongi.evals.tasks.bpb import bpb_probe
from yaongi.model.extend import INITS, Extension, grow
from yaongi.model.io import load_model
from yaongi.text.aligned import aligned
from yaongi.text.bytelevel import piece
from yaongi.text.extend import Extendable, ExtendConfig, stage
from yaongi.text.foreign import AnyTokenizer, load_tokenizer
from yaongi.text.merges import Merge, korean_words, learn
from yaongi.text.seeds import ks_x_1001
from yaongi.text.tokenizer import read_backend
from yaongi.text.train import compression
from yaongi.train.token_distillation import DistillConfig, distill_rows

ROOT = Path(__file__).parents[1]
UNSEEN = ("ko_petitions", "ko_swift_book", "ko_news_comments_toxic", "ko_react_dev")
"""Formal prose, technical prose, chat and documentation, in no corpus of ``bench/adapt.py``."""
UNSEEN_BYTES = 300_000
DISTILLED_TEXTS = 2000


def main(argv: Sequence[str] | None = None) -> int:
    """Answer both questions, as JSON and as text."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=ROOT / "runs/adapt")
    parser.add_argument("--out", type=Path, default=ROOT / "bench/results/extend.json")
    parser.add_argument("--add", type=int, nargs="+", default=[2048, 8192])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--sample-bytes", type=int, default=8_000_000)
    parser.add_argument("--tokens", type=int, default=50_000, help="held out, per measurement")
    parser.add_argument("--steps", type=int, default=300, help="of token distillation")
    args = parser.parse_args(argv)
    corpus = open_artifact(args.work / "corpus", "corpus")
    found: dict[str, Any] = {
        "commit": git_commit(),
        "machine": machine(),
        "settings": {k: v for k, v in vars(args).items() if k not in ("work", "out")},
    }
    if args.add:
        found["syllables"] = syllables(args.work / "tokenizer", corpus, args.add, args.sample_bytes)
    found["inits"] = [inits(args, corpus, seed) for seed in args.seeds]
    found["mean"] = {
        name: statistics.fmean(run["bpb"][name] for run in found["inits"])
        for name in (found["inits"][0]["bpb"] if args.seeds else [])
    }
    write_json(args.out, found)
    print(json.dumps({k: found[k] for k in ("syllables", "mean") if k in found}, indent=1))
    return 0


# Which merges first ---------------------------------------------------------------------------


def syllables(
    tokenizer: Path, corpus: Artifact, sizes: Sequence[int], sample_bytes: int
) -> list[dict[str, Any]]:
    """For each size, with and without the syllables first: numbers of each unseen source."""
    base = Extendable.open(tokenizer)
    words = korean_words(base.backend, sample_texts(corpus, {"ko": 1.0}, sample_bytes))
    first = syllable_merges(base)
    texts = {name: list(unseen(name)) for name in UNSEEN}
    rows: list[dict[str, Any]] = []
    for size in sizes:
        for name, seeds in (("commonest pairs", []), ("KS X 1001 first", first)):
            if len(seeds) < size:
                start = time.perf_counter()
                merges = [*seeds, *_then(base, seeds, words, size - len(seeds))]
                row = {"add": size, "order": name, "learnt": len(merges)}
                row |= {"seconds": round(time.perf_counter() - start, 1)}
                rows.append(row | {"sources": _measure(base, merges, texts)})
                print(rows[-1], flush=True)
    return rows


def syllable_merges(base: Extendable) -> list[Merge]:
    """What makes each syllable of KS X 1001 one token, from left to right."""
    taken, merges = base.taken, {}
    for char in ks_x_1001():
        parts = base.backend.model.tokenize(piece(char.encode()))
        left = parts[0].value
        for part in parts[1:]:
            merge = Merge(left, part.value)
            if merge.token in taken:
                break
            left = merges.setdefault(merge.token, merge).token
    return list(merges.values())


def _then(base: Extendable, seeds: list[Merge], words: Any, count: int) -> list[Merge]:
    """Go on from ``seeds`` as if they had been there."""
    with tempfile.TemporaryDirectory() as folder:
        base.write(Path(folder), seeds)
        data = (Path(folder) / "tokenizer.json").read_bytes()
    backend = read_backend(data, "seeds")
    return learn(backend, words, count, {*base.taken, *backend.get_vocab()})


def _measure(base: Extendable, merges: list[Merge], texts: Any) -> dict[str, dict[str, float]]:
    with tempfile.TemporaryDirectory() as folder:
        base.write(Path(folder), merges)
        tokenizer = load_tokenizer(folder)
    return {
        name: {**compression(tokenizer, group), "partial": _partial(tokenizer, group)}
        for name, group in texts.items()
    }


def _partial(tokenizer: AnyTokenizer, texts: list[str]) -> float:
    """The share of tokens that are no whole characters."""
    ids = [i for found in tokenizer.encode_batch(texts) for i in found]
    broken = sum("\ufffd" in tokenizer.token_bytes(i).decode(errors="replace") for i in ids)
    return round(broken / max(1, len(ids)), 4)


def unseen(name: str) -> Iterator[str]:
    """The first documents of a source."""
    size = UNSEEN_BYTES
    with (data_root(None) / f"train/{name}.jsonl.zst").open("rb") as raw:
        for line in io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(raw), "utf-8"):
            text = json.loads(line)["text"][:20_000]
            yield text
            size -= len(text.encode())
            if size <= 0:
                return


# Which rows -----------------------------------------------------------------------------------


def inits(args: argparse.Namespace, corpus: Artifact, seed: int) -> dict[str, Any]:
    """Bits per byte of held-out Korean before the first step, for one model."""
    first, work = open_artifact(args.work / "tokenizer", "tokenizer"), args.work / "extend"
    cfg = ExtendConfig(add=min(args.add or [2048]), sample_bytes=args.sample_bytes)
    texts = list(sample_texts(corpus, {"ko": 1.0}, args.sample_bytes))
    name = f"{cfg.add}-{cfg.sample_bytes}"
    longer = stage(cfg, first.path, texts, work / name, parents=[first, corpus])
    extension = Extension.read(longer.path)
    shards = [
        build_shards(ShardsConfig(), corpus, words, work / f"shards-{words.path.name}",
                     splits=("val",))
        for words in (first, longer)
    ]  # fmt: skip
    probes = [bpb_probe(part, "ko", max_tokens=args.tokens, seq_len=256) for part in shards]
    model = load_model(args.work / f"base-{seed}", dtype=torch.float32)
    found = {"old tokens": probes[0](model)}
    for init in INITS:
        if not (model.cfg.tied and init == "eeve"):
            found[init] = probes[1](grow(model, extension, init=init, seed=seed))
            print(seed, init, found[init], flush=True)
    pairs = list(
        aligned(texts[:2000], load_tokenizer(first.path), load_tokenizer(longer.path), 256)
    )
    grown, start = grow(model, extension), time.perf_counter()
    distill_rows(grown, model, extension, pairs, DistillConfig(steps=args.steps), seed)
    found["distilled"] = probes[1](grown)
    seconds = round(time.perf_counter() - start, 1)
    held = [d.text for d in read_corpus(corpus, "val", "ko")]
    sizes = [compression(load_tokenizer(a.path), held)["tokens_per_syllable"]
             for a in (first, longer)]  # fmt: skip
    return {"seed": seed, "bpb": found, "distilled_s": seconds, "tokens_per_syllable": sizes}


if __name__ == "__main__":
    raise SystemExit(main())
