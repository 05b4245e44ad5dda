"""The experts of a single token, written for a compiler: it reads them where they lie.

Sorting tokens by expert is for many tokens; for one, the chosen experts' matrices times a vector
are sums of products that Inductor fuses with the choice, so that no matrix is copied.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F


def experts_one_token(
    x: Tensor,
    chosen: Tensor,
    weights: Tensor,
    up: Tensor,
    down: Tensor,
    gate: Tensor | None = None,
) -> Tensor:
    """See ``ops.moe.Experts``, with M = 1."""
    picked = chosen[0]
    h = (up[picked] * x).sum(-1)  # (k,F)
    h = h.relu().square() if gate is None else F.silu((gate[picked] * x).sum(-1)) * h
    h = h * weights[0, :, None].to(x.dtype)
    return (down[picked] * h[:, None]).sum(-1).sum(0, keepdim=True)


_check: Callable[[bool], None] = cast(Any, torch)._check
Products = Sequence[Callable[[Tensor], Tensor]]


def quantized_experts_one_token(
    x: Tensor,
    chosen: Tensor,
    weights: Tensor,
    up: Products,
    down: Products,
    gate: Products | None = None,
) -> Tensor:
    """The same with products (1,K) -> (1,N) by expert, one after the other.

    Args:
        x: (1,D).
        chosen, weights: (k,).
    Returns: (1,D).
    """
    total = torch.zeros_like(x)
    for scale, expert in zip(weights.unbind(), chosen.unbind(), strict=True):
        e = cast(int, expert.item())
        _check(e >= 0)
        _check(e < len(up))
        h = up[e](x)
        h = h.relu().square() if gate is None else F.silu(gate[e](x)) * h
        total = total + down[e](h * scale)
    return total
