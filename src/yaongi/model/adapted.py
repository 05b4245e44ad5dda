"""The modules that apply adapters: each wraps a frozen one, and several share it by name.

What is learnt is in ``model.lowrank``; ``model.lora`` puts both into a model.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yaongi.core.errors import ConfigError, ShapeError
from yaongi.model.int8 import Int8Experts, Int8Linear, made_anew
from yaongi.model.layer import Embedding, Linear
from yaongi.model.lowrank import LowRank
from yaongi.model.moe import ExpertWeights, run_experts
from yaongi.ops.moe import Experts

BASE = "base"
"""The name that means no adapter at all."""


class Selection:
    """Which adapter the rows of a batch use; one object for all wrappers of a model.

    Attributes:
        now: one name for all rows, or a name for each.
    """

    def __init__(self) -> None:
        self.now: str | tuple[str, ...] = BASE

    def parts(self, rows: int) -> Iterator[tuple[str, Tensor | None]]:
        """The adapters in use, each with the numbers of its rows, or None for all of them.

        Raises:
            ShapeError: another number of rows than names.
        """
        if isinstance(self.now, str):
            if self.now != BASE:
                yield self.now, None
            return
        if len(self.now) != rows:
            raise ShapeError(
                "{names} adapters were named for the rows of a batch of {rows}.",
                names=len(self.now),
                rows=rows,
            )
        for name in dict.fromkeys(self.now):
            if name != BASE:
                yield name, torch.tensor([i for i, n in enumerate(self.now) if n == name])

    def names(self) -> set[str]:
        """All that are in use, ``base`` among them where a row has none."""
        return {self.now} if isinstance(self.now, str) else set(self.now)

    def only(self, name: str) -> bool:
        """Whether every row uses ``name``."""
        return self.names() == {name}

    def one(self) -> str:
        """The adapter of all rows. Raises ShapeError when they differ."""
        names = self.names()
        if len(names) != 1:
            raise ShapeError(
                "The rows use different adapters ({names}), so there is no one matrix to give: "
                "ask for logits instead.",
                names=", ".join(sorted(names)),
            )
        return names.pop()


class Wrapper(nn.Module):
    """A frozen module with adapters by name; the adapters in use follow ``selection``."""

    adapters: nn.ModuleDict

    def __init__(self, base: nn.Module, selection: Selection) -> None:
        super().__init__()
        self.base = base
        self.selection = selection
        self.adapters = nn.ModuleDict()
        self.merged: str | None = None

    def parts(self, x: Tensor) -> Iterator[tuple[Any, Tensor | None]]:
        """The adapters to apply to the batch ``x`` here, each with the rows it is for.

        Raises:
            ConfigError: one is merged into the weights, and another (or none) is to be used.
        """
        if self.merged is not None and not self.selection.only(self.merged):
            raise ConfigError(
                "The adapter '{name}' is merged into the weights: unmerge it before using others, "
                "or the base alone.",
                name=self.merged,
            )
        for name, rows in self.selection.parts(len(x)):
            if name in self.adapters and self.merged is None:
                yield self.adapters[name], None if rows is None else rows.to(x.device)

    def chosen(self) -> Any:
        """The one adapter for all rows, or None."""
        name = self.selection.one()
        return self.adapters[name] if name in self.adapters and self.merged is None else None


class AdaptedLinear(Wrapper):
    """A ``Linear`` (or one in 8 bits) with adapters."""

    base: Linear | Int8Linear

    @property
    def weight(self) -> Tensor:
        """The frozen weight."""
        return self.base.matrix()

    def matrix(self) -> Tensor:
        """The weight as it multiplies all rows, (out,in)."""
        adapter, weight = self.chosen(), self.base.matrix()
        return weight if adapter is None else adapter.matrix(weight)

    def forward(self, x: Tensor) -> Tensor:
        y, bias = self.base(x), self.base.bias
        for adapter, rows in self.parts(x):
            own, plain = (x, y) if rows is None else (x[rows], y[rows])
            shift = None if bias is None else bias.to(y.dtype)
            plain = plain if shift is None else plain - shift
            made = adapter.changed(plain, own, self.base.matrix)
            made = made if shift is None else made + shift
            y = made if rows is None else y.index_copy(0, rows, made)
        return y


class AdaptedExperts(Wrapper):
    """A bank of experts; an adapter is a low-rank change for each of some of its stacks.

    Experts see sorted tokens between two products, so their matrices are made with the change in
    them, a layer at a time; rows of different adapters go through the bank one after another.
    """

    base: ExpertWeights | Int8Experts

    def forward(self, kernel: Experts, x: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
        parts = list(self.parts(x))
        if parts and parts[0][1] is None:  # one for all rows
            return self._changed(parts[0][0], kernel, x, chosen, weights)
        y: Tensor = self.base(kernel, x, chosen, weights)
        for adapter, rows in parts:
            own = self._changed(adapter, kernel, x[rows], chosen[rows], weights[rows])
            y = y.index_copy(0, cast(Tensor, rows), own)
        return y

    def _changed(
        self, adapter: nn.ModuleDict, kernel: Experts, x: Tensor, chosen: Tensor, weights: Tensor
    ) -> Tensor:
        def run(x: Tensor, weights: Tensor) -> Tensor:
            return run_experts(kernel, x, chosen, weights, self.matrices(adapter))

        return made_anew(run, x, weights)

    def matrices(self, adapter: nn.ModuleDict) -> dict[str, Tensor]:
        """The stacks as they multiply with ``adapter``, by name."""
        changes = cast("dict[str, LowRank]", dict(adapter.items()))
        return {
            name: changes[name].matrix(weight) if name in changes else weight
            for name, weight in self.base.matrices().items()
        }


class AdaptedEmbedding(Wrapper):
    """An embedding some of whose rows are trained; where it unembeds too, it does so with them."""

    base: Embedding

    @property
    def weight(self) -> Tensor:
        """The frozen table."""
        return self.base.weight

    def matrix(self) -> Tensor:
        """The table (V,D) that all rows of the batch are looked up in."""
        adapter = self.chosen()
        return self.base.weight if adapter is None else adapter.matrix(self.base.weight)

    def forward(self, ids: Tensor) -> Tensor:
        y = self.base(ids)
        for adapter, rows in self.parts(ids):
            own, plain = (ids, y) if rows is None else (ids[rows], y[rows])
            place = adapter.place[own]
            trained = F.embedding(place.clamp(min=0), adapter.values.to(y.dtype))
            found = torch.where((place >= 0)[..., None], trained, plain)
            y = found if rows is None else y.index_copy(0, rows, found)
        return y

    def unembed(self, x: Tensor) -> Tensor:
        """(B,T,D) -> (B,T,V) in x's dtype."""
        y = self.base.unembed(x)
        for adapter, rows in self.parts(x):
            own, plain = (x, y) if rows is None else (x[rows], y[rows])
            scores = F.linear(own, adapter.values.to(x.dtype))
            found = plain.index_copy(-1, adapter.ids, scores)
            y = found if rows is None else y.index_copy(0, rows, found)
        return y
