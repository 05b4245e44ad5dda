"""The norms for CPUs: blocks of rows small enough for the cache, the backward pass written out.

A chain of elementwise operators over a whole batch reads and writes memory once per operator;
over a block that stays in the cache it does so once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from yaongi.ops.norm.reference import gated_rms_norm_reference, rms_norm_reference
from yaongi.ops.precision import no_autocast

# one pass over the data, where squaring and averaging are two
_vector_norm: Callable[..., Tensor] = torch.linalg.vector_norm  # pyright: ignore
SMALL_ELEMENTS = 1 << 14
BLOCK_ELEMENTS = 1 << 17  # a float32 block of half a megabyte; a handful are alive at a time


def rms_norm_blocked(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """``x / rms(x) * weight``: (..., D) and (D,) -> (..., D) in x's dtype."""
    if _plain_is_better(x):
        return rms_norm_reference(x, weight, eps)
    return _RMSNorm.apply(x, weight, eps)  # type: ignore[no-any-return]


def gated_rms_norm_blocked(
    y: Tensor, z: Tensor, weight: Tensor, eps: float, n_groups: int
) -> Tensor:
    """``rms_norm(y * silu(z))`` by groups of channels: (..., D) -> (..., D) in z's dtype."""
    if _plain_is_better(z):
        return gated_rms_norm_reference(y, z, weight, eps, n_groups)
    return _GatedRMSNorm.apply(y, z, weight, eps, n_groups)  # type: ignore[no-any-return]


def _plain_is_better(x: Tensor) -> bool:
    """A compiler fuses the plain form itself; one decoded token is all overhead."""
    return torch.compiler.is_compiling() or (
        not torch.is_grad_enabled() and x.numel() <= SMALL_ELEMENTS
    )


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    @no_autocast
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        out = torch.empty_like(x, memory_format=torch.contiguous_format)
        flat, rows = out.flatten(0, -2), x.flatten(0, -2)
        for part in _blocks(rows):
            h = rows[part].float()
            torch.mul(h * _rstd(h, eps, 1), weight, out=flat[part])
        ctx.save_for_backward(x, weight)
        ctx.eps = eps
        return out

    @staticmethod
    @no_autocast
    def backward(ctx: Any, *grads: Any) -> Any:
        x, weight = ctx.saved_tensors
        dx = torch.empty_like(x, memory_format=torch.contiguous_format)
        dw = torch.zeros_like(weight)
        rows, flat, g = x.flatten(0, -2), dx.flatten(0, -2), grads[0].flatten(0, -2)
        for part in _blocks(rows):
            h = rows[part].float()
            flat[part] = _norm_backward(h, g[part].float(), weight, dw, ctx.eps, 1)
        return dx, dw, None


class _GatedRMSNorm(torch.autograd.Function):
    @staticmethod
    @no_autocast
    def forward(
        ctx: Any, y: Tensor, z: Tensor, weight: Tensor, eps: float, n_groups: int
    ) -> Tensor:
        out = torch.empty_like(z, memory_format=torch.contiguous_format)
        flat, ys, zs = out.flatten(0, -2), y.flatten(0, -2), z.flatten(0, -2)
        for part in _blocks(ys):
            h = F.silu(zs[part].float()).mul_(ys[part])
            h.mul_(_rstd(h, eps, n_groups))
            torch.mul(h, weight, out=flat[part])
        ctx.save_for_backward(y, z, weight)
        ctx.eps, ctx.n_groups = eps, n_groups
        return out

    @staticmethod
    @no_autocast
    def backward(ctx: Any, *grads: Any) -> Any:
        y, z, weight = ctx.saved_tensors
        dy = torch.empty_like(y, memory_format=torch.contiguous_format)
        dz = torch.empty_like(z, memory_format=torch.contiguous_format)
        dw = torch.zeros_like(weight)
        ys, zs, dys, dzs, gs = (t.flatten(0, -2) for t in (y, z, dy, dz, grads[0]))
        for part in _blocks(ys):
            yf, zf = ys[part].float(), zs[part].float()
            s = F.silu(zf)
            dh = _norm_backward(yf * s, gs[part].float(), weight, dw, ctx.eps, ctx.n_groups)
            dys[part] = s.mul_(dh)
            dzs[part] = torch.ops.aten.silu_backward(dh.mul_(yf), zf)
        return dy, dz, dw, None, None


def _blocks(rows: Tensor) -> Iterator[slice]:
    size = max(1, BLOCK_ELEMENTS // rows.shape[-1])
    return (slice(i, i + size) for i in range(0, rows.shape[0], size))


def _rstd(h: Tensor, eps: float, n_groups: int) -> Tensor:
    """1 / rms of each group of channels, spread over the group: broadcastable to h (M,D)."""
    groups = h.view(*h.shape[:-1], n_groups, -1)
    norm = _vector_norm(groups, dim=-1)
    mean = norm.square_().div_(groups.shape[-1])
    return _spread(mean.add_(eps).rsqrt_(), h.shape[-1])


def _spread(x: Tensor, width: int) -> Tensor:
    """(M,G) -> (M,D), every value repeated over its group; (M,1) broadcasts by itself."""
    return x if x.shape[-1] == 1 else x.repeat_interleave(width // x.shape[-1], -1)


def _norm_backward(
    h: Tensor, g: Tensor, weight: Tensor, dw: Tensor, eps: float, n_groups: int
) -> Tensor:
    """Gradient of ``h * rstd * weight`` to h (M,D), given g to the output; adds to dw."""
    rstd = _rstd(h, eps, n_groups)
    unit = h * rstd
    product = g * unit
    dw += product.sum(0)
    shares = product.view(*h.shape[:-1], n_groups, -1) * weight.view(n_groups, -1)
    mean = _spread(shares.mean(-1), h.shape[-1])
    return (g * weight).addcmul_(unit, mean, value=-1).mul_(rstd)
