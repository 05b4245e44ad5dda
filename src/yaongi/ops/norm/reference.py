"""RMSNorm written out, statistics in fp32 whatever the input."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from yaongi.ops.activation import steady


def rms_norm_reference(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """``x / rms(x) * weight`` over the last dimension.

    Args:
        x: (..., D) of any float type.
        weight: (D,) float32.
    Returns: (..., D) in x's dtype.
    """
    h = x.float()
    h = h * torch.rsqrt(h.square().mean(-1, keepdim=True) + eps)
    return (h * weight.float()).to(x.dtype)


def gated_rms_norm_reference(
    y: Tensor, z: Tensor, weight: Tensor, eps: float, n_groups: int
) -> Tensor:
    """``rms_norm(y * silu(z))`` with one mean square per group of channels.

    Args:
        y, z: (..., D).
        weight: (D,) float32.
        n_groups: D is cut into this many groups, each normalised on its own.
    Returns: (..., D) in z's dtype.
    Source: mamba_ssm ``RMSNormGated(norm_before_gate=False)``.
    """
    h = y.float() * steady(F.silu, z.float())
    g = h.view(*h.shape[:-1], n_groups, -1)
    g = g * torch.rsqrt(g.square().mean(-1, keepdim=True) + eps)
    return (g.flatten(-2) * weight.float()).to(z.dtype)
