"""The same losses from whole logits and autograd: what the chunked ones must equal.

In float64, since the mass of the rest is a small difference of large sums here.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from yaongi.ops.distillation.teacher import Rules, Top, Whole


def linear_distillation_reference(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    weights: Tensor,
    teacher: Whole | Top,
    rules: Rules,
) -> tuple[Tensor, Tensor, Tensor]:
    """(total, hard, divergence) summed over tokens; arguments as ``linear_distillation``."""
    logits = F.linear(hidden, weight.to(hidden.dtype)).double()
    q = (logits[:, : teacher.n_ids] / rules.temperature).softmax(-1)
    if isinstance(teacher, Top):
        top = q.gather(1, teacher.ids)
        q = torch.cat([top, 1 - top.sum(-1, keepdim=True)], dim=1)
        p = teacher.log_probs.double().exp()
        p = p / p.sum(-1, keepdim=True)
    else:
        p = teacher.log_probs(rules.temperature).double().exp()
    hard = (F.cross_entropy(logits, targets, reduction="none") * weights).sum()
    soft = (_divergence(p, q, rules.beta) * weights).sum()
    return (1 - rules.soft) * hard + rules.soft * rules.temperature**2 * soft, hard, soft


def _divergence(p: Tensor, q: Tensor, beta: float) -> Tensor:
    """Between teacher P and student Q (M,C), as arXiv:2306.13649 writes it."""
    if beta in (0, 1):
        return _kl(p, q) if beta == 0 else _kl(q, p)
    m = beta * p + (1 - beta) * q
    return beta * _kl(p, m) + (1 - beta) * _kl(q, m)


def _kl(one: Tensor, other: Tensor) -> Tensor:
    return (one * (one / other).log()).sum(-1)
