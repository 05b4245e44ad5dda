"""Loss and gradients chunk by chunk in the forward pass (as in Liger-Kernel, arXiv:2410.10989).

The gradient of the sum is scaled by the incoming gradient in the backward pass, so logits of only
one chunk of tokens ever exist.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

CHUNK_ELEMENTS = 1 << 22  # logits in memory at a time; fewer make the matrix products slower


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, weights: Tensor
    ) -> Tensor:
        w = weight.to(hidden.dtype)
        need = hidden.requires_grad or weight.requires_grad
        grad_hidden = torch.empty_like(hidden)
        grad_weight = torch.zeros_like(weight, dtype=torch.float32)
        losses: list[Tensor] = []
        size = max(1, CHUNK_ELEMENTS // w.shape[0])
        for start in range(0, hidden.shape[0], size):
            part = slice(start, start + size)
            h, t, k = hidden[part], targets[part, None], weights[part, None]
            logits = torch.mm(h, w.mT)
            top, p = logits.amax(-1, keepdim=True).float(), logits.float().softmax(-1)
            # log of the partition function from the likeliest token, whose p cannot underflow
            log_z = top - p.amax(-1, keepdim=True).log()
            losses.append(((log_z - logits.gather(1, t).float()) * k).sum())
            if need:
                p.scatter_add_(1, t, p.new_full((1, 1), -1.0).expand(len(t), 1))
                g = p.to(hidden.dtype)
                grad_hidden[part] = torch.mm(g, w) * k.to(h.dtype)
                grad_weight += torch.mm(g.mT, h * k.to(h.dtype))
        ctx.save_for_backward(grad_hidden, grad_weight)
        return torch.stack(losses).sum() if losses else grad_weight.new_zeros(())

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        grad_hidden, grad_weight = ctx.saved_tensors
        scale: Tensor = grads[0]
        return grad_hidden * scale.to(grad_hidden.dtype), grad_weight * scale, None, None


def linear_cross_entropy_chunked(
    hidden: Tensor, weight: Tensor, targets: Tensor, weights: Tensor
) -> Tensor:
    """Sum over tokens of ``weights * nll``: hidden (M,D), weight (V,D), targets, weights (M,)."""
    if not torch.compiler.is_compiling():  # tokens that teach nothing cost nothing
        rows = weights.nonzero()[:, 0]
        if len(rows) < len(weights):
            hidden, targets, weights = hidden[rows], targets[rows], weights[rows]
    return _LinearCrossEntropy.apply(hidden, weight, targets, weights)  # type: ignore[no-any-return]
