"""Quantized matrices on pages of 2 MiB, where the system has them.

A token reads every matrix once from memory; on the usual pages of 4 KiB looking up addresses takes
a fifth of the time of an int4 product (docs/speed-cpu.md), and files can only be mapped to those.
"""

from __future__ import annotations

import mmap
from typing import Any, cast

import torch
from torch import Tensor, nn

from yaongi.model.quantized import Int4Weight, Int8Weight, QuantTable

ALIGNED = 64  # bytes: a line of the cache


def to_huge_pages(model: nn.Module) -> None:
    """Copy the quantized matrices of a model on a CPU there, in place and side by side.

    Whatever shares the model's modules uses the copies. N-gram tables, of which a token reads a few
    rows, stay where they are; where there are no such pages (Linux has them), everything does.
    """
    tables = {id(m) for t in model.modules() if isinstance(t, QuantTable) for m in t.modules()}
    places = [
        (cast("dict[str, Tensor]", module._buffers), name)
        for module in model.modules()
        if isinstance(module, (Int4Weight, Int8Weight)) and id(module) not in tables
        for name, tensor in module.named_buffers(recurse=False)
        if tensor.is_contiguous() and tensor.device.type == "cpu"
    ]
    arena = _arena(sum(_aligned(holder[name].nbytes) for holder, name in places))
    if arena is None:
        return
    for holder, name in places:
        old = holder[name]
        part, arena = arena[: old.nbytes], arena[_aligned(old.nbytes) :]
        holder[name] = part.view(old.dtype).view(old.shape).copy_(old)


def _aligned(size: int) -> int:
    return -(-size // ALIGNED) * ALIGNED


def _arena(size: int) -> Tensor | None:
    """So many bytes, or None."""
    advice: Any = getattr(mmap, "MADV_HUGEPAGE", None)
    if advice is None or size == 0:
        return None
    room = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    try:
        room.madvise(advice)
    except OSError:  # a system built without them
        return None
    return torch.frombuffer(room, dtype=torch.uint8)
