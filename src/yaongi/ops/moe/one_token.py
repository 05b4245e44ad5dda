"""The experts of a single token, written for a compiler: it reads them where they lie.

Sorting tokens by expert is for many tokens; for one, the chosen experts' matrices times a vector
are sums of products that Inductor fuses with the choice, so that no matrix is copied.
"""

from __future__ import annotations

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
