"""What only the texts themselves tell: how long they are, in which languages and scripts.

One pass, one document in memory at a time, into histograms of fixed size. Of a corpus larger than
``WHOLE_BYTES`` every k-th document is looked at, so that a report takes minutes for any corpus.
"""

from __future__ import annotations

import itertools
import math
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from datatrove.data import Document

from yaongi.core.artifact import Artifact
from yaongi.data.corpus import SPLITS, domains_of, read_corpus

WHOLE_BYTES = 4_000_000_000
"""Up to so much text every document is measured."""

SCRIPTS = ("hangul", "hanja", "kana", "latin", "other")
"""What a letter can be."""

UNJUDGED = ""
"""The language of a document that was not judged: conversations, formulas, much source code."""

MOST_LANGUAGES = 200  # fastText's model knows 176; a plug-in's tags must not fill the memory
_PER_DECADE, _DECADES = 40, 10
_SHOWN_PER_DECADE = 5
_NOTE_EVERY = 500  # documents between calls of the progress function


@dataclass(frozen=True)
class Bin:
    """So many documents have ``low`` to ``high`` characters."""

    low: int
    high: int
    documents: int


class Lengths:
    """A histogram of document lengths in characters, 40 bins to a factor of ten."""

    def __init__(self) -> None:
        self.counts = np.zeros(_PER_DECADE * _DECADES, dtype=np.int64)
        self.total = self.longest = 0

    def add(self, chars: int) -> None:
        """Count one document."""
        self.counts[min(len(self.counts) - 1, _bin(chars))] += 1
        self.total += chars
        self.longest = max(self.longest, chars)

    def quantile(self, share: float) -> int:
        """A length that ``share`` of the documents do not exceed; up to 6 % too low."""
        reached = np.cumsum(self.counts)
        return _low(int(np.searchsorted(reached, share * reached[-1])))

    def bins(self) -> list[Bin]:
        """Five to a factor of ten, from the first with documents to the last."""
        width = _PER_DECADE // _SHOWN_PER_DECADE
        counts = self.counts.reshape(-1, width).sum(axis=1)
        there = np.flatnonzero(counts)
        span = range(there[0], there[-1] + 1) if len(there) else range(0)
        edges = [_low(i * width) for i in range(len(counts) + 1)]
        return [Bin(edges[i], edges[i + 1] - 1, int(counts[i])) for i in span]


def _bin(chars: int) -> int:
    return math.floor(_PER_DECADE * math.log10(max(1, chars)))


def _low(number: int) -> int:
    """The smallest length in a bin."""
    return math.ceil(round(10 ** (number / _PER_DECADE), 6))


@dataclass
class Measured:
    """One domain.

    Attributes:
        every: every how manyth document was looked at.
        documents: looked at.
        lengths: in characters.
        languages: bytes of text by the tag ``language``; None where no filter gave one.
        scripts: letters by script.
    """

    every: int = 1
    documents: int = 0
    lengths: Lengths = field(default_factory=Lengths)
    languages: Counter[str] | None = None
    scripts: Counter[str] = field(default_factory=Counter)

    def add(self, document: Document) -> None:
        """Count one document."""
        self.documents += 1
        self.lengths.add(len(document.text))
        self.scripts.update(scripts(document.text))
        if self.languages is not None:
            said = str(document.metadata.get("language", UNJUDGED))
            full = len(self.languages) >= MOST_LANGUAGES and said not in self.languages
            size = len(document.text.encode(errors="surrogatepass"))
            self.languages[UNJUDGED if full else said] += size

    def as_json(self) -> dict[str, Any]:
        """Plain numbers."""
        lengths = self.lengths
        return {
            "every": self.every,
            "documents": self.documents,
            "chars": {
                "mean": round(lengths.total / max(1, self.documents), 1),
                **{f"p{p}": lengths.quantile(p / 100) for p in (5, 25, 50, 75, 95)},
                "longest": lengths.longest,
            },
            "bins": [vars(one) for one in lengths.bins()],
            "languages": None if self.languages is None else dict(self.languages.most_common()),
            "scripts": {name: self.scripts[name] for name in SCRIPTS},
        }


def measure(
    corpus: Artifact, *, tagged: bool, on_progress: Callable[[float, str], None]
) -> dict[str, Measured]:
    """Every domain of a corpus, all splits together.

    Args:
        tagged: a language filter has run, so that documents may have the tag ``language``.
            Without one, a ``language`` that came with the data is no judgement of ours.
    """
    counts = corpus.manifest.counts["domains"]
    size = sum(counts[d][split]["bytes"] for d in counts for split in SPLITS)
    every = max(1, math.ceil(size / WHOLE_BYTES))
    result: dict[str, Measured] = {}
    read = 0
    for split, domain in [(s, d) for s in SPLITS for d in domains_of(corpus, s)]:
        new = Measured(every, languages=Counter() if tagged else None)
        of_domain = result.setdefault(domain, new)
        there = counts[domain][split]
        for i, document in enumerate(_sample(corpus, split, domain, every)):
            of_domain.add(document)
            if i % _NOTE_EVERY == 0:
                share = i * every / there["documents"]
                on_progress((read + share * there["bytes"]) / max(1, size), f"{split}/{domain}")
        read += there["bytes"]
    return dict(sorted(result.items()))


def _sample(corpus: Artifact, split: str, domain: str, every: int) -> Iterator[Document]:
    return itertools.islice(read_corpus(corpus, split, domain), 0, None, every)


def scripts(text: str) -> Counter[str]:
    """Letters by script; digits, signs and spaces are none."""
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    table = _script_of()
    found = np.bincount(table[np.minimum(points, len(table) - 1)], minlength=len(SCRIPTS) + 1)
    return Counter({name: int(found[i]) for i, name in enumerate(SCRIPTS) if found[i]})


_RANGES = {  # Unicode blocks; only the letters in them count
    "hangul": ((0x1100, 0x11FF), (0x3130, 0x318F), (0xA960, 0xA97F), (0xAC00, 0xD7FF),
               (0xFFA0, 0xFFDC)),
    "hanja": ((0x3005, 0x3007), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF),
              (0x20000, 0x3FFFF)),
    "kana": ((0x3040, 0x30FF), (0x31F0, 0x31FF), (0xFF66, 0xFF9F)),
    "latin": ((0x0041, 0x024F), (0x1E00, 0x1EFF), (0xFF21, 0xFF5A)),
}  # fmt: skip


@cache
def _script_of() -> np.ndarray:
    """(0x40001,) uint8: the index in SCRIPTS of every code point, or one more for no letter."""
    table = np.full(0x40001, len(SCRIPTS), dtype=np.uint8)
    letters = [i for i in range(0x40000) if unicodedata.category(chr(i))[0] == "L"]
    table[letters] = SCRIPTS.index("other")
    for name, ranges in _RANGES.items():
        for low, high in ranges:
            part = table[low : high + 1]
            part[part == SCRIPTS.index("other")] = SCRIPTS.index(name)
    return table
