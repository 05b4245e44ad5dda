"""Held-out text in batches that tell how much of it has been read."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from yaongi.data.batches import Batch, eval_batches
from yaongi.data.shards import Shards

OnShare = Callable[[float], None]
"""Told the share of the text that was read, after each batch."""


def heldout_batches(
    shards: Shards,
    domain: str,
    rows: int,
    seq_len: int,
    max_tokens: int,
    on_share: OnShare | None = None,
) -> Iterator[Batch]:
    """``data.batches.eval_batches``, each reported once whoever asked for it is done with it.

    Raises:
        DataError: the domain has no held-out text.
    """
    shard = shards.open(domain, "val")
    targets = len(shard.tokens) - len(shard.lengths) if shard.mask is None else shard.mask.sum()
    total = max(1, min(max_tokens, int(targets)))
    read = 0
    for batch in eval_batches(shards.artifact, domain, rows, seq_len, max_tokens):
        yield batch
        read += int((batch.weights > 0).sum())
        if on_share:
            on_share(min(1.0, read / total))
