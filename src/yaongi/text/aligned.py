"""One text in two vocabularies, and where in the one each token of the other ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from yaongi.text.foreign import AnyTokenizer


class Aligned(NamedTuple):
    """A text before and after the vocabulary grew.

    Attributes:
        before: (S,) int64 ids of the old vocabulary, from the opener of a document on.
        after: (T,) int64 ids of the extended one, T <= S.
        ends: (T,) int64: token t of ``after`` ends where token ``ends[t]`` of ``before`` does.
    """

    before: np.ndarray
    after: np.ndarray
    ends: np.ndarray


def aligned(
    texts: Sequence[str], before: AnyTokenizer, after: AnyTokenizer, max_tokens: int
) -> Iterator[Aligned]:
    """``texts`` in both vocabularies, each cut where ``max_tokens`` old tokens end.

    Args:
        after: ``before``, extended.
    """
    sizes = np.array([len(after.token_bytes(i)) for i in range(after.vocab_size)])
    opener = [after.eot_id]
    pairs = zip(before.encode_batch(texts), after.encode_batch(texts), strict=True)
    for old, new in pairs:
        olds, news = np.array(opener + old[: max_tokens - 1]), np.array(opener + new)
        old_ends, new_ends = np.cumsum(sizes[olds]), np.cumsum(sizes[news])
        kept = new_ends <= old_ends[-1]
        yield Aligned(olds, news[kept], np.searchsorted(old_ends, new_ends[kept]))
