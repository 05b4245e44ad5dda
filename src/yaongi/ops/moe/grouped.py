"""The experts through PyTorch's grouped matrix product: one kernel for all experts.

For GPUs with bfloat16 tensor cores. Offered by name only, after ``sorted``, until it is measured
on one; on CPUs PyTorch runs it as a loop, which the tests use to check it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from yaongi.ops.activation import squared_relu


def experts_grouped(
    x: Tensor,
    chosen: Tensor,
    weights: Tensor,
    up: Tensor,
    down: Tensor,
    gate: Tensor | None = None,
) -> Tensor:
    """See ``ops.moe.Experts``."""
    k = chosen.shape[1]
    flat = chosen.flatten()
    order = flat.argsort(stable=True)
    ends = torch.bincount(flat, minlength=len(up)).cumsum(0).to(torch.int32)
    rows = x[order // k]
    h = F.grouped_mm(rows, up.to(x.dtype).mT, offs=ends)
    if gate is None:
        h = squared_relu(h)
    else:
        h = F.silu(F.grouped_mm(rows, gate.to(x.dtype).mT, offs=ends)) * h
    y = F.grouped_mm(h, down.to(x.dtype).mT, offs=ends)
    y = y[order.argsort()].view(*chosen.shape, -1)
    return (y * weights[..., None].to(x.dtype)).sum(1)
