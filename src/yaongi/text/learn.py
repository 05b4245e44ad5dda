"""From texts to a vocabulary: count words, lay down the seeds, learn the merges after them.

Seeds come first in rank, so encoding applies them before everything else; learning therefore goes
on from words in which they are merged already, and the result is exactly what byte-level BPE with
this list of merges does to the texts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from tokenizers import AddedToken, models, pre_tokenizers
from tokenizers import Tokenizer as Backend

from yaongi.core.errors import TokenizerError
from yaongi.text.bpe import count_words, learn_merges
from yaongi.text.bytelevel import IGNORE_MERGES, byte_of_char, piece, splits, untrained
from yaongi.text.control import CONTROL
from yaongi.text.seeds import SEEDED_FROM, seed_merges

MIN_VOCAB = len(CONTROL) + 256
"""Control tokens and every byte: the smallest vocabulary there is."""

_MIN_COUNT = 2  # a merge seen once in the sample is an accident, not a word
_ENCODED_AT_ONCE = 100_000  # words


def word_counts(texts: Iterable[str], regex: str) -> Counter[str]:
    """How often each word of the composed ``texts`` occurs, cut by the regexes of that name."""
    cut = pre_tokenizers.Sequence(splits(regex)).pre_tokenize_str
    return count_words(texts, lambda text: [word for word, _ in cut(text)])


def learn(
    words: Counter[str], vocab_size: int, *, regex: str, allow_smaller: bool = False
) -> Backend:
    """A vocabulary of exactly ``vocab_size`` tokens: control tokens, bytes, seeds, learnt merges.

    Args:
        words: as ``word_counts`` gives them.
        allow_smaller: accept fewer tokens where the words do not hold that many.
    Raises:
        TokenizerError: unknown regex, vocab_size below ``MIN_VOCAB``, or too few words for it.
    """
    untrained(regex)  # says so if it is unknown
    if vocab_size < MIN_VOCAB:
        raise TokenizerError(
            "vocab_size {asked} is too small: {control} control tokens and 256 bytes "
            "need at least {least}.",
            asked=vocab_size,
            control=len(CONTROL),
            least=MIN_VOCAB,
        )
    vocabulary = _Vocabulary(seed_merges() if vocab_size >= SEEDED_FROM else [])
    known = len(vocabulary.tokens)
    ordered = sorted(words)
    learnt = learn_merges(
        _encoded(vocabulary.backend(regex), ordered),
        map(words.__getitem__, ordered),
        known,
        vocab_size - known,
        min_count=_MIN_COUNT,
    )
    reached = known + len(learnt)
    if reached < vocab_size and not allow_smaller:
        raise TokenizerError(
            "The texts hold only {reached} tokens that occur at least {times} times; "
            "{asked} were asked for. Give more text, or add tokenizer.vocab_size={reached} "
            "(with --data: --vocab-size {reached}).",
            reached=reached,
            times=_MIN_COUNT,
            asked=vocab_size,
        )
    for left, right in learnt:
        vocabulary.add(vocabulary.tokens[left], vocabulary.tokens[right])
    backend = vocabulary.backend(regex)
    control = [AddedToken(name, special=True) for name in CONTROL]
    backend.add_special_tokens(control)  # pyright: ignore[reportUnknownMemberType]
    return backend


class _Vocabulary:
    """Tokens in order of their ids, and the merges that lead to them, as ``tokenizer.json``
    spells them."""

    def __init__(self, merges: Iterable[tuple[bytes, bytes]]) -> None:
        self.tokens = [*CONTROL, *sorted(byte_of_char())]
        self.merges: list[tuple[str, str]] = []
        for left, right in merges:
            self.add(piece(left), piece(right))

    def add(self, left: str, right: str) -> None:
        self.tokens.append(left + right)
        self.merges.append((left, right))

    def backend(self, regex: str) -> Backend:
        ids = {token: i for i, token in enumerate(self.tokens)}
        assert len(ids) == len(self.tokens), "two merges made the same token"
        model = models.BPE(ids, self.merges, ignore_merges=regex in IGNORE_MERGES)
        return untrained(regex, model)


def _encoded(start: Backend, words: list[str]) -> Iterator[list[int]]:
    """Each word, whole, with the merges there are so far."""
    start.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    for i in range(0, len(words), _ENCODED_AT_ONCE):
        for found in start.encode_batch_fast(words[i : i + _ENCODED_AT_ONCE]):
            yield found.ids
