"""Keeps hand-written gradients in the number formats they chose.

Autocast would narrow the matrix products inside them, and a compiler traces a backward pass under
the autocast of its forward.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def no_autocast(method: Callable[..., Any]) -> Callable[..., Any]:
    """For ``forward`` and ``backward`` of an autograd function: run with autocast off."""

    @functools.wraps(method)
    def run(ctx: Any, *args: Any) -> Any:
        device = next(a.device.type for a in args if isinstance(a, Tensor))
        with torch.autocast(device, enabled=False):
            return method(ctx, *args)

    return run
