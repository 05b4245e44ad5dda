"""Byte-pair merges for Korean, learnt on top of those a vocabulary has.

Learning goes on where it once stopped: words are cut by the tokenizer's own rules and encoded with
its own merges, and from there the commonest pair of neighbours is joined, again and again.

New merges rank behind all old ones. In any text the old ones therefore do first all they ever did,
and each new one then joins two neighbours: no segmentation gets longer, and what no new token
touches keeps its ids (the property asked for in arXiv:2509.26124, there for whole words).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from tokenizers import Tokenizer as Backend

from yaongi.text.bpe import count_words, learn_merges
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
    normalizer, cutter = backend.normalizer, backend.pre_tokenizer

    def split(text: str) -> list[str]:
        text = check_unicode(text)
        text = normalizer.normalize_str(text) if normalizer else text
        return [word for word, _ in cutter.pre_tokenize_str(text)]

    counts = count_words(texts, split)
    return Counter({word: n for word, n in counts.items() if has_hangul(word)})


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
    ordered = sorted(words)
    spelled = {i: token for token, i in backend.get_vocab().items()}
    first_id = 1 + max(spelled)
    merges: list[Merge] = []
    made = set(taken)

    def token(symbol: int) -> str:
        return spelled[symbol] if symbol < first_id else merges[symbol - first_id].token

    def allowed(left: int, right: int) -> bool:
        merge = Merge(token(left), token(right))
        if merge.token in made or not has_hangul(merge.token):
            return False
        made.add(merge.token)
        merges.append(merge)
        return True

    encoded = ([t.id for t in backend.model.tokenize(word)] for word in ordered)
    times = map(words.__getitem__, ordered)
    learn_merges(encoded, times, first_id, count, min_count=MIN_FREQUENCY, allowed=allowed)
    return merges


def has_hangul(token: str) -> bool:
    """Whether the bytes that ``token`` spells begin a character of Hangul somewhere."""
    return _HANGUL.search(bytes_of(token)) is not None


def bytes_of(token: str) -> bytes:
    """The bytes that a token or word spells."""
    table = byte_of_char()
    return bytes(table[char] for char in token)
