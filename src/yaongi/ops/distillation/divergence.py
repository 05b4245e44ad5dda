"""The divergences between teacher P and student Q, with their gradients.

With a teacher of whom only the k likeliest ids are known, all other ids are one further class: the
divergence is over k+1 classes. Merging classes never makes such a divergence larger (they are
f-divergences), so what is minimised is a lower bound of the true one, exact where the teacher's
mass is, and how the student divides the rest among its ids is left to the hard loss.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from yaongi.ops.distillation.teacher import Rules, Top, Whole

_LEAST_MASS = 1e-30  # of a student's rest; its logarithm is still a number


def soft_loss(logits: Tensor, teacher: Whole | Top, rules: Rules) -> tuple[Tensor, Tensor]:
    """Divergence at each place (M,) and temperature * its gradient by ``logits``, both float32.

    Args:
        logits: (M,n) float32 of the student, before the temperature.
    """
    log_q = (logits / rules.temperature).log_softmax(-1)
    if isinstance(teacher, Whole):
        return divergence(teacher.log_probs(rules.temperature), log_q, rules.beta)
    top = log_q.gather(1, teacher.ids)
    others = log_q.exp_().scatter_(1, teacher.ids, 0.0)
    rest = others.sum(-1, keepdim=True).clamp_min_(_LEAST_MASS)
    # a cache keeps half precision: the classes must sum to one again
    log_p = teacher.log_probs.float().log_softmax(-1)
    value, pull = divergence(log_p, torch.cat([top, rest.log()], dim=1), rules.beta)
    # ids within a class keep their proportions, so the class's gradient is divided like its mass
    pulls = others.mul_(pull[:, -1:] / rest).scatter_(1, teacher.ids, pull[:, :-1])
    return value, pulls


def divergence(log_p: Tensor, log_q: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """Of log-probabilities (M,C): the divergence (M,) and its gradient by log Q before softmax.

    For D with a = dD/dQ that gradient is Q (a - sum_c Q_c a_c). Where a has an additive constant
    it drops out.
    """
    q = log_q.exp()
    if beta == 0:
        p = log_p.exp()
        return (p * (log_p - log_q)).sum(-1), q - p
    if beta == 1:
        slope = log_q - log_p
        value = (q * slope).sum(-1)
        return value, q * (slope - value[:, None])
    p = log_p.exp()
    log_m = torch.logaddexp(log_p + math.log(beta), log_q + math.log1p(-beta))
    slope = (1 - beta) * (log_q - log_m)
    mean = (q * slope).sum(-1)
    return beta * (p * (log_p - log_m)).sum(-1) + mean, q * (slope - mean[:, None])
