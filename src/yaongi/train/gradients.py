"""Gradients of a step before the optimizer sees them: merged where sparse, measured, clipped."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


@torch.no_grad()
def merge_sparse(parameters: Iterable[nn.Parameter]) -> None:
    """Add up the entries of each sparse gradient that mean the same row.

    Done after every micro-batch, or a step would hold the rows of each of them side by side.
    """
    for p in parameters:
        if p.grad is not None and p.grad.is_sparse:
            p.grad = p.grad.coalesce()


@torch.no_grad()
def clip_gradients(parameters: Iterable[nn.Parameter], limit: float) -> float:
    """Scale all gradients so that their norm, taken together, is at most ``limit``.

    torch's ``clip_grad_norm_`` (Pascanu et al. 2013, arXiv:1211.5063), which knows no sparse
    gradients: of one that is merged, the stored rows are all that is not zero.

    Returns: the norm before clipping; not finite if any gradient is not.
    """
    grads = [g.values() if g.is_sparse else g for p in parameters if (g := p.grad) is not None]
    norm = torch.nn.utils.get_total_norm(grads)
    factor = (limit / (norm + 1e-6)).clamp(max=1.0)
    by_device: dict[torch.device, list[Tensor]] = {}
    for grad in grads:
        by_device.setdefault(grad.device, []).append(grad)
    for device, there in by_device.items():  # all in one launch, as torch's own clipping does
        torch._foreach_mul_(there, factor.to(device))  # pyright: ignore[reportPrivateImportUsage]
    return float(norm)
