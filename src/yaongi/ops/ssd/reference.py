"""The recurrence one step at a time: the definition the chunked form is tested against."""

from __future__ import annotations

import torch
from torch import Tensor


def ssd_reference(
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
    batch, length, heads, width = x.shape
    xf = x.float()
    b, c = (t.float().repeat_interleave(heads // b.shape[2], 2) for t in (b, c))
    h = xf.new_zeros(batch, heads, width, b.shape[-1]) if state is None else state
    docs = doc_ids
    if docs is not None and state is None:
        docs = torch.cat([docs[:, :1], docs], 1)
    outputs: list[Tensor] = []
    for t in range(length):
        if docs is not None:
            h = h * (docs[:, t] == docs[:, t + 1])[:, None, None, None]
        decay = torch.exp(dt[:, t] * a)[..., None, None]
        h = h * decay + (dt[:, t, :, None] * xf[:, t])[..., None] * b[:, t, :, None]
        outputs.append((h * c[:, t, :, None]).sum(-1) + d[:, None] * xf[:, t])
    return torch.stack(outputs, 1).to(x.dtype), h
