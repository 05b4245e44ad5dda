"""The convolution through PyTorch's ``conv1d``; documents are cut by masking shifted copies."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def conv1d_reference(
    x: Tensor, weight: Tensor, bias: Tensor, doc_ids: Tensor | None = None
) -> Tensor:
    """See ``ops.conv1d.Conv1d``."""
    taps = weight.shape[1]
    w = weight.to(x.dtype)
    if doc_ids is None:
        y = F.conv1d(x.mT, w[:, None], groups=x.shape[2]).mT
    else:
        # (B,T,C,K): every output's own window, with the other documents' inputs zeroed
        windows = x.unfold(1, taps, 1)
        docs = doc_ids.unfold(1, taps, 1)
        same = docs == docs[..., -1:]
        y = torch.einsum("btck,ck->btc", windows * same[:, :, None].to(x.dtype), w)
    return F.silu(y + bias.to(x.dtype))
