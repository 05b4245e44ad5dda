"""Log-probabilities of single tokens, for losses that are no plain sum of them.

Where a loss compares or clips log-probabilities, its gradient is not known before all of them are,
so ``linear_cross_entropy`` cannot be used. Here the logits of a chunk are computed again in the
backward pass (Chen et al. 2016, arXiv:1604.06174) and never exist for all tokens at once.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils import checkpoint as checkpointing

from yaongi.ops.cross_entropy.chunked import chunk_tokens

_recomputed: Any = cast(Any, checkpointing).checkpoint


def linear_log_probs(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """log softmax(hidden @ weight.T) at ``targets``, differentiable.

    Args:
        hidden: (M,D) final hidden states, any float type.
        weight: (V,D) unembedding.
        targets: (M,) int64.
    Returns: (M,) float32, in nats.
    """
    size = chunk_tokens(hidden.device.type, len(hidden), len(weight))
    found: list[Tensor] = []
    for start in range(0, len(hidden), size):
        part = slice(start, start + size)
        found.append(_recomputed(_chosen, hidden[part], weight, targets[part], use_reentrant=False))
    return torch.cat(found) if found else hidden.new_zeros(0, dtype=torch.float32)


def _chosen(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    with torch.autocast(hidden.device.type, enabled=False):
        logits = F.linear(hidden, weight.to(hidden.dtype)).float()
    return logits.gather(1, targets[:, None])[:, 0] - logits.logsumexp(-1)
