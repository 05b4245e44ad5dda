"""Activations of feed-forward layers that keep little for the backward pass.

Squared ReLU (So et al. 2021, arXiv:2109.08668) and SwiGLU (Shazeer 2020, arXiv:2002.05202), in
blocks of rows that stay in a CPU's cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

BLOCK_ELEMENTS = 1 << 17


def squared_relu(x: Tensor) -> Tensor:
    """``relu(x)^2``, elementwise."""
    if torch.compiler.is_compiling():  # fused by the compiler
        return F.relu(x).square()
    return _SquaredReLU.apply(x)  # type: ignore[no-any-return]


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """``silu(gate) * up``, elementwise."""
    if torch.compiler.is_compiling():
        return F.silu(gate) * up
    return _SwiGLU.apply(gate, up)  # type: ignore[no-any-return]


class _SquaredReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        y = torch.empty_like(x)
        for part, out in _blocks(x, y):
            torch.clamp(part, min=0, out=out)
            out.mul_(out)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (x,) = ctx.saved_tensors
        dx = torch.empty_like(x)
        for part, out, g in _blocks(x, dx, grads[0]):
            torch.clamp(part, min=0, out=out)
            out.mul_(g).mul_(2)
        return dx


class _SwiGLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        y = torch.empty_like(gate)
        for g, u, out in _blocks(gate, up, y):
            torch.mul(F.silu(g), u, out=out)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        gate, up = ctx.saved_tensors
        dgate, dup = torch.empty_like(gate), torch.empty_like(up)
        for g, u, dy, dg, du in _blocks(gate, up, grads[0], dgate, dup):
            torch.mul(dy, F.silu(g), out=du)
            torch.ops.aten.silu_backward.grad_input(dy * u, g, grad_input=dg)
        return dgate, dup


def _blocks(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The same rows of each tensor, a cache-sized block at a time; all at once off the CPU."""
    flat = [t.reshape(-1, t.shape[-1]) for t in tensors]
    size = len(flat[0])
    if flat[0].device.type == "cpu":
        size = max(1, BLOCK_ELEMENTS // flat[0].shape[-1])
    return (tuple(t[i : i + size] for t in flat) for i in range(0, len(flat[0]), max(1, size)))
