"""The convolution as a sum of shifted multiplies."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from yaongi.ops.activation import steady


def conv1d_taps(x: Tensor, weight: Tensor, bias: Tensor, doc_ids: Tensor | None = None) -> Tensor:
    """See ``ops.conv1d.Conv1d``."""
    taps = weight.shape[1]
    length = x.shape[1] - taps + 1
    w = weight.to(x.dtype)
    y = x[:, taps - 1 :] * w[:, -1] + bias.to(x.dtype)
    for j in range(taps - 1):
        part = x[:, j : j + length] * w[:, j]
        if doc_ids is not None:
            same = doc_ids[:, j : j + length] == doc_ids[:, taps - 1 :]
            part = part * same[..., None].to(x.dtype)
        y = y + part
    return steady(F.silu, y)
