"""The experts for inference on packed matrices: a token's output does not depend on the others.

As ``sorted``, but each expert's product goes through ``ops.linear``, which sums in one order for
any number of tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from yaongi.ops.linear import packed_product
from yaongi.ops.moe.sorted import activate, gather_sum, parts, route, sorted_weights


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
    none = rows.new_empty(len(rows), 0)
    found: list[Tensor] = []
    for e, part in parts(r.counts):
        gated = none[part] if gate is None else packed_product(rows[part], gate[e])
        h = activate(packed_product(rows[part], up[e]), gated)
        found.append(packed_product(h.mul_(scale[part]), down[e]))
    return gather_sum(torch.cat(found), r.back)
