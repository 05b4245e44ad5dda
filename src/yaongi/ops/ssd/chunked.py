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

from yaongi.ops.precision import no_autocast

CHUNK = 64  # fastest of 32, 64, 128 on AVX-512 cores for P = 64 and N = 64 or 128
BLOCK_ELEMENTS = 1 << 17  # of one operand; on CPUs a block of batch rows should stay in the cache


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


# Below: B batch, c chunk, G group, R head in group, Q position in chunk, P width, N state


class _Chunked(torch.autograd.Function):
    @staticmethod
    @no_autocast
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
        k = _decays(dt, a, b.shape[2], docs, before)
        bf, cf = _by_group(b), _by_group(c)
        y = torch.empty(x.shape, device=x.device)
        xh, yh = _by_head(x, b.shape[2]), _by_head(y, b.shape[2])
        starts = _states(xh, bf, k, state)
        scores = (cf @ bf.mT).mul_(k.seen)
        skip = d.view(*xh.shape[2:4], 1, 1)
        for i in _row_blocks(x):
            xf = xh[i].float()
            out = (_between(k.total[i]) * scores[i]) @ _laid_out_mul(xf, k.steps[i])
            out = _add_bmm(out, cf[i] * k.from_start[i], starts[i, :-1].mT)
            yh[i] = out.addcmul_(xf, skip)
        ctx.save_for_backward(x, dt, a, b, c, d, docs, before, starts)
        return y, starts[:, -1].flatten(1, 2)

    @staticmethod
    @no_autocast
    def backward(ctx: Any, *grads: Any) -> Any:
        x, dt, a, b, c, d, docs, before, starts = ctx.saved_tensors
        groups = b.shape[2]
        k = _decays(dt, a, groups, docs, before)
        bf, cf = _by_group(b), _by_group(c)
        dx = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        xh, dyh, dxh = (_by_head(t, groups) for t in (x, grads[0], dx))
        skip = d.view(*xh.shape[2:4], 1, 1)
        dends = _state_gradients(dyh, cf, k, grads[1])
        scores = (cf @ bf.mT).mul_(k.seen)
        dbf, dcf, dscores = torch.empty_like(bf), torch.empty_like(cf), torch.empty_like(scores)
        # gradients by way of the decays: between positions, of reading and of feeding states
        inner, reads, feeds, dyx, dxx = (torch.empty_like(k.steps) for _ in range(5))
        for i in _row_blocks(x):
            xf, dy = xh[i].float(), dyh[i].contiguous()
            xd = _laid_out_mul(xf, k.steps[i])
            between = _between(k.total[i])
            pairs = (dy @ xd.mT).mul_(between)
            dscores[i] = pairs.sum(3, keepdim=True)
            pairs.mul_(scores[i]).diagonal(dim1=-2, dim2=-1).zero_()  # no decay from l to l
            inner[i] = pairs.sum(-1, keepdim=True) - pairs.sum(-2)[..., None]
            dxd = between.mul_(scores[i]).mT @ dy
            dxd = _add_bmm(dxd, bf[i] * k.to_end[i], dends[i, 1:].mT)
            dxx[i] = (dxd * xf).sum(-1, keepdim=True)
            dyx[i] = (dy * xf).sum(-1, keepdim=True)
            dxh[i] = dxd.mul_(k.steps[i]).addcmul_(dy, skip)
            read = (dy * k.from_start[i]) @ starts[i, :-1]
            fed = xd.mul_(k.to_end[i]) @ dends[i, 1:]
            dcf[i], dbf[i] = read.sum(3, keepdim=True), fed.sum(3, keepdim=True)
            reads[i] = read.mul_(cf[i]).sum(-1, keepdim=True)
            feeds[i] = fed.mul_(bf[i]).sum(-1, keepdim=True)
        dscores.mul_(k.seen)
        dcf += dscores @ bf
        dbf += dscores.mT @ cf
        # the decay of step q acts on all pairs with s < q <= l, on states read at l >= q, on what
        # s < q feeds to the next state, and on the state carried over the whole chunk
        carried = k.carry * (dends[:, 1:] * starts[:, :-1]).sum((-1, -2), keepdim=True)
        dlog = (inner + reads).flip(-2).cumsum(-2).flip(-2) + (feeds.cumsum(-2) - feeds) + carried
        ddt = _by_time(dxx + a.view(skip.shape) * dlog)[..., 0]
        da = (k.steps * dlog).sum((0, 1, 4, 5)).flatten()
        dd = dyx.sum((0, 1, 4, 5)).flatten()
        db, dc = (_by_time(t).to(b.dtype) for t in (dbf, dcf))
        dstate = dends[:, 0].flatten(1, 2) if ctx.needs_input_grad[8] else None
        return dx, ddt, da, db, dc, dd, None, None, dstate


@dataclass
class _Decays:
    """What the step sizes say, (B,c,G,R,Q,1) each."""

    steps: Tensor  # dt
    total: Tensor  # log decay since the start of the chunk, in double
    to_end: Tensor  # decay from a position to the end of its chunk
    from_start: Tensor  # decay from the end of the chunk before
    carry: Tensor  # decay over the whole chunk, (B,c,G,R,1,1)
    seen: Tensor  # 1 where position l may see position s, else 0: (B or 1,c or 1,1,1,Q,Q)


def _decays(
    dt: Tensor, a: Tensor, groups: int, docs: Tensor | None, before: Tensor | None
) -> _Decays:
    steps = _by_head(dt[..., None], groups).contiguous()
    # sums in double: differences of single ones lose all digits after a strong decay
    total = (steps * a.view(groups, -1, 1, 1)).to(_widest(dt.device)).cumsum(-2)
    to_end = (total[..., -1:, :] - total).float().exp_()
    from_start = total.float().exp_()
    carry = from_start[..., -1:, :].clone()
    seen = torch.ones(CHUNK, CHUNK, dtype=torch.bool, device=dt.device).tril()[None, None]
    if docs is not None and before is not None:
        own = docs.view(docs.shape[0], -1, CHUNK)
        last = own[..., -1:]
        prev = torch.cat([before[:, None], last[:, :-1]], 1)
        seen = seen & (own[..., :, None] == own[..., None, :])
        to_end *= (own == last)[:, :, None, None, :, None]
        from_start *= (own == prev)[:, :, None, None, :, None]
        carry *= (last == prev)[:, :, None, None, :, None]
    return _Decays(steps, total, to_end, from_start, carry, seen[:, :, None, None].float())


def _widest(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64


def _between(total: Tensor) -> Tensor:
    """Decay from position s to l, (...,Q,Q); 1 above the diagonal, where nothing may look."""
    return (total - total.mT).float().clamp_(max=0).exp_()


def _states(xh: Tensor, bf: Tensor, k: _Decays, state: Tensor | None) -> Tensor:
    """States before each chunk and after the last: (B,c+1,G,R,P,N)."""
    batch, count, groups, per, _, width = xh.shape
    shape = (batch, count + 1, groups, per, width, bf.shape[-1])
    starts = torch.empty(shape, device=xh.device)
    starts[:, 0] = 0 if state is None else state.unflatten(1, (groups, per))
    for i in _row_blocks(xh):
        starts[i, 1:] = _laid_out_mul(xh[i].float(), k.steps[i] * k.to_end[i]).mT @ bf[i]
    for j in range(count):
        starts[:, j + 1].addcmul_(starts[:, j], k.carry[:, j])
    return starts


def _state_gradients(dyh: Tensor, cf: Tensor, k: _Decays, dend: Tensor) -> Tensor:
    """Gradients of ``_states``'s result as everything later depends on it: (B,c+1,G,R,P,N)."""
    batch, count, groups, per, _, width = dyh.shape
    dstarts = torch.empty((batch, count + 1, groups, per, width, cf.shape[-1]), device=dyh.device)
    dstarts[:, -1] = dend.unflatten(1, (groups, per))
    for i in _row_blocks(dyh):
        dstarts[i, :-1] = _laid_out_mul(dyh[i], k.from_start[i]).mT @ cf[i]
    for j in reversed(range(count)):
        dstarts[:, j].addcmul_(dstarts[:, j + 1], k.carry[:, j])
    return dstarts


def _row_blocks(x: Tensor) -> Iterator[slice]:
    """Rows of the batch that fit the cache together; all of them where that is no matter."""
    size = x.shape[0]
    if x.device.type == "cpu" and not torch.compiler.is_compiling():
        size = block_rows(size, x[0].numel())
    return (slice(i, i + size) for i in range(0, x.shape[0], size))


def block_rows(rows: int, row_elements: int) -> int:
    """Rows of the batch that are worked on together on a CPU."""
    return min(rows, max(1, BLOCK_ELEMENTS // row_elements))


def _by_head(t: Tensor, groups: int) -> Tensor:
    """(B,T,H,P) -> a view (B,c,G,R,Q,P)."""
    batch, _, heads, width = t.shape
    return t.view(batch, -1, CHUNK, groups, heads // groups, width).permute(0, 1, 3, 4, 2, 5)


def _by_time(t: Tensor) -> Tensor:
    """The inverse of ``_by_head``: (B,c,G,R,Q,P) -> (B,T,H,P)."""
    batch, count, groups, per, size, width = t.shape
    return t.permute(0, 1, 4, 2, 3, 5).reshape(batch, count * size, groups * per, width)


def _by_group(t: Tensor) -> Tensor:
    """(B,T,G,N) -> (B,c,G,1,Q,N) float32, contiguous."""
    batch, _, groups, n = t.shape
    t = t.float().view(batch, -1, CHUNK, groups, n).transpose(2, 3)
    return t.contiguous()[:, :, :, None]


def _laid_out_mul(x: Tensor, y: Tensor) -> Tensor:
    """x * y laid out in the order of its dimensions, whatever the strides of x."""
    return torch.mul(x, y, out=torch.empty(x.shape, device=x.device))


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
    h = h.addcmul_((dt[:, 0, :, None] * xf)[..., None], bf[:, :, None])
    y = (h @ cf[..., None])[..., 0] + d[:, None] * xf
    return y[:, None], h
