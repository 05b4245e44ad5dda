"""An int4 matrix in 8 bits, one scale a row: what multiplies many rows of x fast.

Each value of a group is rounded to a multiple of its row's scale, which takes a multiplication and
an addition a number. The scale is that of the largest number the row's groups can hold, so that
nothing has to be looked through for the largest one they do.
"""

from __future__ import annotations

import torch
from torch import Tensor

from yaongi.ops.quant.int4 import LARGEST as LARGEST_INT4
from yaongi.ops.quant.int4 import MIDDLE
from yaongi.ops.quant.int8 import LARGEST
from yaongi.ops.quant.layouts import BLOCKS, unpack

BLOCK = 1 << 17  # numbers a thread works on at a time, so that they stay in its cache


def int8_from_int4(packed: Tensor, scales: Tensor, layout: str) -> tuple[Tensor, Tensor]:
    """A matrix for ``ops.quant.INT8`` from one for ``ops.quant.INT4``.

    Args:
        packed: (N,K/2) uint8 in ``layout``.
        scales: (K/group,N,2) bfloat16, scale and zero point of each group.
    Returns: (N,K) int8 and the scale of each row (N,) float32. A number is off by at most half a
        scale.
    """
    if layout not in BLOCKS:
        return int8_from_int4_reference(packed, scales, layout)
    n, k = packed.shape[0], 2 * packed.shape[1]
    step, zero, size = _steps(scales)
    step, zero = step.t().contiguous(), zero.t().contiguous()
    found = torch.empty(n, k, dtype=torch.int8, device=packed.device)
    half = BLOCKS[layout] // 2
    whole = n // (2 * half) * 2 * half
    cut, flat = whole * k // 2, packed.flatten()
    columns = [flat[:cut].view(-1, k, half).transpose(0, 1).reshape(k, -1), flat[cut:].view(k, -1)]
    # as a matrix it is turned several times as fast as block by block
    pairs = torch.split(torch.cat(columns, 1).t().contiguous(), [whole // 2, (n - whole) // 2])

    def in_blocks(t: Tensor) -> Tensor:
        """(N,X) -> the rows of low and of high bits (2,blocks,half,X)."""
        return t[:whole].view(-1, 2, half, t.shape[1]).transpose(0, 1)

    def in_pairs(t: Tensor) -> Tensor:
        """(N,X) -> those of the rows left over (2,1,rest/2,X)."""
        return t[whole:].view(1, -1, 2, t.shape[1]).permute(2, 0, 1, 3)

    for part, view in zip(pairs, (in_blocks, in_pairs), strict=True):
        if len(part):
            to = view(found)
            _round(part.view(to.shape[1:]), view(step), view(zero), to)
    return found, size


def int8_from_int4_reference(packed: Tensor, scales: Tensor, layout: str) -> tuple[Tensor, Tensor]:
    """The same, of any layout."""
    step, zero, size = _steps(scales)
    ints = unpack(packed, layout).float().view(len(size), len(scales), -1)
    found = ints.mul_(step.t()[..., None]).add_(zero.t()[..., None]).round_()
    return found.flatten(1).to(torch.int8), size


def _steps(scales: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of each group its step and the value of the integer 0 (K/group,N), in scales of the row;
    and those scales (N,).
    """
    step, middle = scales.float().unbind(-1)
    low, high = middle - MIDDLE * step, middle + (LARGEST_INT4 - MIDDLE) * step
    size = torch.maximum(low.abs(), high.abs()).amax(0) / LARGEST
    size = torch.where(size > 0, size, 1.0)
    return step / size, low / size, size


def _round(packed: Tensor, step: Tensor, zero: Tensor, out: Tensor) -> None:
    """packed (J,W,K) into out (2,J,W,K); step and zero (2,J,W,K/group)."""
    count, width, k = packed.shape
    some = max(1, BLOCK * torch.get_num_threads() // (k * width))
    for j in range(0, count, some):
        part = slice(j, j + some)
        for i, ints in enumerate((packed[part] & 15, packed[part] >> 4)):
            values = ints.float().view(*ints.shape[:-1], step.shape[-1], -1)
            values.mul_(step[i, part, ..., None]).add_(zero[i, part, ..., None]).round_()
            out[i, part].copy_(values.flatten(-2))
