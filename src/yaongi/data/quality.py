"""A score between 0 and 1 for how much a text reads like chosen good ones.

Logistic regression over hashed n-grams of words and characters, as GPT-3 (arXiv:2005.14165,
appendix A) and The Pile chose web pages, and over a few measures of shape that need no
vocabulary. Learnt from labelled texts; what it separates is what sets those apart, which may be
their subject: docs/results/quality.md.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from yaongi.core.errors import ArtifactError
from yaongi.core.files import read_json, with_usual_mode, write_json
from yaongi.data.filters import symbol_share
from yaongi.data.hashing import Sums, scatter
from yaongi.data.letters import Page
from yaongi.text.normalize import nfc

WEIGHTS, SETTINGS = "quality.safetensors", "quality.json"
SHAPE = (
    "symbols",
    "digits",
    "characters per word",
    "characters per line",
    "lines repeated",
    "lines ended by a full stop",
    "jamo and exclamation",
    "distinct words",
)


class QualityModel:
    """The regression.

    Args:
        weights: (2**bits + len(SHAPE) + 1,) float32, the last one for every text.
        bits: log2 of the buckets that n-grams are hashed into.
        chars: n of the character n-grams; of words, single ones and pairs count.
        max_chars: longer texts are judged by so many characters from their beginning.
    """

    def __init__(
        self, weights: np.ndarray, bits: int, chars: Sequence[int] = (2, 3), max_chars: int = 5000
    ) -> None:
        self.weights, self.bits, self.chars = weights, bits, tuple(chars)
        self.max_chars = max_chars

    @classmethod
    def untrained(cls, bits: int, max_chars: int) -> QualityModel:
        """One that gives every text 0.5."""
        return cls(np.zeros(2**bits + len(SHAPE) + 1, np.float32), bits, max_chars=max_chars)

    def score(self, text: str) -> float:
        """How likely ``text`` is one of the good ones, where half of all are."""
        columns, values = self.features(text)
        return float(_logistic(self.weights[columns] @ values))

    def features(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """(columns, values) of a text: n-grams of length 1 together, shape, and a constant."""
        text = text[: self.max_chars]
        page = Page(text)
        shared = np.frombuffer(
            nfc(" ".join(text.split())).casefold().encode("utf-32-le", "surrogatepass"), "<u4"
        )
        grams = [_windows(page.words, n) for n in (1, 2)]
        grams += [_windows(shared, n) for n in self.chars]
        buckets = [(scatter(of_n) >> np.uint64(64 - self.bits)).astype(np.int64) for of_n in grams]
        columns = np.unique(np.concatenate(buckets))
        values = np.full(len(columns), 1 / np.sqrt(max(1, len(columns))))
        dense = 2**self.bits + np.arange(len(SHAPE) + 1)
        return (
            np.concatenate([columns, dense]),
            np.concatenate([values, shape(text), [1.0]]).astype(np.float32),
        )

    def save(self, folder: Path) -> None:
        """As safetensors and JSON."""
        with_usual_mode(folder / WEIGHTS, partial(save_file, {"weights": self.weights}))
        settings = {"bits": self.bits, "chars": list(self.chars), "max_chars": self.max_chars}
        write_json(folder / SETTINGS, {**settings, "shape": list(SHAPE)})

    @classmethod
    def load(cls, folder: Path) -> QualityModel:
        """What ``save`` wrote.

        Raises:
            ArtifactError: missing or damaged, or of other features than this version's.
        """
        settings = read_json(folder / SETTINGS)
        try:
            weights = load_file(folder / WEIGHTS)["weights"]
            bits, chars = int(settings["bits"]), [int(n) for n in settings["chars"]]
            fits = settings["shape"] == list(SHAPE) and weights.shape == (2**bits + len(SHAPE) + 1,)
        except Exception as error:  # safetensors has errors of its own
            raise ArtifactError(
                "{path} is no quality model: {reason}", path=folder, reason=error
            ) from error
        if not fits:
            raise ArtifactError(
                "{path} was trained on other features than this yaongi computes; train it again.",
                path=folder,
            )
        return cls(weights, bits, chars, int(settings["max_chars"]))


def shape(text: str) -> np.ndarray:
    """(len(SHAPE),) measures of a text, each about 0 to 1, none of its language or subject."""
    words = text.split()
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    bare = max(1, sum(map(len, words)))
    often = sum(n for n in Counter(lines).values() if n > 1)
    ended = sum(line.endswith((".", "?", "!", "。", ":")) for line in lines)
    return np.asarray(
        [
            symbol_share(text),
            len(_DIGITS.findall(text)) / bare,
            min(1.0, bare / max(1, len(words)) / 10),
            min(1.0, bare / max(1, len(lines)) / 200),
            often / max(1, len(lines)),
            ended / max(1, len(lines)),
            min(1.0, 10 * len(_SHOUTS.findall(text)) / bare),
            len(set(words)) / max(1, len(words)),
        ]
    )


_DIGITS = re.compile(r"\d")
_SHOUTS = re.compile("[ㄱ-ㅣ!~^]")


def _windows(values: np.ndarray, n: int) -> np.ndarray:
    starts = np.arange(max(0, len(values) - n + 1))
    return Sums(scatter(values))(starts, starts + n) + np.uint64(n)


def _logistic(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(x, -30, 30)))


# --- training --------------------------------------------------------------------------------


class Examples:
    """Feature rows of texts, one after another.

    Attributes:
        columns, values: of all rows; row i is ``first[i]:first[i+1]``.
    """

    def __init__(self, model: QualityModel, texts: Sequence[str]) -> None:
        rows = [model.features(text) for text in texts]
        self.first = np.cumsum([0, *(len(columns) for columns, _ in rows)])
        self.columns = np.concatenate([columns for columns, _ in rows])
        self.values = np.concatenate([values for _, values in rows])

    def __len__(self) -> int:
        return len(self.first) - 1

    def of(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(columns, values, which of ``rows``) of some rows."""
        lengths = self.first[rows + 1] - self.first[rows]
        row = np.repeat(np.arange(len(rows)), lengths)
        nth = np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        at = self.first[rows][row] + nth
        return self.columns[at], self.values[at], row


def fit(
    model: QualityModel,
    examples: Examples,
    good: np.ndarray,
    weight: np.ndarray,
    draw: np.random.Generator,
    *,
    epochs: int = 5,
    lr: float = 0.5,
    l2: float = 1e-6,
    batch: int = 64,
) -> Iterator[float]:
    """Trains in place by AdaGrad (Duchi et al. 2011); yields the mean loss of each epoch.

    Args:
        good: (n,) 1 for a good text, 0 for a bad one.
        weight: (n,) how much each counts; only ratios matter.
        draw: for the order.
    """
    weight = weight * (len(weight) / weight.sum())
    squares = np.full(len(model.weights), 1e-8)
    for _ in range(epochs):
        order = draw.permutation(len(examples))
        total = 0.0
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            columns, values, row = examples.of(rows)
            logits = np.bincount(row, model.weights[columns] * values, minlength=len(rows))
            p = _logistic(logits)
            total += float(weight[rows] @ _loss(p, good[rows]))
            slope = weight[rows] * (p - good[rows]) / len(rows)
            touched, place = np.unique(columns, return_inverse=True)
            gradient = np.bincount(place, values * slope[row]) + l2 * model.weights[touched]
            squares[touched] += gradient**2
            model.weights[touched] -= (lr * gradient / np.sqrt(squares[touched])).astype(np.float32)
        yield total / len(order)


def _loss(p: np.ndarray, good: np.ndarray) -> np.ndarray:
    return -np.log(np.where(good > 0, p, 1 - p) + 1e-12)


def predict(model: QualityModel, examples: Examples) -> np.ndarray:
    """(n,) scores."""
    columns, values, row = examples.of(np.arange(len(examples)))
    return _logistic(np.bincount(row, model.weights[columns] * values, minlength=len(examples)))
