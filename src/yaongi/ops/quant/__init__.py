"""Matrix products in fewer bits, with the scales that make them fit.

``INT8`` multiplies with matrices of whole rows, ``INT4`` with those of groups along a row; both
are for inference. Their reference widens the matrix and multiplies, and works everywhere. Training
has its own: ``int8_linear`` for a frozen matrix, ``fp8`` for a learning one.
"""

from __future__ import annotations

from yaongi.ops.backend import Backend, Op, anywhere
from yaongi.ops.quant.int4 import Int4Kernel
from yaongi.ops.quant.int4pack import INT4PACK, int4pack_unavailable
from yaongi.ops.quant.int8 import Int8Product
from yaongi.ops.quant.int_mm import int_mm_unavailable, product_int_mm
from yaongi.ops.quant.reference import INT4_REFERENCE, product_int8_reference

INT8: Op[Int8Product] = Op(
    "int8",
    [
        Backend("int_mm", product_int_mm, int_mm_unavailable),
        Backend("reference", product_int8_reference, anywhere),
    ],
)

INT4: Op[Int4Kernel] = Op(
    "int4",
    [
        Backend("int4pack", INT4PACK, int4pack_unavailable),
        Backend("reference", INT4_REFERENCE, anywhere),
    ],
)
