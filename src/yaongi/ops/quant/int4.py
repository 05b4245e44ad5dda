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
    scales (...,K/group,N,2) bfloat16.

    The 16 steps go from a group's smallest value to its largest.
    """
    parts = weight.detach().float().unflatten(-1, (-1, group))
    low, high = parts.aminmax(dim=-1)
    return round_to(parts, (high - low) / LARGEST, low)


def round_to(parts: Tensor, scale: Tensor, low: Tensor) -> tuple[Tensor, Tensor]:
    """Groups (...,N,G,group), their steps and smallest values (...,N,G) -> as ``quantize_groups``.

    The integers are the nearest under the scales as bfloat16 keeps them.
    """
    scale = scale.clamp(min=SMALLEST)
    kept = torch.stack([scale, low + MIDDLE * scale], -1).bfloat16()
    scale, zero = kept.float()[..., None].unbind(-2)
    ints = ((parts - zero) / scale).add_(MIDDLE).round_().clamp_(0, LARGEST)
    return ints.to(torch.uint8).flatten(-2), kept.transpose(-3, -2).contiguous()


def dequantize_groups(ints: Tensor, scales: Tensor) -> Tensor:
    """(...,N,K) float32."""
    scale, zero = scales.float().transpose(-3, -2)[..., None].unbind(-2)
    parts = ints.float().unflatten(-1, (scales.shape[-3], -1))
    return (parts.sub_(MIDDLE) * scale + zero).flatten(-2)
