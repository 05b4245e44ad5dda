"""Matrix products for inference whose every row has the same bits whatever rows are beside it.

oneDNN's kernels on a packed weight sum each output in one order for any number of rows; those
PyTorch takes for a plain float32 weight (MKL) change the order below 16 rows and with the number
of threads. Measured on x86 with AVX-512; see docs/engine.md.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

ONE_SUM = 1024  # the longest that a single row's kernel sums like that of several rows

_onednn: Any = cast(Any, torch.ops).mkldnn


def can_pack(weight: Tensor) -> bool:
    """Whether oneDNN computes with this weight here."""
    known = weight.dtype in (torch.float32, torch.bfloat16)
    return weight.device.type == "cpu" and known and torch.backends.mkldnn.is_available()


def pack(weight: Tensor) -> Tensor:
    """(N,K) as ``packed_product`` wants it: a copy in a layout of oneDNN's own."""
    return _onednn._reorder_linear_weight(weight.detach())


def packed_product(x: Tensor, packed: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (...,K) and a packed (N,K) -> (...,N)."""
    width = x.shape[-1]
    if x.numel() == width and (width > ONE_SUM or x.dtype != torch.float32):
        two = x.expand(*x.shape[:-2], 2, width) if x.dim() > 1 else x.expand(2, width)
        y = _onednn._linear_pointwise(two.contiguous(), packed, bias, "none", [], "")
        return y[..., :1, :] if x.dim() > 1 else y[0]
    return _onednn._linear_pointwise(x, packed, bias, "none", [], "")
