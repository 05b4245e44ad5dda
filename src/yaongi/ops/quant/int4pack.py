"""The int4 product of PyTorch's CPU operator: fast for a few rows, slower than int8 for many.

Inputs and outputs are rounded to bfloat16, sums are float32 along the row, so a row has the same
bits whatever rows are beside it. With x in float32 it would run scalar code, thirty times slower.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from yaongi.core.i18n import translate
from yaongi.ops.backend import only
from yaongi.ops.quant.int4 import Int4Kernel
from yaongi.ops.quant.layouts import BLOCKS

_aten: Any = cast(Any, torch.ops).aten
LAYOUT = f"int4pack/{torch.backends.cpu.get_cpu_capability().lower()}"
"""Of this machine."""

MULTIPLE, GROUPS = 16, (32, 64, 128, 256)
"""What N must be a multiple of, and the sizes a group may have."""


def int4pack_unavailable(device: torch.device) -> str | None:
    """Capability: CPUs with AVX2 or AVX-512; others would run scalar code."""
    if reason := only("cpu")(device):
        return reason
    return None if LAYOUT in BLOCKS else translate("it needs a CPU with AVX2 or AVX-512")


def _product(x: Tensor, packed: Tensor, scales: Tensor) -> Tensor:
    rows = x.reshape(-1, x.shape[-1]).bfloat16()
    y = _aten._weight_int4pack_mm_for_cpu(rows, packed, x.shape[-1] // scales.shape[0], scales)
    return y.to(x.dtype).view(*x.shape[:-1], -1)


INT4PACK = Int4Kernel(LAYOUT, _product)
