"""Bits per UTF-8 byte of held-out text: a loss that does not depend on the tokenizer.

The idea is nanochat's and The Pile's (Gao et al. 2020, arXiv:2101.00027, section 3.1). Documents
are read with resets between them, each token predicted once; see ``data.batches.eval_batches``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from yaongi.core.artifact import Artifact
from yaongi.core.errors import DataError
from yaongi.core.units import ByteSize, Count
from yaongi.data.batches import Batch
from yaongi.data.corpus import read_corpus, sample_texts
from yaongi.data.shards import Shards
from yaongi.evals.heldout import OnShare, heldout_batches
from yaongi.evals.nats import nats
from yaongi.evals.task import Score, Subject, Task, part, ratio_interval
from yaongi.evals.xz import xz_bpb
from yaongi.model.lm import LM
from yaongi.text.foreign import AnyTokenizer

ShardsLike = Artifact | str | Path
Probe = Callable[[LM], float]


class BitsPerByte(Task):
    """Settings of ``bpb``.

    Attributes:
        domains: which to measure; None takes all that have held-out text.
        max_tokens: per domain.
        seq_len: how far back the model may look.
        xz_prime_bytes: where the corpus is given too, what ``xz`` sees of each domain's training
            text before it compresses the held-out text; 0 leaves the comparison out.
    """

    kind: str = "bpb"
    domains: tuple[str, ...] | None = Field(default=None, min_length=1)
    max_tokens: Count = Field(default=200_000, ge=1)
    seq_len: int = Field(default=512, ge=1)
    batch_rows: int = Field(default=8, ge=1)
    xz_prime_bytes: ByteSize = Field(default=10_000_000, ge=0)

    def run(self, subject: Subject) -> list[Score]:
        shards = Shards(subject.input("shards", self.kind))
        check_tokenizer(subject.tokenizer, shards)
        domains = self.domains or shards.domains("val")
        return [
            self._score(subject, shards, domain, part(subject.on_progress, domain, i, len(domains)))
            for i, domain in enumerate(domains)
        ]

    def _score(self, subject: Subject, shards: Shards, domain: str, told: OnShare) -> Score:
        sizes = self.max_tokens, self.seq_len, self.batch_rows
        found = measure(subject.model, shards, domain, *sizes, told)
        low, high = ratio_interval(found.row_bits, found.row_bytes)
        xz = None
        if self.xz_prime_bytes and "corpus" in subject.inputs:
            xz = self._xz(subject.inputs["corpus"], shards, domain, found.bytes)
        return Score(
            name=f"bpb/{domain}",
            value=found.bpb,
            unit="bits per byte",
            better="lower",
            n=found.bytes,
            counted="bytes",
            low=low,
            high=high,
            chance=math.log2(shards.vocab_size) * found.targets / found.bytes,
            baseline=xz,
            baseline_name=None if xz is None else "xz -9",
        )

    def _xz(self, corpus: Artifact, shards: Shards, domain: str, size: int) -> float | None:
        """Of the same held-out documents; None for conversations, of which a part is measured."""
        if shards.open(domain, "val").mask is not None:
            return None
        prime = sample_texts(corpus, {domain: 1.0}, self.xz_prime_bytes)
        return xz_bpb(prime, _first_bytes(corpus, domain, size))


@dataclass(frozen=True)
class Measured:
    """Bits and bytes of each row that held targets, and how many tokens were predicted."""

    row_bits: Sequence[float]
    row_bytes: Sequence[float]
    targets: int

    @property
    def bytes(self) -> int:
        """UTF-8 bytes of the text predicted."""
        return int(sum(self.row_bytes))

    @property
    def bpb(self) -> float:
        """Bits per byte over all of it."""
        return sum(self.row_bits) / sum(self.row_bytes)


def bpb_probe(
    shards: ShardsLike,
    domain: str,
    *,
    max_tokens: int = 50_000,
    seq_len: int = 512,
    batch_rows: int = 8,
) -> Probe:
    """A function from a model to its bits per byte on held-out text of ``domain``.

    For ``pretrain`` and ``sft``, which call it while training.
    Raises:
        DataError: the domain has no held-out text; now, not in the middle of a run.
    """
    opened = Shards(shards)
    opened.open(domain, "val")
    return lambda model: measure(model, opened, domain, max_tokens, seq_len, batch_rows).bpb


def bpb_probes(
    shards: ShardsLike, domains: Sequence[str] | None = None, **settings: int
) -> dict[str, Probe]:
    """A ``bpb_probe`` per domain (default: all with held-out text), named ``val_bpb/DOMAIN``."""
    domains = domains or Shards(shards).domains("val")
    return {f"val_bpb/{domain}": bpb_probe(shards, domain, **settings) for domain in domains}


def measure(
    model: LM,
    shards: Shards,
    domain: str,
    max_tokens: int,
    seq_len: int,
    batch_rows: int,
    on_share: OnShare | None = None,
) -> Measured:
    """Run ``model`` over the held-out text of a domain; the same for any ``batch_rows``."""
    bits: list[float] = []
    sizes: list[float] = []
    targets = 0
    for batch in heldout_batches(shards, domain, batch_rows, seq_len, max_tokens, on_share):
        for row_bits, row_bytes, row_targets in _rows(model, batch, shards):
            if row_targets:  # not: bytes; the end of a turn costs bits and has no bytes
                bits.append(row_bits)
                sizes.append(row_bytes)
            targets += row_targets
    return Measured(bits, sizes, targets)


@torch.no_grad()
def _rows(model: LM, batch: Batch, shards: Shards) -> Iterator[tuple[float, float, int]]:
    """(bits, bytes, targets) of each row."""
    ids, targets, weights, docs = (
        torch.from_numpy(np.ascontiguousarray(a)).to(model.device)
        for a in (batch.ids, batch.targets, batch.weights, batch.doc_ids)
    )
    hidden = model(ids, doc_ids=docs).hidden
    sums = torch.stack(
        [
            nats(model, h[w > 0], t[w > 0]) @ w[w > 0]
            for h, t, w in zip(hidden, targets, weights.float(), strict=True)
        ]
    )
    counts = (batch.weights > 0).sum(1)
    sizes = row_bytes(batch, shards)
    for nat, size, n in zip(sums.tolist(), sizes.tolist(), counts.tolist(), strict=True):
        yield nat / math.log(2), float(size), n


def row_bytes(batch: Batch, shards: Shards) -> NDArray[np.int64]:
    """UTF-8 bytes of the text that each row predicts."""
    token_bytes = shards.token_bytes[batch.targets].astype(np.int64)
    token_bytes -= shards.lead_bytes * (batch.ids == shards.eot_id)  # the first token of a text
    return (token_bytes * (batch.weights > 0)).sum(1)


def check_tokenizer(tokenizer: AnyTokenizer, shards: Shards) -> None:
    """Compare the bytes of every token: a model without ancestry has no hash to compare.

    Raises:
        DataError: they are not the same tokens.
    """
    sizes = [len(tokenizer.token_bytes(i)) for i in range(tokenizer.vocab_size)]
    if sizes != shards.token_bytes.tolist():
        raise DataError(
            "{shards} was encoded with another tokenizer than the model's "
            "({theirs} tokens; the model's has {ours}). Build shards with the model's tokenizer.",
            shards=shards.artifact.path,
            theirs=shards.vocab_size,
            ours=tokenizer.vocab_size,
        )


def _first_bytes(corpus: Artifact, domain: str, size: int) -> Iterator[str]:
    """The first held-out documents, ``size`` bytes of them (the last one whole)."""
    for document in read_corpus(corpus, "val", domain):
        if size <= 0:
            return
        yield document.text
        size -= len(document.text.encode())
