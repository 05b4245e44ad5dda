"""The experts through PyTorch's grouped matrix product: one kernel for all experts.

For GPUs with bfloat16 tensor cores. Offered by name only until it is measured on one; on CPUs
PyTorch runs it as a loop, which the tests use to check it. Like ``sorted``, it undoes gathers by
the inverse permutation: no scattered adds, so every run sums in one order.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from yaongi.ops.activation import squared_relu
from yaongi.ops.moe.sorted import gather_sum


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
    back = order.argsort()
    ends = torch.bincount(flat, minlength=len(up)).cumsum(0).to(torch.int32)
    rows = _gather(x, order // k, back.view_as(chosen))
    h = F.grouped_mm(rows, up.to(x.dtype).mT, offs=ends)
    if gate is None:
        h = squared_relu(h)
    else:
        h = F.silu(F.grouped_mm(rows, gate.to(x.dtype).mT, offs=ends)) * h
    y = F.grouped_mm(h, down.to(x.dtype).mT, offs=ends)
    y = _gather(y, back, order[:, None]).view(*chosen.shape, -1)
    return (y * weights[..., None].to(x.dtype)).sum(1)


class _Gather(torch.autograd.Function):
    """``x[index]`` for x (R,D); ``undo`` (R,n) says where each row of x went."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, index: Tensor, undo: Tensor) -> Tensor:
        ctx.undo = undo
        return x.index_select(0, index)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return gather_sum(grads[0].contiguous(), ctx.undo), None, None


_gather = cast(Any, _Gather).apply
