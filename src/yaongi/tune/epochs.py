"""A budget in passes over examples that share rows: conversations, or pairs of answers."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Protocol

from pydantic import Field

from yaongi.train.run import TrainConfig


class Rows(Protocol):
    """Packed examples."""

    batch_rows: int

    @property
    def rows_per_epoch(self) -> int: ...


class EpochsConfig(TrainConfig):
    """Settings of every training from packed examples.

    Attributes:
        epochs: the budget as passes over the examples, instead of steps, tokens or minutes;
            ``DEFAULT_EPOCHS`` of them when none of these is given.
        domains: which domains of the examples; None takes all.
        truncate: cut what is longer than seq_len at its end instead of leaving it out.
    """

    DEFAULT_EPOCHS: ClassVar[float]

    epochs: Annotated[float, Field(gt=0)] | None = None
    domains: tuple[str, ...] | None = None
    truncate: bool = False

    def steps_of(self, batches: Rows) -> int | None:
        """The number of steps, where the budget is in epochs."""
        if any(budget is not None for budget in (self.steps, self.tokens, self.minutes)):
            return None
        rows = (self.epochs or self.DEFAULT_EPOCHS) * batches.rows_per_epoch
        return max(1, math.ceil(rows / batches.batch_rows))
