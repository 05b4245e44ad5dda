"""Products with quantized matrices the plain way: widen the matrix, multiply. Works everywhere."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from yaongi.ops.quant.int4 import Int4Kernel, dequantize_groups
from yaongi.ops.quant.int8 import dequantize_rows
from yaongi.ops.quant.layouts import ROWS, unpack


def product_int8_reference(x: Tensor, ints: Tensor, scale: Tensor) -> Tensor:
    """See ``Int8Product``."""
    return F.linear(x, dequantize_rows(ints, scale).to(x.dtype))


def _int4(x: Tensor, packed: Tensor, scales: Tensor) -> Tensor:
    return F.linear(x, dequantize_groups(unpack(packed, ROWS), scales).to(x.dtype))


INT4_REFERENCE = Int4Kernel(ROWS, _int4)
