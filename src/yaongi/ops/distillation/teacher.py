"""What a teacher says: its whole distribution, or the k likeliest ids and the mass of the rest."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from yaongi.ops.cross_entropy.chunked import chunk_tokens


@dataclass(frozen=True)
class Rules:
    """What is minimised.

    Attributes:
        beta: 0 is the forward KL(teacher || student), 1 the reverse KL(student || teacher);
            between them beta KL(P || M) + (1 - beta) KL(Q || M) with M = beta P + (1 - beta) Q of
            teacher P and student Q: the generalised Jensen-Shannon divergence.
        temperature: divides both models' logits.
        soft: share of the teacher in the loss; the text's own next token has the rest.
    """

    beta: float = 0.0
    temperature: float = 1.0
    soft: float = 0.5


@dataclass(frozen=True)
class Whole:
    """A teacher at hand: hidden (M,Dt) and the rows (n,Dt) of its unembedding for the n ids both
    models have."""

    hidden: Tensor
    weight: Tensor

    @property
    def n_ids(self) -> int:
        """Ids the divergence is over."""
        return len(self.weight)

    def part(self, rows: slice) -> Whole:
        """What it says at some of the places."""
        return Whole(self.hidden[rows], self.weight)

    def log_probs(self, temperature: float) -> Tensor:
        """(M,n) float32."""
        logits = self.hidden @ self.weight.mT.to(self.hidden.dtype)
        return (logits.float() / temperature).log_softmax(-1)


@dataclass(frozen=True)
class Top:
    """A teacher's k likeliest ids of ``n_ids``, at the temperature of the loss.

    Attributes:
        ids: (M,k) int64.
        log_probs: (M,k+1): of these ids, and in the last column of all others together.
    """

    ids: Tensor
    log_probs: Tensor
    n_ids: int

    def part(self, rows: slice) -> Top:
        """What it says at some of the places."""
        return Top(self.ids[rows], self.log_probs[rows], self.n_ids)


@torch.no_grad()
def top_log_probs(teacher: Whole, k: int, temperature: float) -> Top:
    """The k likeliest ids at each place, likeliest first, k < n; chunk by chunk."""
    size = chunk_tokens(teacher.hidden.device.type, len(teacher.hidden), teacher.n_ids)
    ids: list[Tensor] = []
    found: list[Tensor] = []
    for start in range(0, len(teacher.hidden), size):
        log_p = teacher.part(slice(start, start + size)).log_probs(temperature)
        best, places = log_p.topk(k, dim=-1)
        rest = log_p.scatter_(1, places, -torch.inf).logsumexp(-1, keepdim=True)
        ids.append(places)
        found.append(torch.cat([best, rest], dim=1))
    return Top(torch.cat(ids), torch.cat(found), teacher.n_ids)
