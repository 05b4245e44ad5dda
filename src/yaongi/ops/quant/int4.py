"""A matrix as 4-bit integers, each group of neighbours in a row with a scale and a zero point.

``w = (q - 8) scale + zero`` with q from 0 to 15 and both numbers bfloat16: what PyTorch's int4
product takes. n_out n_in (1/2 + 4/group) bytes instead of 4 n_out n_in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

MIDDLE, LARGEST = 8, 15
SMALLEST = 1e-30  # a group of one value has no spread; its scale must not be zero
REACHES, FITS = (1.0, 0.9, 0.8), 2  # measured: a grid of 81 is hardly better
BLOCK = 1 << 19  # numbers worked on at a time, so that they stay in the cache


@dataclass(frozen=True)
class Int4Kernel:
    """One way to multiply with int4 matrices, and how it wants them to lie in memory.

    Attributes:
        layout: of the packed integers, see ``ops.quant.layouts``.
        run: the product, called as the kernel itself.
    """

    layout: str
    run: Callable[[Tensor, Tensor, Tensor], Tensor]

    def __call__(self, x: Tensor, packed: Tensor, scales: Tensor) -> Tensor:
        """``x @ dequantized.T``.

        Args:
            x: (...,K) float32 or bfloat16.
            packed: (N,K/2) uint8, two integers a byte, in this kernel's layout.
            scales: (K/group,N,2) bfloat16, scale and zero point of each group.
        Returns: (...,N) in x's dtype.
        """
        return self.run(x, packed, scales)


def quantize_groups(weight: Tensor, group: int) -> tuple[Tensor, Tensor]:
    """weight (...,N,K), K a multiple of ``group`` -> integers of that shape uint8, and
    scales (...,K/group,N,2) bfloat16, with a small squared error in every group.

    The steps begin as the reach of the group's values and as parts of it, and are then fitted to
    the integers by least squares, in turns, as llama.cpp's k-quants do; the best is kept.
    """
    rows = weight.detach().reshape(-1, weight.shape[-1])
    per_block = max(1, BLOCK // weight.shape[-1])
    found = [_rows(part.float(), group) for part in torch.split(rows, per_block)]
    ints = torch.cat([ints for ints, _ in found]).view(weight.shape)
    scales = torch.cat([scales for _, scales in found])
    scales = scales.view(*weight.shape[:-1], -1, 2).transpose(-3, -2)
    return ints, scales.contiguous()


def _rows(rows: Tensor, group: int) -> tuple[Tensor, Tensor]:
    """(R,K) float32 -> integers (R,K) and scales (R,K/group,2)."""
    parts = rows.reshape(len(rows), -1, group)
    low, high = parts.aminmax(dim=-1)
    middle = (low + high) / 2
    best = [torch.full_like(low, torch.inf), low, low]  # error, step, value of the integer 0
    for share in REACHES:
        step = (share * (high - low) / LARGEST).clamp(min=SMALLEST)
        zero = middle - step * (LARGEST / 2)
        for _ in range(FITS + 1):
            ints = ((parts - zero[..., None]) / step[..., None]).round_().clamp_(0, LARGEST)
            off = (ints * step[..., None] + zero[..., None] - parts).square_().sum(-1)
            better = off < best[0]
            pairs = zip((off, step, zero), best, strict=True)
            best = [torch.where(better, new, old) for new, old in pairs]
            step, zero = _fitted(parts, ints, step)
    _, step, zero = best
    kept = torch.stack([step, zero + MIDDLE * step], -1).bfloat16()
    step, zero = kept.float()[..., None].unbind(-2)
    ints = ((parts - zero) / step).add_(MIDDLE).round_().clamp_(0, LARGEST)
    return ints.to(torch.uint8).view(rows.shape), kept


def _fitted(parts: Tensor, ints: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
    """The line through (integer, value) of each group: step and value at 0, (R,G) each."""
    middle = ints.mean(-1)
    around = ints - middle[..., None]
    slope = (around * parts).sum(-1) / around.square().sum(-1).clamp(min=SMALLEST)
    slope = torch.where(slope > SMALLEST, slope, step)  # a group of one value has no line
    return slope, parts.mean(-1) - slope * middle


def dequantize_groups(ints: Tensor, scales: Tensor) -> Tensor:
    """(...,N,K) float32."""
    scale, zero = scales.float().transpose(-3, -2)[..., None].unbind(-2)
    parts = ints.float().view(*ints.shape[:-1], scales.shape[-3], -1)
    return (parts.sub_(MIDDLE) * scale + zero).view(ints.shape)
