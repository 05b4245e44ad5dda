"""The stage that trains a quality model from good and bad texts, and judges it on others."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from yaongi.core.artifact import Artifact, draft, existing
from yaongi.core.config import Config, data_root
from yaongi.core.errors import DataError
from yaongi.core.intervals import wilson
from yaongi.core.seeds import Seed
from yaongi.core.units import Count
from yaongi.data.dedup.exact import digest
from yaongi.data.quality import Examples, QualityModel, fit, predict
from yaongi.data.sources import Reading, Source, SourceChoice

Progress = Callable[[float | None, str], None]


class QualityConfig(Config):
    """What a quality model learns from.

    Args:
        root: folder of relative paths; default $YAONGI_DATA, else ./data.
        good: sources of texts to prefer; every source counts the same, however large.
        bad: sources of texts to avoid.
        heldout: share of the documents of each source that the model is judged by.
        max_docs: at most so many documents of a source, drawn at random.
        max_chars: characters of a document, from its beginning, that are looked at.
        bits: log2 of the number of buckets that n-grams are hashed into.
        epochs: passes over the examples.
    """

    root: str | None = None
    good: list[SourceChoice] = Field(min_length=1)
    bad: list[SourceChoice] = Field(min_length=1)
    heldout: float = Field(default=0.1, gt=0.0, le=0.5)
    max_docs: Count = Field(default=3000, ge=10)
    max_chars: Count = Field(default=5000, ge=100)
    bits: int = Field(default=18, ge=10, le=24)
    epochs: int = Field(default=5, ge=1)


def train_quality(
    cfg: QualityConfig, out: str | Path, seed: Seed, *, on_progress: Progress | None = None
) -> Artifact:
    """Write a ``quality`` artifact; its metrics are of documents not learnt from.

    Raises:
        DataError: a source is missing or holds too few different documents.
    """
    root = data_root(cfg.root)
    sources = [(source, 1) for source in cfg.good] + [(source, 0) for source in cfg.bad]
    parents = [source.as_parent(root) for source, _ in sources]
    made: dict[str, Any] = {"config": cfg.as_json(), "parents": parents, "seed": seed.root}
    if found := existing(out, "quality", **made):
        return found
    progress = on_progress or (lambda fraction, note: None)
    with draft(out, "quality", **made) as work:
        model = QualityModel.untrained(cfg.bits, cfg.max_chars)
        learnt, judged = _Labelled(), _Labelled()
        for i, (source, good) in enumerate(sources):
            progress(0.6 * i / len(sources), source.name)
            texts = _documents(source, root, seed, cfg.max_docs)
            cut = max(1, round(cfg.heldout * len(texts)))
            judged.add(source.name, texts[:cut], good)
            learnt.add(source.name, texts[cut:], good)
        examples, draw = Examples(model, learnt.texts), seed.split("quality", "order").numpy()
        steps = fit(model, examples, learnt.good(), learnt.weights(), draw, epochs=cfg.epochs)
        for epoch, loss in enumerate(steps, 1):
            progress(0.6 + 0.4 * epoch / cfg.epochs, f"loss {loss:.3f}")
        model.save(work.path)
        scores = predict(model, Examples(model, judged.texts))
        counts = {"learnt": len(learnt.texts), "judged": len(judged.texts)}
        return work.finish(counts=counts, metrics=judged.metrics(scores))


class _Labelled:
    """Texts with their label and source."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.labels: list[int] = []
        self.sources: list[str] = []

    def add(self, source: str, texts: list[str], good: int) -> None:
        self.texts += texts
        self.labels += [good] * len(texts)
        self.sources += [source] * len(texts)

    def good(self) -> np.ndarray:
        return np.asarray(self.labels, dtype=np.float64)

    def weights(self) -> np.ndarray:
        """Good and bad weigh the same, and inside them every source."""
        sources, of_text = np.unique(
            [f"{label} {name}" for label, name in zip(self.labels, self.sources, strict=True)],
            return_inverse=True,
        )
        good = np.asarray([name.startswith("1") for name in sources])
        per_source = np.where(good, 1 / good.sum(), 1 / (~good).sum()) / np.bincount(of_text)
        return per_source[of_text]

    def metrics(self, scores: np.ndarray) -> dict[str, Any]:
        good, weight = self.good(), self.weights()
        area = auc(scores[good > 0], scores[good == 0])
        right = int(np.count_nonzero((scores > 0.5) == (good > 0)))
        low, high = wilson(right, len(scores))
        by_source = {
            name: {
                "good": bool(good[of].mean() > 0.5),
                "documents": int(of.sum()),
                "mean_score": round(float(scores[of].mean()), 4),
                "above_half": round(float((scores[of] > 0.5).mean()), 4),
            }
            for name in dict.fromkeys(self.sources)
            for of in [np.asarray(self.sources) == name]
        }
        return {
            "auc": round(area[0], 4),
            "auc_95": [round(x, 4) for x in area[1:]],
            "accuracy": round(right / len(scores), 4),
            "accuracy_95": [round(low, 4), round(high, 4)],
            "calibration_error": round(calibration_error(scores, good, weight), 4),
            "by_source": by_source,
        }


def auc(good: np.ndarray, bad: np.ndarray) -> tuple[float, float, float]:
    """How often a good text scores above a bad one, and a 95 % interval.

    Source: Hanley & McNeil 1982, Radiology 143:29.
    """
    values = np.concatenate([good, bad])
    rank = np.searchsorted(np.sort(values), good) + np.searchsorted(
        np.sort(values), good, side="right"
    )
    area = float((rank + 1).sum() / 2 - len(good) * (len(good) + 1) / 2) / (len(good) * len(bad))
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    spread = area * (1 - area) + (len(good) - 1) * (q1 - area**2) + (len(bad) - 1) * (q2 - area**2)
    error = 1.96 * math.sqrt(max(0.0, spread) / (len(good) * len(bad)))
    return area, max(0.0, area - error), min(1.0, area + error)


def calibration_error(scores: np.ndarray, good: np.ndarray, weight: np.ndarray) -> float:
    """Mean distance of score and share of good texts, in ten bins of the score."""
    bins = np.minimum((scores * 10).astype(int), 9)
    total = np.bincount(bins, weight, minlength=10)
    gap = np.abs(np.bincount(bins, weight * (scores - good), minlength=10))
    return float(gap[total > 0].sum() / weight.sum())


def _documents(source: Source, root: Path, seed: Seed, most: int) -> list[str]:
    """Different documents of a source in random order, the same ones for the same seed."""
    reading = Reading(root, seed=seed.split("quality", source.name))
    texts = ((digest(document.text, seed), document.text) for document in source.read(reading))
    chosen = list(dict(heapq.nsmallest(most, texts)).values())  # digests are random numbers
    if len(chosen) < 10:
        raise DataError(
            "{path} holds {n} different documents; a class to learn needs at least 10.",
            path=source.name,
            n=len(chosen),
        )
    return chosen
