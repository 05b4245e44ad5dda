"""The experts for inference on packed matrices: a token's output does not depend on the others.

As ``sorted``, but each expert's product goes through ``ops.linear``, which sums in one order for
any number of tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from yaongi.ops.activation import steady
from yaongi.ops.linear import packed_product
from yaongi.ops.moe.sorted import gather_sum, parts, route, sorted_weights


def experts_packed(
    x: Tensor,
    chosen: Tensor,
    weights: Tensor,
    up: Sequence[Tensor],
    down: Sequence[Tensor],
    gate: Sequence[Tensor] | None = None,
) -> Tensor:
    """See ``ops.moe.Experts``; the matrices of each expert are packed."""
    r = route(chosen, len(up))
    rows = x.index_select(0, r.token)
    scale = sorted_weights(weights, r).to(x.dtype)
    found: list[Tensor] = []
    for e, part in parts(r.counts):
        h = packed_product(rows[part], up[e])
        h = h.relu().square() if gate is None else h * _opened(rows[part], gate[e])
        found.append(packed_product(h * scale[part], down[e]))
    return gather_sum(torch.cat(found), r.back)


def _opened(rows: Tensor, gate: Tensor) -> Tensor:
    return steady(F.silu, packed_product(rows, gate))
