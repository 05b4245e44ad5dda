"""Tokens sorted by expert, one pair of matrix products per expert."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def experts_sorted(
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
    counts: list[int] = torch.bincount(flat, minlength=up.shape[0]).tolist()
    rows = x[order // k].split(counts)
    ups, downs = up.to(x.dtype).unbind(), down.to(x.dtype).unbind()
    gates = [None] * len(ups) if gate is None else gate.to(x.dtype).unbind()
    parts = [
        _expert(r, u, w, g) for r, u, w, g in zip(rows, ups, downs, gates, strict=True) if len(r)
    ]
    back = order.argsort()
    y = torch.cat(parts)[back].view(*chosen.shape, -1)
    return (y * weights[..., None].to(x.dtype)).sum(1)


def _expert(x: Tensor, up: Tensor, down: Tensor, gate: Tensor | None) -> Tensor:
    h = F.linear(x, up)
    h = F.relu(h).square() if gate is None else F.silu(F.linear(x, gate)) * h
    return F.linear(h, down)
