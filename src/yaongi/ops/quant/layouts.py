"""How the integers of an int4 matrix lie in memory: two a byte, in an order a kernel reads fast.

Every layout is (N,K/2) bytes, so a matrix can be turned from one into another wherever it was
packed. ``rows/any`` pairs neighbours in a row; ``int4pack/ISA`` is that of PyTorch's operator of
this name, which depends on the width of the vectors of the machine (its ``int4mm_kernel.cpp``).
"""

from __future__ import annotations

import torch
from torch import Tensor

from yaongi.core.errors import CheckpointError, did_you_mean

ROWS = "rows/any"
BLOCKS = {"int4pack/avx512": 64, "int4pack/avx2": 32}
"""Layout -> rows of a block: for each column, the first half of its rows and the other half."""

LAYOUTS = (ROWS, *BLOCKS)


def pack(ints: Tensor, layout: str) -> Tensor:
    """ints (...,N,K) uint8 from 0 to 15 -> (...,N,K/2) uint8.

    N must be even, K too.

    Raises:
        CheckpointError: no such layout.
    """
    if known(layout) == ROWS:
        return _joined(ints[..., 0::2], ints[..., 1::2])
    whole, rest = _blocks(ints, BLOCKS[layout])
    low, high = whole.mT.chunk(2, -1)  # (...,blocks,K,block)
    even, odd = rest.mT[..., 0::2], rest.mT[..., 1::2]
    flat = [_joined(low, high).flatten(-3), _joined(even, odd).flatten(-2)]
    return torch.cat(flat, -1).view(*ints.shape[:-1], -1)


def unpack(packed: Tensor, layout: str) -> Tensor:
    """The inverse of ``pack``: (...,N,K/2) -> (...,N,K)."""
    low, high = packed & 15, packed >> 4
    if known(layout) == ROWS:
        return torch.stack([low, high], -1).flatten(-2)
    n, k = packed.shape[-2], 2 * packed.shape[-1]
    block = BLOCKS[layout]
    count = n // block
    cut = count * block * k // 2
    low, high = low.flatten(-2), high.flatten(-2)
    lead = packed.shape[:-2]
    whole = [part[..., :cut].view(*lead, count, k, block // 2) for part in (low, high)]
    rest = [part[..., cut:].view(*lead, k, (n - count * block) // 2) for part in (low, high)]
    blocks = torch.cat(whole, -1).mT.reshape(*lead, count * block, k)
    return torch.cat([blocks, torch.stack(rest, -1).flatten(-2).mT], -2).contiguous()


def _joined(low: Tensor, high: Tensor) -> Tensor:
    return (low | (high << 4)).contiguous()


def _blocks(ints: Tensor, block: int) -> tuple[Tensor, Tensor]:
    """(...,N,K) -> whole blocks (...,N/block,block,K), and the rows left over."""
    count = ints.shape[-2] // block
    whole, rest = ints[..., : count * block, :], ints[..., count * block :, :]
    return whole.reshape(*ints.shape[:-2], count, block, ints.shape[-1]), rest


def known(layout: str) -> str:
    """The layout. Raises CheckpointError if there is no such one, naming the nearest."""
    if layout not in LAYOUTS:
        raise CheckpointError(
            "There is no layout '{layout}' of int4 matrices. {help}",
            layout=layout,
            help=did_you_mean(layout, LAYOUTS),
        )
    return layout
