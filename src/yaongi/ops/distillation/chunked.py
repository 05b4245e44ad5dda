"""Both losses and their gradients chunk by chunk in the forward pass.

The student's logits are made once for both losses; see ``ops.cross_entropy.chunked``, whose plan
this is.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from yaongi.core.errors import ShapeError
from yaongi.ops.cross_entropy.chunked import FP16_GAIN, accumulate, chunk_tokens
from yaongi.ops.distillation.divergence import soft_loss
from yaongi.ops.distillation.teacher import Rules, Top, Whole
from yaongi.ops.precision import no_autocast


class _LinearDistillation(torch.autograd.Function):
    @staticmethod
    @no_autocast
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        weights: Tensor,
        teacher: Whole | Top,
        rules: Rules,
    ) -> tuple[Tensor, Tensor, Tensor]:
        w = weight.to(hidden.dtype)
        grad_hidden = torch.empty_like(hidden)
        grad_weight = torch.zeros_like(weight, dtype=torch.float32)
        gain = FP16_GAIN if hidden.dtype == torch.float16 else 1.0
        sums = grad_weight.new_zeros(2)
        size = chunk_tokens(hidden.device.type, len(hidden), len(weight))
        for start in range(0, len(hidden), size):
            part = slice(start, start + size)
            h, k = hidden[part], weights[part]
            logits = torch.mm(h, w.mT).float()
            hard, soft, g = _losses(logits, targets[part, None], teacher.part(part), rules)
            sums += torch.stack([(hard * k).sum(), (soft * k).sum()])
            g = g.mul_(k[:, None] * gain).to(h.dtype)
            torch.mm(g, w, out=grad_hidden[part])
            accumulate(grad_weight, g.mT, h / gain)
        ctx.gain = gain
        ctx.save_for_backward(grad_hidden, grad_weight)
        hard, soft = sums.unbind()
        ctx.mark_non_differentiable(hard, soft)
        return (1 - rules.soft) * hard + rules.soft * rules.temperature**2 * soft, hard, soft

    @staticmethod
    @no_autocast
    def backward(ctx: Any, *grads: Any) -> Any:
        grad_hidden, grad_weight = ctx.saved_tensors
        scale: Tensor = grads[0]
        by_hidden = (grad_hidden.float() * (scale / ctx.gain)).to(grad_hidden.dtype)
        return by_hidden, grad_weight * scale, None, None, None, None


def _losses(
    logits: Tensor, targets: Tensor, teacher: Whole | Top, rules: Rules
) -> tuple[Tensor, Tensor, Tensor]:
    """Hard loss (m,), divergence (m,) and the gradient of both, mixed, by the logits (m,V)."""
    soft, pull = soft_loss(logits[:, : teacher.n_ids], teacher, rules)
    log_q = logits.log_softmax(-1)
    hard = -log_q.gather(1, targets)[:, 0]
    gradient = log_q.exp_()
    gradient.scatter_add_(1, targets, torch.full_like(targets, -1, dtype=gradient.dtype))
    gradient.mul_(1 - rules.soft)
    # temperature^2 of the loss, and one of them back from the derivative by logits / temperature
    gradient[:, : teacher.n_ids].add_(pull, alpha=rules.soft * rules.temperature)
    return hard, soft, gradient


def linear_distillation_chunked(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    weights: Tensor,
    teacher: Whole | Top,
    rules: Rules,
) -> tuple[Tensor, Tensor, Tensor]:
    """(total, hard, divergence) summed over tokens; see ``linear_distillation``."""
    if len(weight) < teacher.n_ids:
        raise ShapeError(
            "The student has {student} ids, but the teacher speaks of {teacher}.",
            student=len(weight),
            teacher=teacher.n_ids,
        )
    return _LinearDistillation.apply(hidden, weight, targets, weights, teacher, rules)  # type: ignore[no-any-return]
