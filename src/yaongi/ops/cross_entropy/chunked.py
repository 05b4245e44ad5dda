"""Loss and gradients chunk by chunk in the forward pass (as in Liger-Kernel, arXiv:2410.10989).

The gradient of the sum is scaled by the incoming gradient in the backward pass, so logits of only
one chunk of tokens ever exist.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from yaongi.ops.precision import no_autocast

# logits in memory at a time: as much as a CPU's cache or a GPU's spare memory bears
CHUNK_ELEMENTS = {"cpu": 1 << 21}
CHUNK_ELEMENTS_ELSEWHERE = 1 << 26
MIN_TOKENS = 128  # fewer make the matrix products slow

FP16_GAIN = 64.0
"""float16 ends at 65504, which the sum over a large vocabulary passes, and fades under 6e-5, while
the loss scale comes only in the backward pass. So gradients of logits are normalised before they
are narrowed, and kept times this power of two until the backward pass takes it back in float32."""


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    @no_autocast
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, weights: Tensor
    ) -> Tensor:
        w = weight.to(hidden.dtype)
        need = hidden.requires_grad or weight.requires_grad
        grad_hidden = torch.empty_like(hidden)
        # a frozen head, as under adapters, is spared a third of the products
        learns = weight.requires_grad
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if learns else None
        losses: list[Tensor] = []
        size = chunk_tokens(hidden.device.type, len(hidden), len(weight))
        logits = torch.empty(size, len(w), dtype=hidden.dtype, device=hidden.device)
        e = (
            logits
            if logits.dtype == torch.float32
            else torch.empty_like(logits, dtype=torch.float32)
        )
        for start in range(0, len(hidden), size):
            part = slice(start, start + size)
            h, t, k = hidden[part], targets[part, None], weights[part, None]
            torch.mm(h, w.mT, out=logits[: len(h)])
            top = logits[: len(h)].amax(-1, keepdim=True).float()
            picked = logits[: len(h)].gather(1, t).float()
            p = torch.sub(logits[: len(h)], top, out=e[: len(h)]).exp_()
            z = p.sum(-1, keepdim=True)
            losses.append(((z.log() + top - picked) * k).sum())
            if need:
                p.scatter_add_(1, t, -z)
                if h.dtype == torch.float16:
                    g = p.mul_(k / z * FP16_GAIN).to(h.dtype)
                    torch.mm(g, w, out=grad_hidden[part])
                    if grad_weight is not None:
                        accumulate(grad_weight, g.mT, h / FP16_GAIN)
                    continue
                # the gradient's 1/z and weight go to the narrow factors of both products
                scale = (k / z).to(h.dtype)
                g = p.to(h.dtype)
                torch.mul(torch.mm(g, w), scale, out=grad_hidden[part])
                if grad_weight is not None:
                    accumulate(grad_weight, g.mT, h * scale)
        ctx.save_for_backward(grad_hidden, grad_weight)
        return torch.stack(losses).sum() if losses else weights.new_zeros(())

    @staticmethod
    @no_autocast
    def backward(ctx: Any, *grads: Any) -> Any:
        grad_hidden, grad_weight = ctx.saved_tensors
        scale: Tensor = grads[0]
        grad_weight = None if grad_weight is None else grad_weight * scale
        if grad_hidden.dtype == torch.float16:
            wide = grad_hidden.float() * (scale / FP16_GAIN)
            return wide.to(grad_hidden.dtype), grad_weight, None, None
        return grad_hidden * scale.to(grad_hidden.dtype), grad_weight, None, None


def chunk_tokens(device_type: str, tokens: int, vocab_size: int) -> int:
    """How many of the tokens have their logits in memory at a time."""
    elements = CHUNK_ELEMENTS.get(device_type, CHUNK_ELEMENTS_ELSEWHERE)
    return min(max(1, tokens), max(MIN_TOKENS, elements // vocab_size))


def accumulate(total: Tensor, left: Tensor, right: Tensor) -> None:
    """total += left @ right, in float32 whatever the factors are."""
    if left.dtype == torch.float32:
        total.addmm_(left, right)
    else:
        total += torch.mm(left, right)


def linear_cross_entropy_chunked(
    hidden: Tensor, weight: Tensor, targets: Tensor, weights: Tensor
) -> Tensor:
    """Sum over tokens of ``weights * nll``: hidden (M,D), weight (V,D), targets, weights (M,)."""
    if not torch.compiler.is_compiling():  # tokens that teach nothing cost nothing
        rows = weights.nonzero()[:, 0]
        if len(rows) < len(weights):
            hidden, targets, weights = hidden[rows], targets[rows], weights[rows]
    return _LinearCrossEntropy.apply(hidden, weight, targets, weights)  # type: ignore[no-any-return]
