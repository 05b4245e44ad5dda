"""What an adapter learns: a low-rank change of a matrix, or whole rows of an embedding.

``y = W x`` becomes ``y = W x + s B A x`` with A (r,in), B (out,r) learnt and W frozen (Hu et al.
2021, arXiv:2106.09685, equation 3); DoRA learns each row's length apart from its direction (Liu et
al. 2024, arXiv:2402.09353, equation 5). The modules that apply them are in ``model.adapted``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yaongi.model.layer import Exact


class LowRank(Exact):
    """A change ``scale * B A`` of a matrix (out,in), or of each in a stack (E,out,in).

    ``a`` (..., r, in) and ``b`` (..., out, r) are float32 whatever the model is; b starts at zero,
    so that nothing changes at first.
    """

    exact = ("a", "b")

    def __init__(self, shape: Sequence[int], rank: int, scale: float, dropout: float = 0.0) -> None:
        super().__init__()
        *stack, n_out, n_in = shape
        self.scale, self.dropout = scale, dropout
        self._gain: Tensor | None = None  # of a merged one
        self.a = nn.Parameter(torch.empty(*stack, rank, n_in))
        self.b = nn.Parameter(torch.zeros(*stack, n_out, rank))

    def delta(self) -> Tensor:
        """The change itself, (..., out, in) float32."""
        return self.scale * (self.b @ self.a)

    def add_to(self, y: Tensor, x: Tensor, gain: Tensor | None = None) -> Tensor:
        """``y + scale * B A dropout(x)``, B times ``gain``; the product B A is never made.

        Scaled where it is narrow, and added by the product itself: both are felt in small models.
        """
        x = F.dropout(x, self.dropout, self.training) if self.dropout else x
        a, b = (self.a * self.scale).to(x.dtype), self.b if gain is None else self.b * gain[:, None]
        narrow = F.linear(x, a).flatten(0, -2)
        return torch.addmm(y.flatten(0, -2), narrow, b.to(x.dtype).mT).view_as(y)

    def begin(self, weight: Tensor) -> None:
        """Fit what starts out as a function of the weight (..., out, in)."""

    def gain(self, weight: Tensor) -> Tensor | None:
        """By what each row of ``weight + delta`` is multiplied, (..., out); None for one."""
        return None

    def matrix(self, weight: Tensor) -> Tensor:
        """The weight with the change in it, float32."""
        changed, gain = weight.float() + self.delta(), self.gain(weight)
        return changed if gain is None else changed * gain[..., None]

    def changed(self, y: Tensor, x: Tensor, weight: Callable[[], Tensor]) -> Tensor:
        """What ``y = weight @ x``, without a bias, becomes: x (..., in), y (..., out)."""
        return self.add_to(y, x)

    @torch.no_grad()
    def merge_into(self, weight: Tensor) -> None:
        """Write the change into the weight, rounded to its dtype and nowhere before."""
        changed, self._gain = weight.double() + self.delta(), self.gain(weight)
        weight.copy_(changed if self._gain is None else changed * self._gain[..., None])

    @torch.no_grad()
    def take_from(self, weight: Tensor) -> None:
        """Undo ``merge_into``, up to rounding once more."""
        wide = weight.double()
        changed = wide if self._gain is None else wide / self._gain[..., None]
        weight.copy_(changed - self.delta())


class DoRA(LowRank):
    """``magnitude * (W + delta) / |W + delta|`` with the norms of rows, (..., out).

    The norm is a constant to the gradient (section 4.3 of the paper).
    """

    exact = ("a", "b", "magnitude")

    def __init__(self, shape: Sequence[int], rank: int, scale: float, dropout: float = 0.0) -> None:
        super().__init__(shape, rank, scale, dropout)
        self.magnitude = nn.Parameter(torch.ones(*shape[:-1]))

    @torch.no_grad()
    def begin(self, weight: Tensor) -> None:
        self.magnitude.copy_(_length(weight.float()))

    def gain(self, weight: Tensor) -> Tensor:
        with torch.no_grad():
            norm = _length(weight.float() + self.delta())
            norm = torch.where(norm > 0, norm, 1.0)  # a row of zeros stays one
        return self.magnitude / norm

    def changed(self, y: Tensor, x: Tensor, weight: Callable[[], Tensor]) -> Tensor:
        gain = self.gain(weight())
        return self.add_to(y * gain.to(y.dtype), x, gain)


def _length(matrix: Tensor) -> Tensor:
    """The norm of each row, (..., out, in) -> (..., out)."""
    return matrix.square().sum(-1).sqrt()


class TrainedRows(Exact):
    """Rows of an embedding that take the place of the frozen ones: values (n,D) of token ids."""

    exact = ("values",)
    ids: Tensor
    place: Tensor

    def __init__(self, ids: Sequence[int], size: int, width: int) -> None:
        super().__init__()
        place = torch.full((size,), -1)
        place[list(ids)] = torch.arange(len(ids))
        self.values = nn.Parameter(torch.empty(len(ids), width))
        self.register_buffer("ids", torch.tensor(ids), persistent=False)
        self.register_buffer("place", place, persistent=False)

    @torch.no_grad()
    def begin(self, weight: Tensor) -> None:
        """Start from the rows they replace."""
        self.values.copy_(weight[self.ids])

    def matrix(self, weight: Tensor) -> Tensor:
        """The table (V,D) with these rows in it."""
        return weight.index_copy(0, self.ids, self.values.to(weight.dtype))

    @torch.no_grad()
    def merge_into(self, weight: Tensor) -> None:
        """Write the rows into the table; those they replace are kept for ``take_from``."""
        self._before = weight[self.ids].clone()
        weight[self.ids] = self.values.to(weight.dtype)

    @torch.no_grad()
    def take_from(self, weight: Tensor) -> None:
        """Put back what was there before."""
        weight[self.ids] = self._before
