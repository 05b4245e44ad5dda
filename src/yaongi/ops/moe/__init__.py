"""The experts' feed-forward over tokens sent to them: dropless, deterministic."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from yaongi.ops.backend import Backend, Op, anywhere, cuda_from
from yaongi.ops.moe.grouped import experts_grouped
from yaongi.ops.moe.reference import experts_reference
from yaongi.ops.moe.sorted import experts_sorted


class Experts(Protocol):
    """Each token through its own k experts, outputs summed with the router's weights."""

    def __call__(
        self,
        x: Tensor,
        chosen: Tensor,
        weights: Tensor,
        up: Tensor,
        down: Tensor,
        gate: Tensor | None = None,
    ) -> Tensor:
        """Run it.

        Args:
            x: (M,D) tokens.
            chosen: (M,k) int64 experts of each token.
            weights: (M,k) float32.
            up: (E,F,D); down: (E,D,F).
            gate: (E,F,D) makes the expert SwiGLU; None makes it squared ReLU.
        Returns: (M,D) in x's dtype.
        """
        ...


EXPERTS: Op[Experts] = Op(
    "experts",
    [
        Backend("sorted", experts_sorted, anywhere),
        Backend("grouped", experts_grouped, cuda_from(8), measured=False),
        Backend("reference", experts_reference, anywhere),
    ],
)
