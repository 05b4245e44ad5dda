"""Staged freezing: which weights may change at each step, down to single rows of the embeddings.

EEVE (Kim et al. 2024, arXiv:2402.14714, figure 3) lets the rows of new tokens learn first, then
more and more of the model, so that a fresh vocabulary does not damage what the model knows. Stages
are data; what is frozen stays as it was to the last bit, whatever the optimizer, its momentum and
its weight decay would do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple, cast

import torch
from pydantic import AfterValidator, Field
from torch import Tensor, nn

from yaongi.core.config import Config
from yaongi.core.errors import ConfigError
from yaongi.model.lm import LM
from yaongi.train.optim.build import parts_of

Part = Literal["new-in", "new-out", "embeddings", "head", "layers", "all"]
"""What a stage can train: the new tokens' rows of the embedding (new-in) or of the unembedding
(new-out), all rows of either, the layers with their norms, or everything. In a model with tied
embeddings both are one matrix, so new-in is new-out and embeddings is head."""

EVERYTHING: tuple[Part, ...] = ("embeddings", "head", "layers")


class Stage(Config):
    """A share of the run's steps, and what learns during it."""

    share: Annotated[float, Field(gt=0, le=1)]
    train: Annotated[tuple[Part, ...], Field(min_length=1)]


def _whole(stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    total = sum(stage.share for stage in stages)
    if stages and not math.isclose(total, 1, abs_tol=1e-6):
        raise ConfigError("the shares of the stages add up to {total:g}, not to 1", total=total)
    return stages


Stages = Annotated[tuple[Stage, ...], AfterValidator(_whole)]
"""The stages of a run in order; none: everything learns all the time."""


def stage_at(stages: Sequence[Stage], step: int, steps: int) -> int:
    """The number of the stage that the update ``step`` (from 0) of ``steps`` belongs to."""
    reached = 0.0
    for number, stage in enumerate(stages):
        reached += stage.share
        if step < round(reached * steps):
            return number
    return len(stages) - 1


class Masked(NamedTuple):
    """A parameter of which only ``rows`` may change."""

    param: nn.Parameter
    rows: slice

    @property
    def fixed(self) -> tuple[slice, slice]:
        """The rows before and behind."""
        return slice(0, self.rows.start), slice(self.rows.stop, len(self.param))


class Freezing:
    """Freezes what a stage does not train; a pure function of the step, so it has nothing to save.

    A parameter that is frozen whole gets no gradient. Of one that is frozen in part the gradient's
    other rows are zeroed before they count in the norm, and the rows of weight and optimizer state
    are put back behind the optimizer, which may decay, average or normalise as it likes.

    Args:
        new_rows: the rows of tokens the model did not have before; None when there are none.
    Raises:
        ConfigError: a stage trains new rows and there are none.
    """

    def __init__(self, model: LM, stages: Sequence[Stage], new_rows: slice | None = None) -> None:
        asked = {part for stage in stages for part in stage.train}
        if new_rows is None and (first := sorted(asked & {"new-in", "new-out"})):
            raise ConfigError(
                "A stage trains '{part}', but no tokens are new: give a vocabulary that extends "
                "the model's, or leave that stage out.",
                part=first[0],
            )
        self.model, self.stages, self.new_rows = model, tuple(stages), new_rows
        self._now: int | None = None
        self._masked: list[Masked] = []
        self._hooks: list[Any] = []
        self._kept: list[tuple[Tensor | tuple[dict[str, Any], str], slice, Tensor]] = []

    def attach(self, optimizer: torch.optim.Optimizer) -> None:
        """Guard the frozen rows in every step of ``optimizer``."""
        self._optimizer = optimizer
        optimizer.register_step_pre_hook(self._keep)
        optimizer.register_step_post_hook(self._put_back)

    def release(self) -> None:
        """Let everything learn, as an optimizer that is built now has to see it."""
        self._enter(dict.fromkeys(self.model.parameters(), slice(None)))
        self._now = None

    def prepare(self, step: int, steps: int) -> None:
        """Freeze for the update ``step`` (from 0) of ``steps``."""
        if self.stages and (number := stage_at(self.stages, step, steps)) != self._now:
            self._enter(self.learning(self.stages[number].train))
            self._now = number

    def learning(self, parts: Sequence[Part]) -> dict[nn.Parameter, slice]:
        """The parameters these parts train, with the rows that may change."""
        wanted = set(EVERYTHING if "all" in parts else parts)
        found: dict[nn.Parameter, slice] = {}
        ends = {
            "embeddings": ("new-in", self.model.embeddings.weight),
            "head": ("new-out", cast(nn.Parameter, self.model.head_weight)),
        }
        for whole, (new, param) in ends.items():
            if whole in wanted:
                found[param] = slice(None)
            elif new in wanted and self.new_rows is not None:
                found.setdefault(param, self.new_rows)
        if "layers" in wanted:
            outer = {id(param) for _, param in ends.values()}
            inner = (p for p in self.model.parameters() if id(p) not in outer)
            found |= dict.fromkeys(inner, slice(None))
        return found

    def _enter(self, learning: dict[nn.Parameter, slice]) -> None:
        for hook in self._hooks:
            hook.remove()
        for param in self.model.parameters():
            param.requires_grad_(param in learning)
        self._masked = [Masked(p, rows) for p, rows in learning.items() if rows != slice(None)]
        self._hooks = [m.param.register_post_accumulate_grad_hook(_zero(m)) for m in self._masked]

    def _keep(self, *_: Any) -> None:
        """Remember the frozen rows, of the weights and of whatever state has as many rows."""
        self._kept = []
        for masked in self._masked:
            for rows in masked.fixed:
                self._kept.append((masked.param, rows, masked.param.detach()[rows].clone()))
                for state in self._states(masked.param):
                    self._kept += [
                        ((state, key), rows, value[rows].clone())
                        for key, value in state.items()
                        if _has_rows(value, len(masked.param))
                    ]

    @torch.no_grad()
    def _put_back(self, *_: Any) -> None:
        for place, rows, value in self._kept:
            tensor = place if isinstance(place, Tensor) else place[0][place[1]]
            tensor[rows] = value
        self._kept = []

    def _states(self, param: nn.Parameter) -> list[dict[str, Any]]:
        return [part.state[param] for part in parts_of(self._optimizer) if param in part.state]


def _has_rows(value: Any, rows: int) -> bool:
    return isinstance(value, Tensor) and value.dim() > 0 and len(value) == rows


def _zero(masked: Masked) -> Any:
    """A hook that leaves a gradient only where its parameter may change."""

    def hook(param: Tensor) -> None:
        if param.grad is not None:
            for rows in masked.fixed:
                param.grad[rows] = 0

    return hook
