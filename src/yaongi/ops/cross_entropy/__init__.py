"""The loss straight from hidden states, without the (tokens x vocabulary) logits in memory."""

from __future__ import annotations

from torch import Tensor

from yaongi.ops.cross_entropy.chunked import linear_cross_entropy_chunked


def linear_cross_entropy(
    hidden: Tensor, weight: Tensor, targets: Tensor, weights: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Weighted negative log-likelihood of ``targets`` under ``softmax(hidden @ weight.T)``.

    Args:
        hidden: (..., D) final hidden states, any float type.
        weight: (V,D) unembedding.
        targets: (...) int64.
        weights: (...) float, 0 where nothing is learnt; None counts every token as 1.
    Returns: (sum of weighted losses in nats, sum of weights), both float32 scalars. Divide by the
        weight of the whole step, not of this micro-batch, for a loss that no split changes.
    """
    flat = hidden.reshape(-1, hidden.shape[-1])
    w = flat.new_ones(flat.shape[0], dtype=weight.dtype) if weights is None else weights.reshape(-1)
    w = w.float()
    loss = linear_cross_entropy_chunked(flat, weight, targets.reshape(-1), w)
    return loss, w.sum()
