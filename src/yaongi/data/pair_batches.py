"""What a step of learning from preferences sees: rows of whole pairs, a function of (seed, step).

A pair is never torn apart: both its conversations are in the same row of a batch, so a loss that
compares them needs no other row.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from yaongi.core.artifact import Artifact
from yaongi.core.errors import DataError
from yaongi.core.seeds import Seed
from yaongi.data.batches import Batch, best_fit, random_keys
from yaongi.data.pairs import KIND
from yaongi.data.shards import DomainShard, Shards

PAIR = np.dtype(
    [("domain", "i8"), ("begin", "i8", (2,)), ("length", "i8", (2,)), ("answer", "i8", (2,))]
)
"""Where a pair lies in its domain's tokens: chosen first, then rejected; ``answer`` counts the
tokens of the answers."""


@dataclass(frozen=True)
class PairsReport:
    """What packing made of the pairs.

    Attributes:
        too_long: left out (or cut, when asked) because an answer with its prompt is longer than
            a conversation may be.
        no_room: left out although cutting was asked for: the prompt alone fills the context, or
            the answers differ only in what is cut off.
        padding: share of the places in rows that hold no token.
        chosen_tokens, rejected_tokens: mean length of the answers.
        chosen_longer: share of pairs whose chosen answer has more tokens.
    """

    pairs: int
    too_long: int
    no_room: int
    rows: int
    padding: float
    chosen_tokens: float
    rejected_tokens: float
    chosen_longer: float


class PackedPairs:
    """Batches of whole pairs; the batch of a step is a pure function of (seed, step).

    A row has room for two conversations of ``seq_len`` tokens and is filled by best fit with as
    many pairs as go in. In a batch ``doc_ids`` say whose a token is: 2p for the chosen and 2p + 1
    for the rejected conversation of the p-th pair used. ``weights`` are above 0 on the answers
    and add up to 1 for each pair, so that the weight of a batch is its number of pairs.

    Args:
        batch_rows: rows of a batch.
        seq_len: the longest conversation, prompt and answer; rows are twice as long.
        domains: which domains; by default all there are.
        truncate: cut longer conversations at their end instead of leaving their pair out.
    Raises:
        DataError: no such domain, or no pair fits.
    """

    def __init__(
        self,
        pairs: Artifact | str | Path,
        batch_rows: int,
        seq_len: int,
        seed: Seed,
        *,
        domains: Sequence[str] | None = None,
        split: str = "train",
        truncate: bool = False,
    ) -> None:
        opened = Shards(pairs, KIND)
        self.batch_rows, self.seq_len, self.seed = batch_rows, seq_len, seed
        self.row_len = 2 * seq_len
        self._pad_id = opened.pad_id
        domains = tuple(domains or opened.domains(split))
        self._shards = [opened.open(domain, split) for domain in domains]
        found = [_pairs_of(shard, i, seq_len) for i, shard in enumerate(self._shards)]
        everything = np.concatenate(found) if found else np.zeros(0, PAIR)
        self._pairs, self.report = self._pack(everything, truncate, domains)
        self._order = functools.lru_cache(maxsize=2)(self._make_order)

    def __len__(self) -> int:
        """How many pairs are used."""
        return len(self._pairs)

    @property
    def answer_tokens(self) -> np.ndarray:
        """(pairs, 2) int64: lengths of the chosen and the rejected answer."""
        return self._pairs["answer"]

    @property
    def rows_per_epoch(self) -> int:
        """Rows that hold every pair once."""
        return len(self._bins)

    def epochs(self, steps: int) -> float:
        """How often the first ``steps`` batches go through the pairs."""
        return steps * self.batch_rows / self.rows_per_epoch

    def batch(self, step: int) -> Batch:
        """The batch of ``step`` (from 0)."""
        first = step * self.batch_rows
        return self._stack([self._dealt(first + i) for i in range(self.batch_rows)])

    def in_order(self) -> Iterator[Batch]:
        """Every pair exactly once, for what is computed of each; the last batch may be smaller."""
        for start in range(0, len(self._bins), self.batch_rows):
            chosen = self._bins[start : start + self.batch_rows]
            yield self._stack([self._by_length[places] for places in chosen])

    def _pack(
        self, found: np.ndarray, truncate: bool, domains: Sequence[str]
    ) -> tuple[np.ndarray, PairsReport]:
        """Choose what is used and lay it out in rows."""
        long = found["length"].max(1, initial=0) > self.seq_len
        kept = ~long
        if truncate:
            kept |= [self._differ(pair) for pair in found]
        used = found[kept]
        if not len(used):
            raise DataError(
                "No pair of {domains} fits into seq_len {seq_len}: {n} there, {long} too long.",
                domains=", ".join(domains) or "(no domain)",
                seq_len=self.seq_len,
                n=len(found),
                long=int(long.sum()),
            )
        used["length"] = np.minimum(used["length"], self.seq_len)
        lengths = used["length"].sum(1)
        self._by_length = np.argsort(-lengths, kind="stable")
        self._lengths = lengths[self._by_length]
        self._bins = best_fit(self._lengths.tolist(), self.row_len)
        chosen, rejected = used["answer"].T
        return used, PairsReport(
            pairs=len(used),
            too_long=int(long.sum()),
            no_room=int((~kept).sum()) if truncate else 0,
            rows=len(self._bins),
            padding=1 - int(lengths.sum()) / (len(self._bins) * self.row_len),
            chosen_tokens=float(chosen.mean()),
            rejected_tokens=float(rejected.mean()),
            chosen_longer=float((chosen > rejected).mean()),
        )

    def _differ(self, pair: np.void) -> bool:
        """Whether there are two answers, and different ones, within ``seq_len``."""
        tokens = self._shards[pair["domain"]].tokens
        spans = zip(pair["begin"], np.minimum(pair["length"], self.seq_len), strict=True)
        chosen, rejected = (tokens[begin : begin + length] for begin, length in spans)
        return bool(pair["answer"].min() > 0) and not np.array_equal(chosen, rejected)

    def _make_order(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """(order of the rows, which pair stands at each place of the packing)."""
        seed = self.seed.split("order", epoch)
        keys = random_keys(seed.split("deal"), len(self._lengths))
        dealt = self._by_length[np.lexsort((keys, -self._lengths))]
        return np.argsort(random_keys(seed.split("rows"), len(self._bins)), kind="stable"), dealt

    def _dealt(self, row: int) -> np.ndarray:
        """The pairs in a row of the run."""
        epoch, k = divmod(row, self.rows_per_epoch)
        order, dealt = self._order(epoch)
        return dealt[self._bins[order[k]]]

    def _stack(self, rows: Sequence[np.ndarray]) -> Batch:
        """Rows of pairs as a batch."""
        shape = (len(rows), self.row_len + 1)
        tokens = np.full(shape, self._pad_id, dtype=np.int64)
        weights = np.zeros(shape, dtype=np.float32)
        doc_ids = np.full(shape, 2 * len(self), dtype=np.int32)  # of the padding
        for r, pairs in enumerate(rows):
            at = 0
            for p in pairs.tolist():
                pair = self._pairs[p]
                shard = self._shards[pair["domain"]]
                assert shard.mask is not None
                for side in (0, 1):
                    begin, length = int(pair["begin"][side]), int(pair["length"][side])
                    source, here = slice(begin, begin + length), slice(at, at + length)
                    tokens[r, here] = shard.tokens[source]
                    weights[r, here] = shard.mask[source] / pair["answer"].sum()
                    doc_ids[r, here] = 2 * p + side
                    at += length
        domains = self._pairs["domain"][[row[0] for row in rows]]
        return Batch(tokens[:, :-1], tokens[:, 1:], weights[:, 1:], doc_ids[:, :-1], domains)


def _pairs_of(shard: DomainShard, domain: int, seq_len: int) -> np.ndarray:
    """The pairs of a shard as PAIR; the answers' tokens are counted within ``seq_len``."""
    assert shard.mask is not None
    total = np.concatenate([[0], np.cumsum(shard.mask, dtype=np.int64)])
    begins, lengths = shard.offsets[:-1], shard.lengths
    answers = total[begins + np.minimum(lengths, seq_len)] - total[begins]
    found = np.zeros(len(lengths) // 2, PAIR)
    found["domain"] = domain
    for name, values in (("begin", begins), ("length", lengths), ("answer", answers)):
        found[name] = values.reshape(-1, 2)
    return found
