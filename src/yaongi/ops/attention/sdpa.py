"""Attention by PyTorch's ``scaled_dot_product_attention``."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def attention_sdpa(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
    """See ``ops.attention.Attention``."""
    batch, heads, length, width = q.shape
    if length == 1 and mask is None:
        # one token sees every key: the heads of a group are as good as that many tokens, and
        # their keys are read once instead of once per head
        folded = q.reshape(batch, k.shape[1], -1, width)
        return F.scaled_dot_product_attention(folded, k, v).view(batch, heads, 1, width)
    return F.scaled_dot_product_attention(
        q,
        k,
        v,
        attn_mask=mask,
        is_causal=causal and mask is None,
        enable_gqa=q.shape[1] != k.shape[1],
    )
