"""Elementwise functions: squared ReLU with a lean backward pass, and steady ones for decoding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

VECTOR = 32  # float32 numbers that PyTorch's AVX-512 loops take at a time; others take fewer


def steady(fn: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """``fn`` of every element, in inference with the same bits wherever the element stands.

    PyTorch's CPU loops compute what is left over after the last whole vector by scalar code, and
    an exponential rounds differently there: a row's result would depend on its neighbours.
    """
    if torch.is_grad_enabled() or x.device.type != "cpu":
        return fn(x)
    rest = -x.numel() % VECTOR
    if not rest:
        return fn(x.contiguous())  # rows with gaps between them are looped over one by one
    return fn(F.pad(x.flatten(), (0, rest)))[: x.numel()].view(x.shape)


def squared_relu(x: Tensor) -> Tensor:
    """``relu(x)^2``, elementwise (So et al. 2021, arXiv:2109.08668)."""
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
