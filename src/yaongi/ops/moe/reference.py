"""Every expert over every token, the unchosen ones weighted zero: slow and plain."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def experts_reference(
    x: Tensor,
    chosen: Tensor,
    weights: Tensor,
    up: Tensor,
    down: Tensor,
    gate: Tensor | None = None,
) -> Tensor:
    """See ``ops.moe.Experts``."""
    share = torch.zeros(x.shape[0], up.shape[0], device=x.device)
    share = share.scatter(1, chosen, weights.float())
    h = torch.einsum("md,efd->emf", x, up.to(x.dtype))
    if gate is None:
        h = F.relu(h).square()
    else:
        h = F.silu(torch.einsum("md,efd->emf", x, gate.to(x.dtype))) * h
    y = torch.einsum("emf,edf->emd", h, down.to(x.dtype))
    return torch.einsum("emd,me->md", y.float(), share).to(x.dtype)
