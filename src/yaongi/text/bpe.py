"""Byte-pair merges from word counts, going on from symbols that are already merged.

The algorithm is Sennrich et al. 2016 (arXiv:1508.07909), with the bookkeeping of Hugging Face
``tokenizers``, whose trainer finds the same merges but can only begin with single bytes, and keeps
every word it meets. Here words may begin as any symbols, and their number is bounded.
"""

from __future__ import annotations

import heapq
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

MAX_WORDS = 5_000_000
"""Different words kept while counting."""

_EDGE, _GONE = -1, -2  # between two words; merged into the symbol before
_RIGHT_BITS = 32


def count_words(
    texts: Iterable[str], split: Callable[[str], Iterable[str]], max_words: int = MAX_WORDS
) -> Counter[str]:
    """How often each word occurs, in memory that does not grow with the texts.

    At more than ``max_words`` different words the rarest go until half as many are left, which
    loses the earlier occurrences of those that come again (lossy counting, Manku & Motwani, VLDB
    2002). Below that, counts are exact and the order of texts does not matter.

    Args:
        split: a text to its words.
    """
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(split(text))
        if len(counts) > max_words:
            counts = _without_rare(counts, max_words // 2)
    return counts


def _without_rare(counts: Counter[str], most: int) -> Counter[str]:
    """The words more frequent than the smallest number that leaves ``most`` of them at most."""
    frequent = np.sort(np.fromiter(counts.values(), np.int64, len(counts)))
    limit = int(frequent[-most - 1])
    return Counter({word: n for word, n in counts.items() if n > limit})


def learn_merges(
    words: Iterable[Sequence[int]],
    counts: Iterable[int],
    first_id: int,
    most: int,
    *,
    min_count: int = 2,
    allowed: Callable[[int, int], bool] | None = None,
) -> list[tuple[int, int]]:
    """The pairs to merge, most frequent first; merge k makes the symbol ``first_id + k``.

    Of equally frequent pairs the one with the smaller ids is first. A pair is merged from left to
    right, and never across words.

    Args:
        words: each a sequence of symbols below ``first_id``.
        counts: how often each word occurs.
        most: how many merges to learn; fewer where no pair is left.
        min_count: a pair seen less often is not merged.
        allowed: asked once of each pair, when it is the most frequent: one refused stays apart,
            the others are merged there and then.
    """
    linked = _Chain(words, counts)
    places = {0: _Places(*linked.pairs(np.arange(len(linked.symbol) - 1)), min_count)}
    left_over = places[0].counts()  # pair -> how often it is there now
    queue = [(-n, pair) for pair, n in left_over.items()]
    heapq.heapify(queue)
    merges: list[tuple[int, int]] = []
    while queue and len(merges) < most:
        promised, pair = heapq.heappop(queue)
        n = left_over[pair]
        if n < min_count:
            continue
        if n < -promised:  # neighbours were merged since: back into the queue with what is left
            heapq.heappush(queue, (-n, pair))
            continue
        left, right = pair >> _RIGHT_BITS, pair & (1 << _RIGHT_BITS) - 1
        if allowed is not None and not allowed(left, right):
            continue
        newest = max(left, right)
        at = places[newest if newest >= first_id else 0].of(pair)
        merged = first_id + len(merges)
        before, after = linked.merge(at, left, right, merged)
        for changed, lost in zip(*_sums(*before[:2]), strict=True):
            if changed in left_over:
                left_over[changed] -= lost
        places[merged] = _Places(*after, min_count)
        new = places[merged].counts()
        left_over |= new
        for made, n in new.items():
            heapq.heappush(queue, (-n, made))
        merges.append((left, right))
    return merges


class _Chain:
    """All words behind one another as linked symbols, so that merging moves nothing."""

    def __init__(self, words: Iterable[Sequence[int]], counts: Iterable[int]) -> None:
        symbols, lengths = array("q", [_EDGE]), array("q", [1])
        for word in words:
            symbols.extend(word)
            symbols.append(_EDGE)
            lengths.append(len(word) + 1)
        self.symbol = np.frombuffer(symbols, np.int64)
        self.weight = np.repeat(np.fromiter(chain([0], counts), np.int64), lengths)
        self.next = np.arange(len(symbols)) + 1
        self.before = self.next - 2

    def pairs(self, at: Ints) -> tuple[Ints, Ints, Ints]:
        """(pair, weight, place) of the symbols at ``at`` with the ones after them."""
        left, right = self.symbol[at], self.symbol[self.next[at]]
        whole = (left >= 0) & (right >= 0)
        at = at[whole]
        return (left[whole] << _RIGHT_BITS) | right[whole], self.weight[at], at

    def merge(
        self, at: Ints, left: int, right: int, merged: int
    ) -> tuple[tuple[Ints, Ints, Ints], tuple[Ints, Ints, Ints]]:
        """Merge ``left right`` where it still stands at ``at``: the pairs gone, those made."""
        at = at[(self.symbol[at] == left) & (self.symbol[self.next[at]] == right)]
        if left == right:
            at = self._every_other(at)
        second = self.next[at]
        gone = self.pairs(np.unique(np.concatenate([self.before[at], at, second])))
        after = self.next[second]
        self.symbol[at], self.symbol[second] = merged, _GONE
        self.next[at], self.before[after] = after, at
        return gone, self.pairs(np.unique(np.concatenate([self.before[at], at])))

    def _every_other(self, at: Ints) -> Ints:
        """Of overlapping pairs (aaaa) the first, the third, ..."""
        follows = np.concatenate([[False], self.next[at[:-1]] == at[1:]])
        runs = np.flatnonzero(~follows)
        offset = np.arange(len(at)) - np.repeat(runs, np.diff(np.append(runs, len(at))))
        return at[offset % 2 == 0]


class _Places:
    """Where the pairs with one newest symbol are: they are all made when that symbol is."""

    def __init__(self, pairs: Ints, weights: Ints, at: Ints, min_count: int) -> None:
        order = np.argsort(pairs, kind="stable")
        pairs, self._at = pairs[order], at[order]
        self._pairs, self._starts = np.unique(pairs, return_index=True)
        self._ends = np.append(self._starts[1:], len(pairs))
        self._sums = _add(weights[order], self._starts)
        kept = self._sums >= min_count  # they can only become rarer
        self._pairs, self._sums = self._pairs[kept], self._sums[kept]
        self._starts, self._ends = self._starts[kept], self._ends[kept]

    def counts(self) -> dict[int, int]:
        return dict(zip(self._pairs.tolist(), self._sums.tolist(), strict=True))

    def of(self, pair: int) -> Ints:
        i = int(np.searchsorted(self._pairs, pair))
        return self._at[self._starts[i] : self._ends[i]]


def _sums(pairs: Ints, weights: Ints) -> tuple[list[int], list[int]]:
    """Each different pair and its weights together."""
    order = np.argsort(pairs)
    unique, starts = np.unique(pairs[order], return_index=True)
    return unique.tolist(), _add(weights[order], starts).tolist()


def _add(weights: Ints, starts: Ints) -> Ints:
    """Sums of the slices that begin at ``starts``."""
    return np.add.reduceat(weights, starts) if len(starts) else weights[:0]
