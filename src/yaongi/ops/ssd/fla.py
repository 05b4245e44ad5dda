"""The scan by the Triton kernels of ``flash-linear-attention``: as gated linear attention.

Dao & Gu 2024, section 4: with q = C, k = B, v = dt x, log gate dt a and scale 1, "simple GLA" is
the scan, without groups and skip. Products are in x's dtype with float32 sums.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from yaongi.ops.backend import Imported, opaque
from yaongi.ops.documents import document_starts

CHUNK_SIMPLE_GLA = Imported("flash-linear-attention", "fla.ops.simple_gla", "chunk_simple_gla")


def _ssd(
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
    per = x.shape[2] // b.shape[2]
    q, k = (t.repeat_interleave(per, 2) for t in (c, b))
    v, g = (x * dt[..., None]).to(x.dtype), dt * a
    if doc_ids is None:
        before = None if state is None else state.mT.contiguous()
        y, after = CHUNK_SIMPLE_GLA(
            q, k, v, g, scale=1.0, initial_state=before, output_final_state=True
        )
    else:
        y, after = _packed(q, k, v, g, doc_ids, state)
    return torch.addcmul(y.float(), x.float(), d[:, None]).to(x.dtype), after.mT


def _packed(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, doc_ids: Tensor, state: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Documents as sequences of one long row, which is how the kernel resets its state."""
    own = doc_ids if state is None else doc_ids[:, 1:]
    starts = document_starts(own)
    offsets = F.pad(starts.flatten().nonzero()[:, 0], (0, 1), value=own.numel())
    ends = starts.sum(1).cumsum(0)  # sequences up to the end of each row
    before = None
    if state is not None:
        same = (doc_ids[:, 0] == doc_ids[:, 1])[:, None, None, None]
        before = torch.zeros(len(offsets) - 1, *state.mT.shape[1:], device=state.device)
        before = before.index_copy(0, ends - starts.sum(1), state.mT * same)
    y, after = CHUNK_SIMPLE_GLA(
        *(t.flatten(0, 1)[None] for t in (q, k, v, g)),
        scale=1.0,
        initial_state=before,
        output_final_state=True,
        cu_seqlens=offsets,
    )
    return y.view(*own.shape, *v.shape[2:]), after[ends - 1]


# a compiler cannot see into the kernels' launches, nor know the number of documents
ssd_fla = opaque(_ssd)
