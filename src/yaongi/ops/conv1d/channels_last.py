"""The convolution for CPUs: oneDNN's depthwise kernel on the layout the projections leave.

Time-major rows are what oneDNN calls channels-last, where its kernel is ten times faster than
on PyTorch's default layout. It knows no documents, so their few first tokens are corrected after.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from yaongi.ops.conv1d.taps import conv1d_taps
from yaongi.ops.precision import no_autocast

BLOCK_STEPS = 64  # time steps whose products are summed in the cache


def conv1d_channels_last(
    x: Tensor, weight: Tensor, bias: Tensor, doc_ids: Tensor | None = None
) -> Tensor:
    """See ``ops.conv1d.Conv1d``."""
    # a compiler wants fixed shapes and fuses the taps; one decoded token is all overhead
    if torch.compiler.is_compiling() or x.shape[1] == weight.shape[1]:
        return conv1d_taps(x, weight, bias, doc_ids)
    return _Conv.apply(x.contiguous(), weight, bias, doc_ids)  # type: ignore[no-any-return]


class _Conv(torch.autograd.Function):
    @staticmethod
    @no_autocast
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, doc_ids: Tensor | None
    ) -> Tensor:
        cuts = _cuts(doc_ids, weight.shape[1])
        ctx.save_for_backward(x, weight, bias)
        ctx.cuts = cuts
        return F.silu(_filter(x, weight, bias, cuts))

    @staticmethod
    @no_autocast
    def backward(ctx: Any, *grads: Any) -> Any:
        x, weight, bias = ctx.saved_tensors
        w, back = weight.to(x.dtype), weight.shape[1] - 1
        g = torch.ops.aten.silu_backward(grads[0], _filter(x, weight, bias, ctx.cuts))
        # the transpose of a correlation: correlate with the mirrored taps
        dx = _correlate(F.pad(g, (0, 0, back, back)), w.flip(1), None)
        dw = _tap_products(x, g, back + 1)
        flat_x, flat_g, flat_dx = x.flatten(0, 1), g.flatten(0, 1), dx.flatten(0, 1)
        for j, (out, seen) in enumerate(ctx.cuts):
            cut = flat_g[out]
            flat_dx.index_add_(0, seen, cut * w[:, j], alpha=-1)
            dw[j] -= (cut * flat_x[seen]).sum(0, dtype=torch.float32)
        return dx, dw.mT, g.sum((0, 1), dtype=torch.float32), None


def _filter(x: Tensor, weight: Tensor, bias: Tensor, cuts: list[tuple[Tensor, Tensor]]) -> Tensor:
    """(B,K-1+T,C) -> (B,T,C) before the activation."""
    w = weight.to(x.dtype)
    y = _correlate(x, w, bias.to(x.dtype))
    flat_x, flat_y = x.flatten(0, 1), y.flatten(0, 1)
    for j, (out, seen) in enumerate(cuts):
        flat_y.index_add_(0, out, flat_x[seen] * w[:, j], alpha=-1)
    return y


def _correlate(x: Tensor, w: Tensor, bias: Tensor | None) -> Tensor:
    y = F.conv2d(x.mT[:, :, None], w[:, None, None], bias, groups=x.shape[2])
    return y[:, :, 0].mT.contiguous()


def _cuts(doc_ids: Tensor | None, taps: int) -> list[tuple[Tensor, Tensor]]:
    """For each tap but the last, the (output rows, input rows) of different documents."""
    if doc_ids is None:
        return []
    length = doc_ids.shape[1] - taps + 1
    own = doc_ids[:, taps - 1 :]
    pairs: list[tuple[Tensor, Tensor]] = []
    for j in range(taps - 1):
        row, at = (doc_ids[:, j : j + length] != own).nonzero(as_tuple=True)
        pairs.append((row * length + at, row * doc_ids.shape[1] + at + j))
    return pairs


def _tap_products(x: Tensor, g: Tensor, taps: int) -> Tensor:
    """Sum over rows and time of x_{t+j} g_t for each tap: (K,C) float32."""
    channels = x.shape[2]
    total = x.new_zeros(BLOCK_STEPS, taps, channels, dtype=torch.float32)
    for row, grad in zip(x, g, strict=True):
        for start in range(0, g.shape[1], BLOCK_STEPS):
            part = grad[start : start + BLOCK_STEPS, None].float()
            seen = row[start:].float()
            windows = seen.as_strided(
                (len(part), taps, channels), (channels, channels, 1), seen.storage_offset()
            )
            total[: len(part)].addcmul_(windows, part)
    return total.sum(0)
