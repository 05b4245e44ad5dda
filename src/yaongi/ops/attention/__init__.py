"""Causal grouped-query attention, with document masks."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from yaongi.ops.attention.reference import attention_reference
from yaongi.ops.attention.sdpa import attention_sdpa
from yaongi.ops.backend import Backend, Op, anywhere


class Attention(Protocol):
    """softmax(q k^T / sqrt(K)) v over the keys a query may see."""

    def __call__(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool
    ) -> Tensor:
        """Run it.

        Args:
            q: (B,H,T,K); k, v: (B,H_kv,S,K) with H a multiple of H_kv.
            mask: bool, broadcastable to (B,H,T,S), True where a query may look; or None.
            causal: with no mask and S == T, look only back.
        Returns: (B,H,T,K) in q's dtype.
        """
        ...


ATTENTION: Op[Attention] = Op(
    "attention",
    [
        Backend("sdpa", attention_sdpa, anywhere),
        Backend("reference", attention_reference, anywhere),
    ],
)
