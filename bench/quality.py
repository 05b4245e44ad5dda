"""What a quality model separates: scores by source, of sources it learnt from and of others.

    YAONGI_DATA=... python bench/quality.py                     # bench/results/quality.json
    YAONGI_DATA=... python bench/quality.py --samples DIR       # and texts to read

It learns edited Korean prose and manuals against comments and a chat model that repeats itself,
with ``--spoilt`` also against the good texts with their words shuffled or run together. The
sources below ``UNSEEN`` are kept out; there a good one is edited text, a bad one is not.
"""

import argparse
import json
import random
import re
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from yaongi.core.config import data_root
from yaongi.core.seeds import Seed
from yaongi.data.quality import QualityModel
from yaongi.data.sources import Reading
from yaongi.data.sources.files import FilesSource
from yaongi.data.train_quality import QualityConfig, auc, train_quality

ROOT = Path(__file__).parents[1]
GOOD = ["ko_president_speeches", "ko_news_sentences", "ko_python_docs", "ko_d2l", "ko_laws"]
BAD = ["ko_news_comments_toxic", "chat_ko_kochatgpt_multiturn"]
EACH = 50
"""Texts to read of each kind."""
HALF = 0.5
SPOILT = ["words shuffled", "no spaces"]
UNSEEN = {
    "ko_react_dev": True,
    "ko_bible_krv": True,
    "ko_libreoffice_help": True,
    "ko_cs_interview_jbee": True,
    "ko_fastapi_docs": True,
    "en_wikipedia_demo": True,
    "en_debian_handbook": True,
    "code_python_stdlib": True,
    "ko_petitions": False,
    "ko_nsmc_reviews": False,
    "chat_ko_songys": False,
    "chat_ko_smilestyle": False,
    "en_c4_demo": False,
    "en_fortunes": False,
}


def texts(root: Path, name: str, most: int) -> list[str]:
    """The first documents of a file."""
    found = []
    for document in FilesSource(path=f"train/{name}.jsonl.zst").read(Reading(root)):
        found.append(document.text)
        if len(found) == most:
            break
    return found


def damaged(found: list[str]) -> dict[str, list[str]]:
    """The same texts spoilt, which no subject or register tells apart from the good ones."""
    draw = random.Random(0)
    shuffled = [" ".join(draw.sample(words, len(words))) for words in map(str.split, found)]
    repeated = ["\n".join(line for line in text.split("\n") for _ in range(3)) for text in found]
    return {
        "words shuffled": shuffled,
        "every line three times": repeated,
        "no spaces": ["".join(text.split(" ")) for text in found],
        "no punctuation": [re.sub(r"[^\w\s]", "", text) for text in found],
        "first 60 characters": [text[:60] for text in found],
    }


def write_samples(folder: Path, scored: list[dict[str, Any]], seed: int) -> None:
    """``EACH`` texts of the unseen sources that a limit of a half drops, and keeps.

    Without conversations, which the step passes by.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, low in (("dropped", True), ("kept", False)):
        found = [row for row in scored if (row["score"] < HALF) == low]
        found = [row for row in found if not row["source"].startswith("chat_")]
        drawn = random.Random(f"{seed} {name}").sample(found, min(EACH, len(found)))
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in drawn)
        (folder / f"quality.{name}.jsonl").write_text(text, encoding="utf-8")


def above_half(model: QualityModel, found: list[str]) -> float:
    """The share of texts with a score over a half."""
    return round(float(np.mean([model.score(text) > HALF for text in found])), 3)


def main() -> None:
    """Train, score, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--docs", type=int, default=1000, help="of each source, at most")
    parser.add_argument("--spoilt", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--samples", type=Path, help="folder for texts to read")
    parser.add_argument("--out", type=Path, default=ROOT / "bench/results/quality.json")
    args = parser.parse_args()
    root = data_root()

    def paths(names: list[str]) -> list[Any]:
        return [{"path": f"train/{name}.jsonl.zst"} for name in names]

    with tempfile.TemporaryDirectory() as folder:
        bad = paths(BAD)
        if args.spoilt:
            found = damaged([text for name in GOOD for text in texts(root, name, args.docs)])
            for how in SPOILT:
                path = Path(folder) / f"{how}.jsonl"
                path.write_text("\n".join(json.dumps({"text": text}) for text in found[how]))
                bad.append({"path": str(path)})
        cfg = QualityConfig(root=str(root), good=paths(GOOD), bad=bad, max_docs=args.docs)
        made = train_quality(cfg, Path(folder) / "model", Seed(args.seed))
        model = QualityModel.load(made.path)
    unseen, labels, scores, scored = {}, [], [], []
    megabytes = seconds = 0.0
    for name, good in UNSEEN.items():
        found = texts(root, name, args.docs)
        start = time.process_time()
        of_source = [model.score(text) for text in found]
        seconds += time.process_time() - start
        megabytes += sum(len(text[: model.max_chars].encode()) for text in found) / 1e6
        low, middle, high = np.quantile(of_source, [0.1, 0.5, 0.9])
        unseen[name] = {
            "edited": good,
            "documents": len(found),
            "score_10_50_90": [round(float(x), 3) for x in (low, middle, high)],
            "above_half": round(float(np.mean(np.asarray(of_source) > HALF)), 3),
        }
        labels += [good] * len(found)
        scores += of_source
        scored += [
            {"source": name, "score": round(score, 3), "text": text}
            for score, text in zip(of_source, found, strict=True)
        ]
        print(name, unseen[name], flush=True)
    clean = [text for name in ("ko_react_dev", "ko_fastapi_docs") for text in texts(root, name, 50)]
    spoilt = {how: above_half(model, found) for how, found in damaged(clean).items()}
    chosen, values = np.asarray(labels), np.asarray(scores)
    metrics = made.manifest.metrics
    metrics["by_source"] = {Path(name).name: of for name, of in metrics["by_source"].items()}
    result = {
        "learnt": {
            "good": GOOD,
            "bad": BAD + SPOILT * args.spoilt,
            "documents": made.manifest.counts["learnt"],
        },
        "held_out_documents": metrics,
        "unseen_sources": unseen,
        "spoilt_above_half": spoilt,
        "unseen_auc_95": [round(x, 4) for x in auc(values[chosen], values[~chosen])],
        "mb_per_s": round(megabytes / seconds, 2),
        "seed": args.seed,
    }
    if args.samples:
        write_samples(args.samples, scored, args.seed)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    print(
        json.dumps(result["held_out_documents"]),
        spoilt,
        result["unseen_auc_95"],
        result["mb_per_s"],
    )


if __name__ == "__main__":
    main()
