"""How far a changed model is from the one it was made from: KL of next tokens, bits per byte.

Both read the same held-out text with resets between documents, as ``bpb`` does. The KL divergence
is that of llama.cpp's ``perplexity --kl-divergence``: it sees changes that bits per byte averages
out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from yaongi.data.batches import Batch
from yaongi.data.shards import Shards
from yaongi.evals.heldout import OnShare, heldout_batches
from yaongi.evals.nats import log_probs
from yaongi.evals.tasks.bpb import row_bytes
from yaongi.model.lm import LM

TOKENS_AT_A_TIME = 256  # whose probabilities of all ids are in memory


@dataclass(frozen=True)
class Divergence:
    """Of one domain.

    Attributes:
        bpb, reference_bpb: bits per UTF-8 byte of the changed model and of the one before.
        kl: KL(before || changed) in nats per token.
        targets: tokens predicted.
    """

    bpb: float
    reference_bpb: float
    kl: float
    targets: int

    @property
    def more(self) -> float:
        """The share by which bits per byte have grown."""
        return self.bpb / self.reference_bpb - 1


@torch.no_grad()
def divergence(
    reference: LM,
    model: LM,
    shards: Shards,
    domain: str,
    *,
    max_tokens: int,
    seq_len: int = 512,
    batch_rows: int = 4,
    on_share: OnShare | None = None,
) -> Divergence:
    """Compare ``model`` with ``reference`` on held-out text of ``domain``.

    Raises:
        DataError: the domain has no held-out text.
    """
    sums = torch.zeros(3, dtype=torch.float64)  # nats of either, KL
    size = targets = 0
    for batch in heldout_batches(shards, domain, batch_rows, seq_len, max_tokens, on_share):
        sums += _compared(reference, model, batch)
        size += int(row_bytes(batch, shards).sum())
        targets += int((batch.weights > 0).sum())
    own, before, kl = sums.tolist()
    bits = math.log(2) * size
    return Divergence(own / bits, before / bits, kl / targets, targets)


def _compared(reference: LM, model: LM, batch: Batch) -> Tensor:
    """(3,): nats of the targets under the model and the reference, and the KL, summed."""
    ids, targets, weights, docs = (
        torch.from_numpy(np.ascontiguousarray(a)).to(model.device)
        for a in (batch.ids, batch.targets, batch.weights, batch.doc_ids)
    )
    counted = weights > 0
    found = [
        m(ids, doc_ids=docs).hidden[counted].split(TOKENS_AT_A_TIME) for m in (model, reference)
    ]
    sums = torch.zeros(3, dtype=torch.float64)
    for mine, theirs, right in zip(*found, targets[counted].split(TOKENS_AT_A_TIME), strict=True):
        q, p = log_probs(model, mine), log_probs(reference, theirs)
        nats = [-logs.gather(1, right[:, None]).sum() for logs in (q, p)]
        sums += torch.stack([*nats, (p.exp() * (p - q)).sum()]).double().cpu()
    return sums
