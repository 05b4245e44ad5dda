"""Attention by PyTorch's ``scaled_dot_product_attention``."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def attention_sdpa(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
    """See ``ops.attention.Attention``."""
    return F.scaled_dot_product_attention(
        q,
        k,
        v,
        attn_mask=mask,
        is_causal=causal and mask is None,
        enable_gqa=q.shape[1] != k.shape[1],
    )
