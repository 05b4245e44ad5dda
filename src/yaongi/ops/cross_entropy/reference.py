"""The loss with the whole logits in memory: what the chunked one must equal."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def linear_cross_entropy_reference(
    hidden: Tensor, weight: Tensor, targets: Tensor, weights: Tensor
) -> Tensor:
    """Sum over tokens of ``weights * nll``: hidden (M,D), weight (V,D), targets, weights (M,)."""
    logits = F.linear(hidden, weight.to(hidden.dtype)).float()
    return (F.cross_entropy(logits, targets, reduction="none") * weights).sum()
