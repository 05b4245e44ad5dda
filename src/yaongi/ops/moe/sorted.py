"""Tokens sorted by expert, one pair of matrix products per expert, backward written out.

The router weight multiplies between the two products (as in SonicMoE, arXiv:2512.14080), so the
experts' outputs need not be kept, and gathers are undone by the inverse permutation instead of
scattered adds: the same sums in the same order on every run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from yaongi.ops.backend import opaque
from yaongi.ops.precision import no_autocast


@opaque  # sizes depend on the data: a compiler could only guess; there is nothing around to fuse
def experts_sorted(
    x: Tensor,
    chosen: Tensor,
    weights: Tensor,
    up: Tensor,
    down: Tensor,
    gate: Tensor | None = None,
) -> Tensor:
    """See ``ops.moe.Experts``."""
    return _apply(x, chosen, weights, up, down, gate)


@dataclass
class Route:
    """Where each of the M k (token, choice) pairs goes.

    Attributes:
        token: (M k,) token of each sorted row.
        back: (M,k) sorted row of each pair.
        counts: rows of each expert.
    """

    token: Tensor
    back: Tensor
    counts: list[int]


def route(chosen: Tensor, n_experts: int) -> Route:
    """Sort the pairs of ``chosen`` (M,k) by expert; equal experts keep their order."""
    flat = chosen.flatten()
    order = flat.argsort(stable=True)
    back = torch.empty_like(order)
    back[order] = torch.arange(len(order), device=order.device)
    counts = [int(n) for n in torch.bincount(flat, minlength=n_experts).cpu()]
    return Route(order // chosen.shape[1], back.view_as(chosen), counts)


def gather_sum(rows: Tensor, back: Tensor) -> Tensor:
    """Sum of each token's k sorted rows: (M k,D) and (M,k) -> (M,D)."""
    return F.embedding_bag(back, rows, mode="sum")  # gathers and adds in one pass


class _Experts(torch.autograd.Function):
    @staticmethod
    @no_autocast
    def forward(
        ctx: Any,
        x: Tensor,
        chosen: Tensor,
        weights: Tensor,
        up: Tensor,
        down: Tensor,
        gate: Tensor | None,
    ) -> Tensor:
        r = route(chosen, len(up))
        rows = x.index_select(0, r.token)
        scale = sorted_weights(weights, r).to(x.dtype)
        y, hidden, gated = torch.empty_like(rows), _room(rows, up), _room(rows, gate)
        for e, part in parts(r.counts):
            torch.mm(rows[part], up[e].to(x.dtype).mT, out=hidden[part])
            if gate is not None:
                torch.mm(rows[part], gate[e].to(x.dtype).mT, out=gated[part])
            h = _activate(hidden[part], gated[part]) * scale[part]
            torch.mm(h, down[e].to(x.dtype).mT, out=y[part])
        ctx.save_for_backward(rows, weights, up, down, gate, hidden, gated)
        ctx.route = r
        return gather_sum(y, r.back)

    @staticmethod
    @no_autocast
    def backward(ctx: Any, *grads: Any) -> Any:
        rows, weights, up, down, gate, hidden, gated = ctx.saved_tensors
        r: Route = ctx.route
        dy = grads[0].index_select(0, r.token)
        scale = sorted_weights(weights, r)
        dscale, drows = torch.empty_like(scale), torch.empty_like(rows)
        dup, ddown = torch.zeros_like(up), torch.zeros_like(down)
        dgate = None if gate is None else torch.zeros_like(gate)
        for e, part in parts(r.counts):
            a = _activate(hidden[part], gated[part])
            s = scale[part].to(a.dtype)
            da = torch.mm(dy[part], down[e].to(a.dtype))  # to the unscaled activation
            dscale[part] = (da * a).sum(-1, keepdim=True, dtype=torch.float32)
            ddown[e] = torch.mm(dy[part].mT, a.mul_(s))
            dh, dg = _activate_backward(da.mul_(s), hidden[part], gated[part])
            dup[e] = torch.mm(dh.mT, rows[part])
            torch.mm(dh, up[e].to(dh.dtype), out=drows[part])
            if gate is not None and dgate is not None and dg is not None:
                dgate[e] = torch.mm(dg.mT, rows[part])
                drows[part].addmm_(dg, gate[e].to(dg.dtype))
        return gather_sum(drows, r.back), None, dscale[r.back, 0], dup, ddown, dgate


_apply: Any = cast(Any, _Experts).apply


def _room(rows: Tensor, bank: Tensor | None) -> Tensor:
    """Space for the products of every row with its expert's matrix in ``bank`` (E,F,D)."""
    return rows.new_empty(len(rows), 0 if bank is None else bank.shape[1])


def parts(counts: list[int]) -> list[tuple[int, slice]]:
    """(expert, its rows) for experts that have any."""
    found: list[tuple[int, slice]] = []
    start = 0
    for e, n in enumerate(counts):
        if n:
            found.append((e, slice(start, start + n)))
        start += n
    return found


def sorted_weights(weights: Tensor, r: Route) -> Tensor:
    """(M,k) -> (M k,1) in the order of the sorted rows."""
    out = weights.new_empty(weights.numel(), 1)
    out[r.back.flatten(), 0] = weights.flatten()
    return out


def _activate(h: Tensor, g: Tensor) -> Tensor:
    if g.shape[-1]:
        return F.silu(g).mul_(h)
    r = h.relu()
    return r.mul_(r)


def _activate_backward(da: Tensor, h: Tensor, g: Tensor) -> tuple[Tensor, Tensor | None]:
    """Gradients to ``h`` and ``g``; may reuse ``da``."""
    if g.shape[-1]:
        return F.silu(g).mul_(da), torch.ops.aten.silu_backward(da.mul_(h), g)
    return da.mul_(h.relu()).mul_(2), None
