"""Finding the items of evaluation sets inside documents.

Two signs, both blind to case, punctuation and, but for words, to spacing: a whole text of an item
(question, context, answer ...) stands in the document, or a large part of its n-grams does. Words
in 13-grams are GPT-3's (Brown et al. 2020, arXiv:2005.14165, appendix C); Korean spacing varies
too much for them, so Hangul and Han are compared by the letter. N-grams of many texts of one set
are its template and no sign.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from yaongi.data.hashing import Sums, scatter
from yaongi.data.letters import Page


class Limits(NamedTuple):
    """What counts as found.

    Args:
        words: n of the word n-grams.
        letters: n of the n-grams of Hangul and Han letters.
        overlap: share of a text's n-grams that must stand in the document.
        exact: size of the shortest text that is looked for as a whole; a letter of Hangul or Han
            counts three, any other one.
        template: n-grams of more than so many different texts of one set are no sign.
    """

    words: int = 13
    letters: int = 20
    overlap: float = 0.1
    exact: int = 45
    template: int = 10


class Match(NamedTuple):
    """A text of an evaluation set that was found.

    Args:
        where: the set and the row, ``gsm8k_test:12``.
        overlap: the share of its n-grams found, or 1 where the whole text stands there.
        whole: whether it does.
    """

    where: str
    overlap: float
    whole: bool


class Contamination:
    """The texts of evaluation sets, indexed.

    About 40 bytes for every n-gram, and the names of the texts.

    Args:
        rows: (set, row number, row); every string in a row, however deep, is a text of its own.
        limits: what counts as found.
    """

    def __init__(self, rows: Iterable[tuple[str, int, Any]], limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        texts = _collect(rows, self.limits)
        self.where = [f"{text.set}:{text.row}" for text in texts]
        self._grams = [
            _Grams(texts, self.limits.template, telling)
            for telling in (self._telling_words, self._telling_letters)
        ]
        self._whole = _Whole(texts, self.limits.exact)

    def __len__(self) -> int:
        return len(self.where)

    @property
    def n_grams(self) -> int:
        """Different n-grams that are looked for."""
        return sum(len(grams.keys) for grams in self._grams)

    @property
    def bytes(self) -> int:
        """Size of the index in memory, without the names of the texts."""
        parts = [*self._grams, self._whole]
        parts += [part.keys for part in parts]
        arrays = [value for part in parts for value in vars(part).values()]
        return sum(array.nbytes for array in arrays if isinstance(array, np.ndarray))

    def find(self, text: str) -> Match | None:
        """The clearest match in ``text``."""
        page = Page(text)
        if (found := self._whole.find(page)) is not None:
            return Match(self.where[found], 1.0, True)
        best = [
            grams.best(of(page))
            for grams, of in zip(self._grams, (self._word_grams, self._letter_grams), strict=True)
        ]
        owner, share = max(best, key=lambda match: match[1])
        if share <= 0 or share < self.limits.overlap:
            return None
        return Match(self.where[owner], share, False)

    def _word_grams(self, page: Page) -> np.ndarray:
        starts = _starts(page.words, self.limits.words)
        return Sums(scatter(page.words))(starts, starts + self.limits.words)

    def _letter_grams(self, page: Page) -> np.ndarray:
        starts = _starts(page.codes, self.limits.letters)
        return page.letters(starts, starts + self.limits.letters)[self._wide(page, starts)]

    def _wide(self, page: Page, starts: np.ndarray) -> np.ndarray:
        """Windows mostly of Hangul and Han: four words of English are twenty letters too."""
        return (
            2 * (page.wide[starts + self.limits.letters] - page.wide[starts]) > self.limits.letters
        )

    def _telling_words(self, page: Page) -> tuple[np.ndarray, ...]:
        """And which of them tell: no lists of numbers, rows of zeros, ``for i in range(n)``."""
        n = self.limits.words
        starts = _starts(page.words, n)
        long = page.ends[starts + n - 1] - page.starts[starts] >= _LETTERS_PER_WORD * n
        return self._word_grams(page), long & (2 * _distinct(page.words, n) > n)

    def _telling_letters(self, page: Page) -> tuple[np.ndarray, ...]:
        """And which of them tell: no ㅋㅋㅋㅋ."""
        n = self.limits.letters
        varied = 3 * _distinct(page.codes, n) > n
        return self._letter_grams(page), varied[self._wide(page, _starts(page.codes, n))]


_LETTERS_PER_WORD = 3  # fewer is source code or arithmetic


def _starts(values: np.ndarray, n: int) -> np.ndarray:
    return np.arange(max(0, len(values) - n + 1))


def _distinct(values: np.ndarray, n: int) -> np.ndarray:
    """How many different values each window of ``n`` has."""
    if len(values) < n:
        return np.zeros(0, np.int64)
    windows = np.sort(np.lib.stride_tricks.sliding_window_view(values, n), axis=1)
    return 1 + np.count_nonzero(np.diff(windows, axis=1), axis=1)


class _Text(NamedTuple):
    """A text of a set, and the first row it stands in."""

    page: Page
    set: str
    row: int


def _collect(rows: Iterable[tuple[str, int, Any]], limits: Limits) -> list[_Text]:
    """The different texts long enough to be looked for, without those of many rows of a set.

    One context of several questions is one text; the instruction of every row is a template.
    """
    found: dict[tuple[str, int], _Text] = {}
    times: Counter[tuple[str, int]] = Counter()
    for name, number, row in rows:
        for text in strings(row):
            page = Page(text)
            if page.size >= limits.exact or len(page.words) >= limits.words:
                key = (name, int(page.letters(0, len(page))))
                found.setdefault(key, _Text(page, name, number))
                times[key] += 1
    return [text for key, text in found.items() if times[key] <= limits.template]


def strings(value: Any) -> Iterator[str]:
    """Every string in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)


# --- the index -------------------------------------------------------------------------------

_NONE = np.zeros(0, np.uint64)


class _Keys:
    """Sorted different hashes, and a table of their first bits: a fast first look."""

    def __init__(self, hashes: np.ndarray) -> None:
        self.hashes = hashes
        bits = max(16, int(8 * len(hashes)).bit_length())
        self.shift = np.uint64(64 - bits)
        self.table = np.zeros(2**bits, dtype=bool)
        self.table[hashes >> self.shift] = True

    def __len__(self) -> int:
        return len(self.hashes)

    def among(self, found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(places in ``found``, which key stands there)."""
        places = np.flatnonzero(self.table[found >> self.shift])
        which = np.searchsorted(self.hashes, found[places])
        which[which == len(self.hashes)] = 0
        same = self.hashes[which] == found[places] if len(places) else places > 0
        return places[same], which[same]


class _Grams:
    """Which texts an n-gram is from: sorted hashes, and the owners of each, one after another.

    Args:
        grams: the n-grams of a page, and which of them are a sign.
    """

    def __init__(
        self, texts: list[_Text], template: int, grams: Callable[[Page], tuple[np.ndarray, ...]]
    ) -> None:
        found = [grams(text.page) for text in texts]
        of_text = [np.unique(of_page[telling]) for of_page, telling in found]
        owner = np.repeat(np.arange(len(texts)), [len(grams) for grams in of_text])
        keys = np.concatenate([_NONE, *of_text])
        sets = np.unique([text.set for text in texts], return_inverse=True)[1]
        keep = ~_frequent(keys, sets[owner], template)
        order = np.argsort(keys[keep], kind="stable")
        keys, self.first = np.unique(keys[keep][order], return_index=True)
        self.keys = _Keys(keys)
        self.owner = owner[keep][order].astype(np.int32)
        self.last = np.append(self.first[1:], len(self.owner))
        all_of_text = np.asarray([len(np.unique(of_page)) for of_page, _ in found], np.int64)
        self.total = all_of_text - np.bincount(owner[~keep], minlength=len(texts))

    def best(self, grams: np.ndarray) -> tuple[int, float]:
        """(text, share of its n-grams among ``grams``) where that is largest."""
        at = np.unique(self.keys.among(grams)[1])
        if not len(at):
            return 0, 0.0
        owners = np.concatenate([self.owner[self.first[i] : self.last[i]] for i in at])
        texts, hits = np.unique(owners, return_counts=True)
        shares = hits / self.total[texts]
        best = int(np.argmax(shares))
        return int(texts[best]), float(shares[best])


def _frequent(keys: np.ndarray, sets: np.ndarray, most: int) -> np.ndarray:
    """Which entries have a key that stands in more than ``most`` texts of one set."""
    order = np.lexsort((sets, keys))
    keys, sets = keys[order], sets[order]
    changes = np.flatnonzero((np.diff(keys) != 0) | (np.diff(sets) != 0)) + 1
    lengths = np.diff(np.concatenate([[0], changes, [len(keys)]]))
    many = np.unique(np.repeat(keys, np.repeat(lengths > most, lengths)))  # of any set
    frequent = np.zeros(len(keys), dtype=bool)
    frequent[order] = np.isin(keys, many)
    return frequent


class _Whole:
    """Texts as a whole: each waits at its rarest window for its hash to be checked."""

    def __init__(self, texts: list[_Text], least: int) -> None:
        self.window = least // 3  # letters; no text of that size has fewer
        chosen = [i for i, text in enumerate(texts) if text.page.size >= least]
        pages = [texts[i].page for i in chosen]
        windows = [self._windows(page) for page in pages]
        keys, counts = np.unique(np.concatenate([_NONE, *windows]), return_counts=True)
        rarest = [int(np.argmin(counts[np.searchsorted(keys, of_text)])) for of_text in windows]
        anchors = [of_text[i] for of_text, i in zip(windows, rarest, strict=True)]
        order = np.argsort(np.asarray(anchors, np.uint64), kind="stable")
        keys, self.first = np.unique(np.asarray(anchors, np.uint64)[order], return_index=True)
        self.keys = _Keys(keys)
        self.last = np.append(self.first[1:], len(anchors))
        self.texts = np.asarray(chosen, np.int64)[order]
        self.offset = np.asarray(rarest, np.int64)[order]
        self.length = np.asarray([len(page) for page in pages], np.int64)[order]
        whole = [page.letters(0, len(page)) for page in pages]
        self.hash = np.asarray(whole, np.uint64)[order]

    def find(self, page: Page) -> int | None:
        """The number of a text that stands in ``page``, the first such."""
        place, which = self.keys.among(self._windows(page))
        if not len(place):
            return None
        first, number = self.first[which], (self.last - self.first)[which]
        nth = np.arange(number.sum()) - np.repeat(np.cumsum(number) - number, number)
        place, entry = np.repeat(place, number), np.repeat(first, number) + nth
        start = place - self.offset[entry]
        end = start + self.length[entry]
        fits = (start >= 0) & (end <= len(page))
        entry, start, end = entry[fits], start[fits], end[fits]
        same = np.flatnonzero(page.letters(start, end) == self.hash[entry])
        return int(self.texts[entry[same[0]]]) if len(same) else None

    def _windows(self, page: Page) -> np.ndarray:
        starts = _starts(page.codes, self.window)
        return page.letters(starts, starts + self.window)
