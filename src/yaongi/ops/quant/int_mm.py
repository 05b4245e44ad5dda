"""The int8 product in integers: each row of x is rounded to 8 bits, sums are exact.

Rounding by rows is LLM.int8()'s (Dettmers et al. 2022, arXiv:2208.07339) for both factors. A sum
of integers has no order, so a row has the same bits whatever rows are beside it, on any number of
threads. Needs VNNI: without it oneDNN adds pairs of products in 16 bits, which overflow.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from yaongi.core.i18n import translate
from yaongi.ops.backend import only
from yaongi.ops.quant.int8 import quantize_rows

_int_mm: Any = cast(Any, torch)._int_mm
_cpu: Any = cast(Any, torch).cpu


def int_mm_unavailable(device: torch.device) -> str | None:
    """Capability: CPUs that multiply 8-bit integers into 32-bit sums."""
    if reason := only("cpu")(device):
        return reason
    return None if _cpu._is_vnni_supported() else translate("it needs a CPU with VNNI")


def product_int_mm(x: Tensor, ints: Tensor, scale: Tensor) -> Tensor:
    """See ``Int8Product``. An x is off by at most 1/254 of the largest in its row."""
    y = product_of_ints(*quantize_rows(x.reshape(-1, x.shape[-1])), ints, scale)
    return y.to(x.dtype).view(*x.shape[:-1], -1)


def product_of_ints(rows: Tensor, size: Tensor, ints: Tensor, scale: Tensor) -> Tensor:
    """rows (M,K) int8 of scales (M,) and ints (N,K) int8 of scales (N,) -> (M,N) float32."""
    return _int_mm(rows, ints.t()).float().mul_(size[:, None]).mul_(scale)
