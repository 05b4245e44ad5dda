"""Squared ReLU (So et al. 2021, arXiv:2109.08668) that keeps one tensor for the backward pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def squared_relu(x: Tensor) -> Tensor:
    """``relu(x)^2``, elementwise."""
    if torch.compiler.is_compiling():  # the compiler fuses the plain form itself
        return F.relu(x).square()
    return _SquaredReLU.apply(x)  # type: ignore[no-any-return]


class _SquaredReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        r = x.relu()
        return r.mul_(r)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (x,) = ctx.saved_tensors
        return x.relu().mul_(grads[0]).mul_(2)
