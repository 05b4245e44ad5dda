"""The scan in blocks of tokens: attention-like inside a block, a recurrence between blocks.

Dao & Gu 2024, arXiv:2405.21060, with document resets, C B^T computed per group, and the backward
pass written out: it keeps the states between blocks and recomputes everything quadratic.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

CHUNK = 64  # balances the quadratic part (tokens x CHUNK) against the states (tokens x P N / CHUNK)

BLOCK_ELEMENTS = int(__import__('os').environ.get('BE', 1 << 17))


def ssd_chunked(
    x: Tensor,
    dt: Tensor,
    a: Tensor,
    b: Tensor,
    c: Tensor,
    d: Tensor,
    doc_ids: Tensor | None = None,
    state: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """See ``ops.ssd.SSD``."""
    length = x.shape[1]
    if length == 1 and state is not None:
        return _step(x, dt, a, b, c, d, doc_ids, state)
    docs, before = _split_docs(doc_ids, state)
    pad = -length % CHUNK
    if pad:
        # dt = 0 neither decays nor feeds the state; the last document goes on
        x, b, c = (F.pad(t, (0, 0, 0, 0, 0, pad)) for t in (x, b, c))
        dt = F.pad(dt, (0, 0, 0, pad))
        if docs is not None:
            docs = torch.cat([docs, docs[:, -1:].expand(-1, pad)], 1)
    y, h = _Chunked.apply(x, dt, a, b, c, d, docs, before, state)  # type: ignore[misc]
    return y[:, :length], h  # type: ignore[index]


def _split_docs(
    doc_ids: Tensor | None, state: Tensor | None
) -> tuple[Tensor | None, Tensor | None]:
    """(documents of the block (B,T), document before it (B,1))."""
    if doc_ids is None:
        return None, None
    return (doc_ids[:, 1:], doc_ids[:, :1]) if state is not None else (doc_ids, doc_ids[:, :1])


# Dimensions below: B batch, c chunk, G group, R head in group, Q position in chunk, P width, N state


@dataclass
class _Decays:
    """What the step sizes say: each (B,c,G,R,Q), ``carry`` (B,c,G,R), ``seen`` (B,c,1,1,Q,Q)."""

    steps: Tensor  # dt
    between: Tensor  # log decay from position s to l, (B,c,G,R,Q,Q); meaningless above the diagonal
    to_end: Tensor  # decay from a position to the end of its chunk
    from_start: Tensor  # decay from the end of the chunk before
    carry: Tensor  # decay over the whole chunk
    seen: Tensor  # 1 where position l may see position s, else 0


def _decays(
    dt: Tensor, a: Tensor, groups: int, docs: Tensor | None, before: Tensor | None
) -> _Decays:
    steps = _by_head(dt[..., None], groups)[..., 0].contiguous()
    # sums in double: differences of single ones lose all digits after a strong decay
    total = (steps * a.view(groups, -1, 1)).to(_widest(dt.device)).cumsum(-1)
    between = (total[..., :, None] - total[..., None, :]).float().clamp_(max=0)
    to_end = (total[..., -1:] - total).float().exp()
    from_start = total.float().exp()
    carry = from_start[..., -1].clone()
    seen = torch.ones(CHUNK, CHUNK, dtype=torch.bool, device=dt.device).tril()[None, None]
    if docs is not None and before is not None:
        own = docs.view(docs.shape[0], -1, CHUNK)
        last = own[..., -1]
        prev = torch.cat([before, last[:, :-1]], 1)
        seen = seen & (own[..., :, None] == own[..., None, :])
        to_end = to_end * (own == last[..., None])[:, :, None, None]
        from_start = from_start * (own == prev[..., None])[:, :, None, None]
        carry = carry * (last == prev)[:, :, None, None]
    return _Decays(steps, between, to_end, from_start, carry, seen[:, :, None, None].float())


def _widest(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64


def _by_head(t: Tensor, groups: int) -> Tensor:
    """(B,T,H,P) -> a view (B,c,G,R,Q,P)."""
    batch, _, heads, width = t.shape
    return t.view(batch, -1, CHUNK, groups, heads // groups, width).permute(0, 1, 3, 4, 2, 5)


def _by_time(t: Tensor) -> Tensor:
    """The inverse of ``_by_head``: (B,c,G,R,Q,P) -> (B,T,H,P)."""
    batch, count, groups, per, size, width = t.shape
    return t.permute(0, 1, 4, 2, 3, 5).reshape(batch, count * size, groups * per, width)


def _contiguous_mul(x: Tensor, y: Tensor) -> Tensor:
    """x * y laid out in the order of its dimensions, whatever the strides of x."""
    out = torch.empty(torch.broadcast_shapes(x.shape, y.shape), dtype=x.dtype, device=x.device)
    return torch.mul(x, y, out=out)


class _Chunked(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        dt: Tensor,
        a: Tensor,
        b: Tensor,
        c: Tensor,
        d: Tensor,
        docs: Tensor | None,
        before: Tensor | None,
        state: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        batch, length, heads, width = x.shape
        n = b.shape[3]
        y = torch.empty(x.shape, device=x.device)
        starts = torch.empty(batch, length // CHUNK + 1, heads, width, n, device=x.device)
        starts[:, 0] = 0 if state is None else state
        for rows in _row_blocks(x):
            _forward(*_take(rows, x, dt), a, *_take(rows, b, c), d,
                     *_take(rows, docs, before), starts[rows], y[rows])
        ctx.save_for_backward(x, dt, a, b, c, d, docs, before, starts, y)
        return y, starts[:, -1]

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        x, dt, a, b, c, d, docs, before, starts, y = ctx.saved_tensors
        dx, ddt, db, dc = (torch.empty(t.shape, dtype=t.dtype, device=t.device) for t in (x, dt, b, c))
        da, dd = torch.zeros_like(a), torch.zeros_like(d)
        dstate = torch.empty_like(starts[:, 0])
        for rows in _row_blocks(x):
            part_a, part_d = _backward(
                *_take(rows, x, dt), a, *_take(rows, b, c), d, *_take(rows, docs, before),
                starts[rows], y[rows], grads[0][rows], grads[1][rows],
                (dx[rows], ddt[rows], db[rows], dc[rows], dstate[rows]),
            )
            da += part_a
            dd += part_d
        needed = dstate if ctx.needs_input_grad[8] else None
        return dx, ddt, da, db, dc, dd, None, None, needed


def _take(rows: slice, *tensors: Tensor | None) -> list[Any]:
    return [None if t is None else t[rows] for t in tensors]


def _row_blocks(x: Tensor) -> Iterator[slice]:
    """Rows of the batch that fit the cache together; all of them where that is no matter."""
    size = x.shape[0]
    if x.device.type == "cpu" and not torch.compiler.is_compiling():
        size = max(1, BLOCK_ELEMENTS // x[0].numel())
    return (slice(i, i + size) for i in range(0, x.shape[0], size))


def _forward(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor, docs: Tensor | None, before: Tensor | None, starts: Tensor, y: Tensor) -> None:
    groups = b.shape[2]
    k = _decays(dt, a, groups, docs, before)
    xh = _by_head(x.float(), groups)
    bf, cf = _by_group(b), _by_group(c)
    xd = _contiguous_mul(xh, k.steps[..., None])
    fed = xd.mT @ (bf * k.to_end[..., None])  # (B,c,G,R,P,N)
    states = starts.unflatten(2, (groups, -1))
    for i in range(fed.shape[1]):
        torch.addcmul(fed[:, i], states[:, i], k.carry[:, i, ..., None, None], out=states[:, i + 1])
    out = (cf @ bf.mT * k.seen * k.between.exp_()) @ xd
    out = _add_bmm(out, cf * k.from_start[..., None], states[:, :-1].mT)
    torch.addcmul(out, xh, d.view(groups, -1, 1, 1), out=_by_head(y, groups))


def _backward(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor, docs: Tensor | None, before: Tensor | None, starts: Tensor, y: Tensor, dy: Tensor, dend: Tensor, outs: tuple[Tensor, Tensor, Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    dx, ddt, db, dc, dstate = outs
    groups = b.shape[2]
    k = _decays(dt, a, groups, docs, before)
    xf = x.float()
    xh, dyh = _by_head(xf, groups), _by_head(dy, groups).contiguous()
    bf, cf = _by_group(b), _by_group(c)
    xd = _contiguous_mul(xh, k.steps[..., None])
    states = starts.unflatten(2, (groups, -1))
    # states: from the outputs that read them, then back through the recurrence
    read = dyh * k.from_start[..., None]
    dstarts = read.mT @ cf
    dfed = torch.empty_like(dstarts)
    g = dend.view_as(states[:, -1])
    for i in reversed(range(dstarts.shape[1])):
        dfed[:, i] = g
        g = torch.addcmul(dstarts[:, i], g, k.carry[:, i, ..., None, None])
    dstate.copy_(g.flatten(1, 2))
    # inside the chunk
    scores = cf @ bf.mT * k.seen
    decay = k.between.exp_()
    dxd = (scores * decay).mT @ dyh
    dxd = _add_bmm(dxd, bf * k.to_end[..., None], dfed.mT)
    dscores = ((dyh @ xd.mT).mul_(decay)).sum(3, keepdim=True) * k.seen
    dcf = dscores @ bf + (read @ states[:, :-1]).sum(3, keepdim=True)
    dbf = dscores.mT @ cf + ((xd * k.to_end[..., None]) @ dfed).sum(3, keepdim=True)
    dc.copy_(_by_time(dcf))
    db.copy_(_by_time(dbf))
    # y depends on the log decays only through exp(total_l - total_s): a query's exponent gets
    # dy y, a key's loses dx x, and the end of the chunk stands for everything carried on
    dyx = (dy * xf).sum(-1)
    dyy = _by_head(((dy * y).sum(-1) - d * dyx)[..., None], groups)[..., 0]
    dxx = (dxd * xh).sum(-1)
    dtotal = dyy - k.steps * dxx
    dtotal[..., -1] += (dfed * states[:, 1:]).sum((-1, -2))
    dlog = dtotal.flip(-1).cumsum(-1).flip(-1)
    ddt.copy_(_by_time((dxx + a.view(groups, -1, 1) * dlog)[..., None])[..., 0])
    dxh = _by_head(dx, groups)
    torch.addcmul(_by_head(dy, groups) * d.view(groups, -1, 1, 1), dxd, k.steps[..., None], out=dxh)
    return (k.steps * dlog).sum((0, 1, 4)).flatten(), dyx.sum((0, 1))


def _by_group(t: Tensor) -> Tensor:
    """(B,T,G,N) -> (B,c,G,1,Q,N) float32, contiguous."""
    batch, _, groups, n = t.shape
    t = t.float().view(batch, -1, CHUNK, groups, n).transpose(2, 3)
    return t.contiguous()[:, :, :, None]


def _add_bmm(y: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """y + left @ right over all leading dimensions, in place."""
    y.flatten(0, -3).baddbmm_(left.flatten(0, -3), right.flatten(0, -3))
    return y


def _step(
    x: Tensor,
    dt: Tensor,
    a: Tensor,
    b: Tensor,
    c: Tensor,
    d: Tensor,
    doc_ids: Tensor | None,
    state: Tensor,
) -> tuple[Tensor, Tensor]:
    """One token: the recurrence itself."""
    xf = x[:, 0].float()
    per = x.shape[2] // b.shape[2]
    bf, cf = (t[:, 0].float().repeat_interleave(per, 1) for t in (b, c))
    h = state
    if doc_ids is not None:
        h = h * (doc_ids[:, 0] == doc_ids[:, 1])[:, None, None, None]
    h = h * torch.exp(dt[:, 0] * a)[..., None, None]
    h = h + (dt[:, 0, :, None] * xf)[..., None] * bf[:, :, None]
    y = (h @ cf[..., None])[..., 0] + d[:, None] * xf
    return y[:, None], h
