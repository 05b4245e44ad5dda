"""The optimizer of a run: the one a recipe names, and beside it the tables' own.

No optimizer, built in or plugged in, has to know of tables with sparse gradients.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from yaongi.train.optim import OptimizerConfig
from yaongi.train.optim.groups import Role, members
from yaongi.train.optim.rowwise_adam import RowwiseAdam

TABLE_LR = 5.0
"""Engram's tables learn at this multiple of the learning rate (arXiv:2601.07372, table 5)."""


def build_optimizer(cfg: OptimizerConfig, model: nn.Module) -> torch.optim.Optimizer:
    """``cfg``'s optimizer for ``model``; tables, where there are any, get row-wise Adam."""
    optimizer = cfg.build(model)
    tables = [m.param for m in members(model) if m.role is Role.TABLE]
    if not tables:
        return optimizer
    ours = {id(p) for p in tables}
    for group in optimizer.param_groups:
        group["params"] = [p for p in group["params"] if id(p) not in ours]
    return Together([optimizer, RowwiseAdam(tables, lr=TABLE_LR * cfg.lr)])


def optimizer_metrics(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """What an optimizer has to say at a logged step: its ``metrics()``, where it has them."""
    tellers = [part.metrics for part in parts_of(optimizer) if isinstance(part, Telling)]
    return {name: value for metrics in tellers for name, value in metrics().items()}


def parts_of(optimizer: torch.optim.Optimizer) -> list[torch.optim.Optimizer]:
    """The optimizers that hold the states: those of a ``Together``, else the one itself."""
    return optimizer.parts if isinstance(optimizer, Together) else [optimizer]


@runtime_checkable
class Telling(Protocol):
    """An optimizer with numbers of its own to log."""

    def metrics(self) -> dict[str, float]: ...


class Together(torch.optim.Optimizer):
    """Several optimizers as one; their groups and states are these of the whole."""

    def __init__(self, parts: Sequence[torch.optim.Optimizer]) -> None:
        super().__init__([g for part in parts for g in part.param_groups], {})
        self.parts = list(parts)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of each."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.parts:
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        self.state = defaultdict(dict)
        for part in self.parts:
            self.state.update(part.state)
        return super().state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)  # makes new groups and states, which the parts then own
        groups = iter(self.param_groups)
        for part in self.parts:
            part.param_groups = [next(groups) for _ in part.param_groups]
            own = [p for group in part.param_groups for p in group["params"]]
            part.state = defaultdict(dict, {p: self.state[p] for p in own if p in self.state})
