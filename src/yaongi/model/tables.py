"""Large tables of which a pass reads few rows: sparse gradients, and a place in host memory.

The lookup is split in two, because the rows are known as soon as the token ids are: ``Recall``
begins it before the first layer and hands the rows over where they are needed.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class NgramTable(nn.Module):
    """Rows (R,W) that never see a dense gradient; they may stay in host memory.

    Attributes:
        on_host: keep the rows on the CPU wherever the model goes; see ``Recall``.
    """

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(rows, width))
        self.on_host = False

    def parameter_roles(self) -> dict[str, str]:
        """For optimizers: its gradient is sparse, see ``train.optim.rowwise_adam``."""
        return {"weight": "table"}

    def __len__(self) -> int:
        return len(self.weight)

    def read(self, unique: Tensor) -> Tensor:
        """Rows by number, (n,) -> (n,W)."""
        return self.weight[unique]

    def keep_on_host(self) -> None:
        """From now on only the dtype follows the model."""
        self.on_host = True
        self.weight.data = self.weight.data.cpu()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> NgramTable:
        def dtype_only(t: Tensor) -> Tensor:
            return t.to(fn(torch.empty(0, dtype=t.dtype, device=t.device)).dtype)

        stays = self.on_host and not self.weight.is_meta
        super()._apply(dtype_only if stays else fn, recurse)  # pyright: ignore[reportUnknownMemberType]
        return self


class Uploaded(NamedTuple):
    """Rows on their way to a device; ``arrived`` is an event, or None if they are there."""

    rows: Tensor
    arrived: Any


class Recall:
    """A lookup under way: begun when the token ids are known, long before its layer runs.

    Rows of a table in host memory are gathered by a thread of their own and copied on a stream of
    their own, while the device works on the layers before.
    """

    def __init__(self, table: NgramTable, rows: Tensor, dtype: torch.dtype) -> None:
        self.table, self.dtype = table, dtype
        # every row once: no row crosses the bus twice, and the gradient is as small as can be
        unique, places = _unique(rows, return_inverse=True)
        self.unique: Tensor = unique
        self.places: Tensor = places
        weight = table.weight.detach()
        self.coming: Future[Uploaded] | None = None
        if table.on_host:
            self.coming = _gatherer().submit(_gather, weight, self.unique.cpu(), rows.device)

    def wait(self) -> Tensor:
        """(B,T,d_memory)."""
        rows = _read_rows(self.table.weight, self.unique, self._found)
        return F.embedding(self.places, rows).flatten(-2).to(self.dtype)

    def _found(self) -> Tensor:
        if self.coming is None:
            return self.table.read(self.unique)
        rows, arrived = self.coming.result()
        if arrived is not None:
            stream = torch.cuda.current_stream(rows.device)
            stream.wait_event(arrived)
            rows.record_stream(stream)
        return rows


class _ReadRows(torch.autograd.Function):
    """``table[unique]`` with a sparse gradient of just these rows, wherever the table lies."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, unique: Tensor, found: Callable[[], Tensor]) -> Tensor:
        ctx.save_for_backward(unique)
        ctx.like = table.shape, table.dtype, table.device
        return found()

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        shape, dtype, device = ctx.like
        (unique,) = ctx.saved_tensors
        rows, values = unique.to(device)[None], grads[0].to(device, dtype)
        # sorted and without repetition, as torch.unique leaves them
        grad = _sparse(rows, values, shape, check_invariants=False, is_coalesced=True)
        return grad, None, None


# torch's own annotations of these are incomplete
_read_rows: Callable[..., Tensor] = cast(Any, _ReadRows).apply
_unique: Any = cast(Any, torch).unique
_sparse: Any = cast(Any, torch).sparse_coo_tensor


@functools.cache
def _gatherer() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, "engram")


if hasattr(os, "register_at_fork"):  # a forked child has no threads but its own
    os.register_at_fork(after_in_child=_gatherer.cache_clear)


def _gather(weight: Tensor, unique: Tensor, device: torch.device) -> Uploaded:
    """Copy rows of a host table to ``device``; from pinned memory, which needs no waiting."""
    pinned = device.type == "cuda"
    with torch.no_grad():
        rows = torch.empty(len(unique), weight.shape[1], dtype=weight.dtype, pin_memory=pinned)
        torch.index_select(weight, 0, unique, out=rows)
        if not pinned:
            return Uploaded(rows.to(device), None)
        side = torch.cuda.Stream(device)
        with torch.cuda.stream(side):
            moved = rows.to(device, non_blocking=True)
        return Uploaded(moved, side.record_event())
