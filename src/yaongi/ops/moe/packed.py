"""The experts for inference on packed matrices: a token's output does not depend on the others.

As ``sorted``, but each expert's product goes through ``ops.linear``, which sums in one order for
any number of tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

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
    up: Sequence[Any],
    down: Sequence[Any],
    gate: Sequence[Any] | None = None,
    product: Callable[[Tensor, Any], Tensor] = packed_product,
) -> Tensor:
    """See ``ops.moe.Experts``; ``product`` multiplies with the matrices, packed or quantized."""
    r = route(chosen, len(up))
    rows = x.index_select(0, r.token)
    scale = sorted_weights(weights, r).to(x.dtype)
    found: list[Tensor] = []
    for e, part in parts(r.counts):
        h = product(rows[part], up[e])
        h = h.relu().square() if gate is None else h * steady(F.silu, product(rows[part], gate[e]))
        found.append(product(h * scale[part], down[e]))
    return gather_sum(torch.cat(found), r.back)
