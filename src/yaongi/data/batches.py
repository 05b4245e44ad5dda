"""What a training step sees: rows of tokens, as a pure function of (seed, step).

A loader without state cannot resume wrongly: the batch of step n is computed, not remembered, and
is the same for any number of workers and ranks. Rows are cut from the concatenated documents of a
domain (Brown et al. 2020, section B) with document ids, or packed with whole conversations.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from yaongi.core.artifact import Artifact
from yaongi.core.errors import DataError
from yaongi.core.seeds import Seed
from yaongi.data.mix import ChangingSchedule, check_mix
from yaongi.data.shards import DomainShard, Shards


@dataclass(frozen=True)
class Batch:
    """Rows of tokens (B,T).

    Attributes:
        ids: (B,T) int64.
        targets: (B,T) int64, the token after each of ``ids``.
        weights: (B,T) float32; 0 where a target is not to be learnt.
        doc_ids: (B,T) int32, 0, 1, 2... within a row: where documents change, state resets; -1
            is the padding of packed conversations.
        domains: (B,) int64, a place in the maker's ``domains``.
        text_bytes: UTF-8 bytes of the targets with weight; only evaluation counts them.
    """

    ids: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    doc_ids: np.ndarray
    domains: np.ndarray
    text_bytes: int = 0


class _Row(NamedTuple):
    """One row before it is a batch: T+1 tokens with mask and document ids, and its domain."""

    tokens: np.ndarray
    mask: np.ndarray | None
    doc_ids: np.ndarray
    domain: int


def _stack(rows: Sequence[_Row], seq_len: int, text_bytes: int = 0) -> Batch:
    """Split T+1 tokens into inputs and targets."""
    tokens = np.stack([row.tokens for row in rows]) if rows else np.zeros((0, seq_len + 1))
    tokens = tokens.astype(np.int64)
    weights = np.ones((len(rows), seq_len), dtype=np.float32)
    doc_ids = np.empty((len(rows), seq_len), dtype=np.int32)
    for i, row in enumerate(rows):
        doc_ids[i] = row.doc_ids[:seq_len]
        if row.mask is not None:
            weights[i] = row.mask[1:]
    domains = np.asarray([row.domain for row in rows], dtype=np.int64)
    return Batch(tokens[:, :-1], tokens[:, 1:], weights, doc_ids, domains, text_bytes)


# --- pretraining -----------------------------------------------------------------------------


class MixedBatches:
    """Pretraining batches: shares of domains, every row full, every target learnt.

    Row r of the run (counted over all batches) has a domain by ``ChangingSchedule``: a pure
    function of the seed and of the changes of the shares. The rows of a domain are its documents
    laid end to end, anew in another order each epoch, cut every T tokens and
    shuffled, about an epoch at a time: else a long document would fill a batch by itself.

    Args:
        shards: the artifact or its folder.
        weights: domain -> share of the tokens.
        batch_rows, seq_len: B and T.
        seed: decides the orders of documents and of rows.
    Raises:
        DataError: a domain of the mix has no data.
    """

    def __init__(
        self,
        shards: Artifact | str | Path,
        weights: Mapping[str, float],
        batch_rows: int,
        seq_len: int,
        seed: Seed,
    ) -> None:
        opened = Shards(shards)
        check_mix(weights, opened.domains(), where=opened.artifact.path)
        self.batch_rows, self.seq_len = batch_rows, seq_len
        self.schedule = ChangingSchedule(weights)
        self.domains = self.schedule.domains
        self._streams = [
            Stream(opened.open(domain), seed.split("order", domain), seq_len)
            for domain in self.domains
        ]

    def change(self, step: int, weights: Mapping[str, float]) -> None:
        """Other shares from the batch of ``step`` on; every domain goes on where it stood.

        Raises:
            DataError: a domain that had no share at first.
            ValueError: an earlier step than that of the last change.
        """
        self.schedule.change(step * self.batch_rows, weights)

    def batch(self, step: int) -> Batch:
        """The batch of ``step`` (from 0)."""
        return self.rows(step, 0, self.batch_rows)

    def rows(self, step: int, start: int, stop: int) -> Batch:
        """Rows [start, stop) of that batch: a rank's or a micro-batch's part."""
        first = step * self.batch_rows
        return _stack([self._row(first + i) for i in range(start, stop)], self.seq_len)

    def _row(self, row: int) -> _Row:
        domain, k = self.schedule.place(row)
        tokens, doc_ids = self._streams[domain].row(k)
        return _Row(tokens, None, doc_ids, domain)

    def reached(self, steps: int) -> dict[str, float]:
        """Share of the tokens in the first ``steps`` batches, by domain."""
        counts = self.schedule.counts(steps * self.batch_rows)
        total = max(1, int(counts.sum()))
        return {d: int(n) / total for d, n in zip(self.domains, counts, strict=True)}

    def epochs(self, steps: int) -> dict[str, float]:
        """How often the first ``steps`` batches go through each domain."""
        counts = self.schedule.counts(steps * self.batch_rows)
        return {
            stream.shard.domain: int(n) * self.seq_len / stream.length
            for stream, n in zip(self._streams, counts, strict=True)
        }


class Stream:
    """A domain as one endless sequence of tokens: epoch after epoch, each in its own order.

    Rows of it are T+1 tokens long, the last being the first of the row behind it. They are dealt
    in blocks of as many rows as fit into an epoch, each block in its own order.
    """

    def __init__(self, shard: DomainShard, seed: Seed, seq_len: int) -> None:
        self.shard, self.seed, self.seq_len = shard, seed, seq_len
        self.length = len(shard.tokens)
        self.block = max(1, self.length // seq_len)
        self._order = functools.lru_cache(maxsize=2)(self._make_order)
        self._deal = functools.lru_cache(maxsize=2)(self._make_deal)

    def row(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k-th row dealt: T+1 tokens and their documents, as ``read`` numbers them."""
        block, place = divmod(k, self.block)
        begin = (block * self.block + int(self._deal(block)[place])) * self.seq_len
        return self.read(begin, begin + self.seq_len + 1)

    def _make_deal(self, block: int) -> np.ndarray:
        """Which row of a block stands at each of its places."""
        return np.argsort(random_keys(self.seed.split("rows", block), self.block), kind="stable")

    def _make_order(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """(documents in the order of the epoch, where each ends in it)."""
        order = np.argsort(
            random_keys(self.seed.split(epoch), len(self.shard.lengths)), kind="stable"
        )
        return order, np.cumsum(self.shard.lengths[order])

    def read(self, begin: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        """Tokens [begin, end) of the stream and the number of the document each is in, from 0."""
        tokens: list[np.ndarray] = []
        doc_ids: list[np.ndarray] = []
        seen = 0
        while begin < end:
            epoch, offset = divmod(begin, self.length)
            n = min(end - begin, self.length - offset)
            source, lengths = self._pieces(epoch, offset, n)
            tokens.append(self.shard.tokens[source])
            doc_ids.append(np.repeat(np.arange(seen, seen + len(lengths)), lengths))
            begin, seen = begin + n, seen + len(lengths)
        return np.concatenate(tokens), np.concatenate(doc_ids)

    def _pieces(self, epoch: int, offset: int, n: int) -> tuple[np.ndarray, np.ndarray]:
        """(places in the shard of n tokens from ``offset`` of an epoch, tokens per document)."""
        order, ends = self._order(epoch)
        first = int(np.searchsorted(ends, offset, side="right"))
        last = int(np.searchsorted(ends, offset + n, side="left"))
        documents = order[first : last + 1]
        stops = np.minimum(ends[first : last + 1], offset + n)
        starts = np.concatenate([[offset], stops[:-1]])
        lengths = stops - starts
        # a document's first token here: its end in the shard, less what is left of it from here
        source = self.shard.offsets[documents + 1] - (ends[first : last + 1] - starts)
        return np.repeat(source - (starts - offset), lengths) + np.arange(n), lengths


def random_keys(seed: Seed, n: int) -> np.ndarray:
    """n random 64-bit keys straight from the bit generator, whose stream numpy never changes."""
    return seed.numpy().bit_generator.random_raw(n)


# --- conversations ---------------------------------------------------------------------------


@dataclass(frozen=True)
class PackingReport:
    """What packing made of the conversations.

    Attributes:
        too_long: left out (or cut, when asked) because longer than a row.
        untrained: left out because nothing of them is to be learnt.
        padding: share of the places in rows that hold no token.
        learnt: tokens an epoch learns from.
    """

    conversations: int
    too_long: int
    untrained: int
    rows: int
    padding: float
    learnt: int


class PackedConversations:
    """Tuning batches: whole conversations packed into rows, learning only what is masked 1, each
    token by its weight.

    Rows are filled by best fit, longest first, which depends on lengths alone; each epoch deals
    conversations of equal length anew and shuffles the rows, so every epoch has as many rows.

    Args:
        domains: which domains; by default all there are.
        truncate: cut conversations longer than ``seq_len`` instead of leaving them out.
    Raises:
        DataError: no such domain, or nothing fits.
    """

    def __init__(
        self,
        shards: Artifact | str | Path,
        batch_rows: int,
        seq_len: int,
        seed: Seed,
        *,
        domains: Sequence[str] | None = None,
        split: str = "train",
        truncate: bool = False,
    ) -> None:
        opened = Shards(shards)
        self.batch_rows, self.seq_len, self.seed = batch_rows, seq_len, seed
        self.domains = tuple(domains or opened.domains(split))
        self._pad_id = opened.pad_id
        self._shards = [opened.open(domain, split) for domain in self.domains]
        found = [_conversations(shard, i, seq_len) for i, shard in enumerate(self._shards)]
        everything = np.concatenate(found) if found else np.zeros((0, 5), np.int64)
        self._conversations, self.report = self._pack(everything, truncate)
        self._order = functools.lru_cache(maxsize=2)(self._make_order)

    @property
    def rows_per_epoch(self) -> int:
        """Rows that hold every conversation once."""
        return len(self._bins)

    @property
    def steps_per_epoch(self) -> int:
        """Batches that cover an epoch; the last one reaches into the next epoch."""
        return -(-self.rows_per_epoch // self.batch_rows)

    def batch(self, step: int) -> Batch:
        """The batch of ``step`` (from 0)."""
        return self.rows(step, 0, self.batch_rows)

    def rows(self, step: int, start: int, stop: int) -> Batch:
        """Rows [start, stop) of that batch: a rank's or a micro-batch's part."""
        first = step * self.batch_rows
        return _stack([self._row(first + i) for i in range(start, stop)], self.seq_len)

    def epochs(self, steps: int) -> float:
        """How often the first ``steps`` batches go through the conversations."""
        return steps * self.batch_rows / self.rows_per_epoch

    def _pack(self, found: np.ndarray, truncate: bool) -> tuple[np.ndarray, PackingReport]:
        """Choose what is used and fill ``_bins``; columns are those of ``_conversations``."""
        long, learnt = found[:, 3] > self.seq_len, found[:, 4]
        used = found[(learnt > 0) & (truncate | ~long)]
        if not len(used):
            raise DataError(
                "No conversation of {domains} fits into seq_len {seq_len} with something to "
                "learn: {n} there, {long} too long (the shortest has {shortest} tokens).",
                domains=", ".join(self.domains) or "(no domain)",
                seq_len=self.seq_len,
                n=len(found),
                long=int(long.sum()),
                shortest=int(found[:, 3].min(initial=0)),
            )
        used[:, 3] = np.minimum(used[:, 3], self.seq_len)
        used = used[np.argsort(-used[:, 3], kind="stable")]
        self._bins = best_fit(used[:, 3].tolist(), self.seq_len)
        places = len(self._bins) * self.seq_len
        return used, PackingReport(
            conversations=len(used),
            too_long=int(long.sum()),
            untrained=int(np.count_nonzero((learnt == 0) & (truncate | ~long))),
            rows=len(self._bins),
            padding=1 - int(used[:, 3].sum()) / places,
            learnt=int(used[:, 4].sum()),
        )

    def _make_order(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """(order of the rows, which conversation stands at each place of the packing)."""
        seed = self.seed.split("order", epoch)
        lengths = self._conversations[:, 3]
        dealt = np.lexsort((random_keys(seed.split("deal"), len(lengths)), -lengths))
        return np.argsort(
            random_keys(seed.split("rows"), self.rows_per_epoch), kind="stable"
        ), dealt

    def _row(self, row: int) -> _Row:
        epoch, k = divmod(row, self.rows_per_epoch)
        order, dealt = self._order(epoch)
        chosen = self._conversations[dealt[self._bins[order[k]]]]
        tokens = np.full(self.seq_len + 1, self._pad_id, dtype=np.int64)
        mask = np.zeros(self.seq_len + 1, dtype=np.float32)
        doc_ids = np.full(self.seq_len, -1, dtype=np.int32)
        at = 0
        for i, (domain, _, begin, length, _) in enumerate(chosen.tolist()):
            shard, part = self._shards[domain], slice(begin, begin + length)
            tokens[at : at + length] = shard.tokens[part]
            weights = shard.mask if shard.weights is None else shard.weights
            mask[at : at + length] = 1.0 if weights is None else weights[part]
            mask[at] = 0.0  # what follows a conversation in a row is chance
            doc_ids[at : at + length] = i
            at += length
        return _Row(tokens, mask, doc_ids, int(chosen[0, 0]))


def _conversations(shard: DomainShard, domain: int, seq_len: int) -> np.ndarray:
    """(documents, 5) int64: domain, document, first token, length, targets learnt in a row."""
    begins, lengths = shard.offsets[:-1], shard.lengths
    seen = begins + np.minimum(lengths, seq_len)
    learnt = np.minimum(lengths, seq_len) - 1
    if shard.mask is not None:
        total = np.concatenate([[0], np.cumsum(shard.mask, dtype=np.int64)])
        learnt = total[seen] - total[begins + 1]
    n = len(lengths)
    return np.stack([np.full(n, domain), np.arange(n), begins, lengths, learnt], axis=1)


def best_fit(lengths: Sequence[int], room: int) -> list[np.ndarray]:
    """Pack ``lengths`` (longest first, each <= room) into as few rows as best fit finds.

    Returns: for each row the places in ``lengths`` it holds, in order.
    Source: best-fit decreasing, Johnson 1974; for packing sequences, arXiv:2404.10830.
    """
    rows: list[list[int]] = []
    by_room: list[list[int]] = [[] for _ in range(room + 1)]
    free = 0  # bit r is set while some row has exactly r places left
    for place, length in enumerate(lengths):
        fitting = free >> length
        if fitting:
            left = length + (fitting & -fitting).bit_length() - 1
            row = by_room[left].pop()
            if not by_room[left]:
                free &= ~(1 << left)
        else:
            left, row = room, len(rows)
            rows.append([])
        rows[row].append(place)
        by_room[left - length].append(row)
        free |= 1 << (left - length)
    return [np.asarray(row) for row in rows]


# --- evaluation ------------------------------------------------------------------------------


def eval_batches(
    shards: Artifact | str | Path,
    domain: str,
    rows: int,
    seq_len: int,
    max_tokens: int | None = None,
    *,
    split: str = "val",
) -> Iterator[Batch]:
    """The documents of a domain in order, each token predicted exactly once.

    Documents are placed one after another in rows, with resets between them; one that does not
    fit where it stands continues in the next row, without its past. The ``<|endoftext|>`` after a
    document is not predicted: bits per byte measure the text. Of conversations only what is
    learnt counts. ``Batch.text_bytes`` are the UTF-8 bytes of the targets with weight.

    Args:
        rows: B; the last batch is filled with rows of weight 0.
        max_tokens: stop after so many targets (conversations: places).
    Raises:
        DataError: the domain has no tokens in ``split``.
    """
    opened = Shards(shards)
    shard = opened.open(domain, split)
    batch: list[_Row] = []
    size = 0
    for row in _eval_rows(shard, seq_len, max_tokens, opened.pad_id):
        batch.append(row)
        assert row.mask is not None
        size += int(opened.token_bytes[row.tokens[1:][row.mask[1:] > 0]].sum())
        if len(batch) == rows:
            yield _stack(batch, seq_len, size)
            batch, size = [], 0
    if batch:
        empty = _blank(seq_len, opened.pad_id)
        yield _stack([*batch, *[empty] * (rows - len(batch))], seq_len, size)


def _blank(seq_len: int, pad_id: int) -> _Row:
    return _Row(
        np.full(seq_len + 1, pad_id, dtype=np.int64),
        np.zeros(seq_len + 1, dtype=np.float32),
        np.zeros(seq_len + 1, dtype=np.int32),
        0,
    )


def _eval_rows(
    shard: DomainShard, seq_len: int, max_tokens: int | None, pad_id: int
) -> Iterator[_Row]:
    row, at, document = _blank(seq_len, pad_id), 0, 0
    for begin, end in _windows(shard, seq_len, max_tokens):
        places = min(end - begin, seq_len)
        if at + places > seq_len:
            yield row
            row, at, document = _blank(seq_len, pad_id), 0, 0
        assert row.mask is not None
        targets = slice(at + 1, at + end - begin)
        row.tokens[at : at + end - begin] = shard.tokens[begin:end]
        row.mask[targets] = 1.0 if shard.mask is None else shard.mask[begin + 1 : end]
        row.doc_ids[at : at + places] = document
        row.doc_ids[at + places :] = document + 1
        at, document = at + places, document + 1
    if at:
        yield row


def _windows(shard: DomainShard, seq_len: int, max_tokens: int | None) -> Iterator[tuple[int, int]]:
    """[begin, end) in the shard of at most T+1 tokens: T inputs and the target of the last."""
    left = len(shard.tokens) if max_tokens is None else max_tokens
    for begin, length in zip(shard.offsets[:-1].tolist(), shard.lengths.tolist(), strict=True):
        end = begin + min(length, left + 1)
        for start in range(begin, end - 1, seq_len):
            yield start, min(end, start + seq_len + 1)
        left -= end - begin - 1
        if not left:
            return
