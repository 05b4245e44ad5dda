"""Byte-pair merges for Korean, learnt on top of those a vocabulary has.

Learning goes on where it once stopped: words are cut by the tokenizer's own rules and encoded with
its own merges, and from there the commonest pair of neighbours is joined, again and again (Sennrich
et al. 2016, arXiv:1508.07909). Hugging Face ``tokenizers`` can only learn from the beginning, and
cannot leave out a token, so this is written out.

New merges rank behind all old ones. In any text the old ones therefore do first all they ever did,
and each new one then joins two neighbours: no segmentation gets longer, and what no new token
touches keeps its ids (the property asked for in arXiv:2509.26124, there for whole words).
"""

from __future__ import annotations

import heapq
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from tokenizers import Tokenizer as Backend

from yaongi.text.bytelevel import byte_of_char
from yaongi.text.tokenizer import check_unicode

MIN_FREQUENCY = 2  # a pair seen once is an accident
_HANGUL = re.compile(rb"[\xea-\xed]|\xe3[\x84-\x86]|\xe1[\x84-\x87]")
"""How a character of Hangul begins in UTF-8: syllables, letters (ㅋㅋ), old conjoining letters."""


class Merge(NamedTuple):
    """Two neighbouring tokens that become one, in GPT-2's printable spelling of bytes."""

    left: str
    right: str

    @property
    def token(self) -> str:
        """What they become."""
        return self.left + self.right


def korean_words(backend: Backend, texts: Iterable[str]) -> Counter[str]:
    """The words with Hangul in them, as ``backend`` cuts texts, spelled in its bytes.

    Raises:
        TokenizerError: a text with a lone surrogate.
    """
    found: Counter[str] = Counter()
    normalizer, cutter = backend.normalizer, backend.pre_tokenizer
    for text in texts:
        text = check_unicode(text)
        text = normalizer.normalize_str(text) if normalizer else text
        found.update(word for word, _ in cutter.pre_tokenize_str(text))
    return Counter({word: n for word, n in found.items() if has_hangul(word)})


def learn(
    backend: Backend, words: Mapping[str, int], count: int, taken: Iterable[str]
) -> list[Merge]:
    """The next ``count`` merges of byte-pair encoding; fewer where ``words`` do not hold so many.

    Never learnt are tokens that are ``taken``, that another new merge makes already (so each new
    token has one way of being made), and those without Hangul (English in Korean words, quotation
    marks, ends of characters), so that a text without Hangul keeps its ids whatever was learnt.

    Args:
        words: word -> how often, from ``korean_words``.
        taken: tokens there already, and the names of added tokens.
    """
    split = {word: [t.value for t in backend.model.tokenize(word)] for word in words}
    pairs = _Pairs([(parts, words[word]) for word, parts in split.items() if len(parts) > 1])
    merges: list[Merge] = []
    made = set(taken)
    while len(merges) < count and (merge := pairs.commonest()):
        if merge.token not in made and has_hangul(merge.token):
            made.add(merge.token)
            merges.append(merge)
            pairs.join(merge)
    return merges


class _Pairs:
    """The pairs of neighbours in counted words, the commonest first; equal ones by spelling."""

    def __init__(self, words: list[tuple[list[str], int]]) -> None:
        self._words = words
        self._counts: Counter[Merge] = Counter()
        self._places: defaultdict[Merge, set[int]] = defaultdict(set)
        for place in range(len(words)):
            self._count(place, 1)
        self._heap = [(-n, pair) for pair, n in self._counts.items()]
        heapq.heapify(self._heap)

    def commonest(self) -> Merge | None:
        """The next one, each only once; None when the rest is too rare."""
        while self._heap:
            known, pair = heapq.heappop(self._heap)
            now = self._counts[pair]
            if now == -known:
                return pair if now >= MIN_FREQUENCY else None
            heapq.heappush(self._heap, (-now, pair))  # it has become rarer since
        return None

    def join(self, merge: Merge) -> None:
        """Make the pair one token in every word."""
        fresh: set[Merge] = set()  # only pairs with the new token can have become commoner
        for place in self._places.pop(merge):
            parts, n = self._words[place]
            self._count(place, -1)
            parts = _joined(parts, merge)
            self._words[place] = parts, n
            self._count(place, 1)
            fresh.update(pair for pair in map(Merge, parts, parts[1:]) if merge.token in pair)
        for pair in fresh:
            heapq.heappush(self._heap, (-self._counts[pair], pair))

    def _count(self, place: int, sign: int) -> None:
        parts, n = self._words[place]
        for pair in map(Merge, parts, parts[1:]):
            self._counts[pair] += sign * n
            if sign > 0:
                self._places[pair].add(place)


def _joined(parts: list[str], merge: Merge) -> list[str]:
    found: list[str] = []
    for part in parts:
        if found and found[-1] == merge.left and part == merge.right:
            found[-1] = merge.token
        else:
            found.append(part)
    return found


def has_hangul(token: str) -> bool:
    """Whether the bytes that ``token`` spells begin a character of Hangul somewhere."""
    return _HANGUL.search(bytes_of(token)) is not None


def bytes_of(token: str) -> bytes:
    """The bytes that a token or word spells."""
    table = byte_of_char()
    return bytes(table[char] for char in token)
