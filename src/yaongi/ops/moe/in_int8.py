"""The experts of a model in 8 bits: as ``packed``, each token rounded once for all its experts.

Sums of integers have no order, so a token's output does not depend on the others.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from yaongi.ops.activation import steady
from yaongi.ops.moe.sorted import gather_sum, parts, route, sorted_weights
from yaongi.ops.quant.int8 import quantize_rows
from yaongi.ops.quant.int_mm import product_of_ints

Bank = tuple[Tensor, Tensor]
"""ints (E,N,K) int8 and the scale of each row (E,N) float32."""


def experts_int8(
    x: Tensor, chosen: Tensor, weights: Tensor, up: Bank, down: Bank, gate: Bank | None = None
) -> Tensor:
    """See ``ops.moe.Experts``; where ``int_mm`` runs."""
    r = route(chosen, len(up[0]))
    rows, sizes = (t.index_select(0, r.token) for t in quantize_rows(x))
    scale = sorted_weights(weights, r).to(x.dtype)
    found: list[Tensor] = []
    for e, part in parts(r.counts):

        def times(bank: Bank, ints: Tensor, size: Tensor, e: int = e) -> Tensor:
            return product_of_ints(ints, size, bank[0][e], bank[1][e]).to(x.dtype)

        h = times(up, rows[part], sizes[part])
        if gate is None:
            h = h.relu_().square_()
        else:
            h = h * steady(F.silu, times(gate, rows[part], sizes[part]))
        found.append(times(down, *quantize_rows(h * scale[part])))
    return gather_sum(torch.cat(found), r.back)
