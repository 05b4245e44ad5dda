"""The loss of a token in policy-gradient training: clipped surrogate and penalty, on tensors (N,).

PPO's surrogate (Schulman et al. 2017, arXiv:1707.06347, equation 7) with a bound of its own on each
side, and the estimate of the KL divergence that GRPO adds to the loss.
"""

from __future__ import annotations

import torch
from torch import Tensor


def clipped_loss(
    logprobs: Tensor, sampled: Tensor, advantages: Tensor, *, low: float, high: float
) -> tuple[Tensor, Tensor]:
    """-min(r A, clip(r, 1 - low, 1 + high) A) with the ratio r = exp(logprobs - sampled).

    Args:
        logprobs: (N,) of the chosen tokens under the policy, with gradient.
        sampled: (N,) when they were sampled.
        advantages: (N,) of their completions.
        high: DAPO raises it above ``low``, so that rare tokens may become likelier
            (arXiv:2503.14476, section 3.1).
    Returns: (N,) losses, and (N,) bool: the ratio is at its bound, so the token teaches nothing.
    """
    ratio = (logprobs - sampled).exp()
    free = ratio * advantages
    bounded = ratio.clamp(1 - low, 1 + high) * advantages
    return -torch.minimum(free, bounded), bounded < free


def kl_k3(logprobs: Tensor, reference: Tensor) -> Tensor:
    """An estimate of KL(policy || reference) per token, never negative: q - log q - 1 with
    q = reference / policy.

    Source: Schulman 2020, "Approximating KL Divergence", k3; arXiv:2402.03300, equation 4.
    """
    log_q = reference - logprobs
    return log_q.exp() - log_q - 1
