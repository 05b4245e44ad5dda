"""Squared ReLU (So et al. 2021, arXiv:2109.08668) that keeps one tensor for the backward pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


class _SquaredReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        r = x.relu()
        ctx.save_for_backward(r)
        return r * r

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (r,) = ctx.saved_tensors
        return (grads[0] * r).mul_(2)


def squared_relu(x: Tensor) -> Tensor:
    """``relu(x)^2``, elementwise."""
    if torch.compiler.is_compiling():  # fused by the compiler
        return F.relu(x).square()
    return _SquaredReLU.apply(x)  # type: ignore[no-any-return]
