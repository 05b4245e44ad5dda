"""Learning-rate schedules as pure functions of (step, total steps).

WSD (warmup, stable, decay) after MiniCPM (arXiv:2404.06395) with the 1-sqrt cooldown of Hägele et
al. 2024 (arXiv:2405.18392); cosine after Loshchilov & Hutter 2017 (arXiv:1608.03983).
"""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field, model_validator

from yaongi.core.config import Config, Registry
from yaongi.core.errors import ConfigError

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class ScheduleConfig(Config):
    """What multiplies every learning rate of the optimizer.

    Fractions are of the run's total steps, so that one recipe serves any budget.
    """

    kind: str = "wsd"
    warmup_fraction: Fraction = 0.02
    final: Fraction = 0.01

    def multiplier(self, step: int, total_steps: int) -> float:
        """The factor for the update numbered ``step`` (from 0)."""
        raise NotImplementedError

    def open_until(self, total_steps: int) -> int:
        """Steps after which ``total_steps`` begins to matter; until then it may still change."""
        return 0

    def warmup(self, step: int, total_steps: int) -> float:
        """Linear rise to 1; never 0, or the first update would be wasted."""
        return min(1.0, (step + 1) / (self.warmup_fraction * total_steps + 1))


class WSD(ScheduleConfig):
    """Warm up, hold, and decay at the end as 1 - sqrt of the decay's progress."""

    kind: str = "wsd"
    decay_fraction: Fraction = 0.2

    @model_validator(mode="after")
    def _fits(self) -> WSD:
        if self.warmup_fraction + self.decay_fraction > 1:
            raise ConfigError("warmup_fraction + decay_fraction is more than the whole run")
        return self

    def open_until(self, total_steps: int) -> int:
        return int((1 - self.decay_fraction) * total_steps)

    def multiplier(self, step: int, total_steps: int) -> float:
        decay_steps = self.decay_fraction * total_steps
        into_decay = step + 1 - (total_steps - decay_steps)
        if into_decay <= 0:
            return self.warmup(step, total_steps)
        return 1 - (1 - self.final) * math.sqrt(into_decay / decay_steps)


class Cosine(ScheduleConfig):
    """Warm up, then half a cosine down to ``final``."""

    kind: str = "cosine"

    def multiplier(self, step: int, total_steps: int) -> float:
        warmup_steps = self.warmup_fraction * total_steps
        if step < warmup_steps:
            return self.warmup(step, total_steps)
        progress = (step - warmup_steps) / max(1.0, total_steps - 1 - warmup_steps)
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * min(1.0, progress))) / 2


SCHEDULES = Registry(
    "schedule",
    ScheduleConfig,
    {"wsd": "yaongi.train.schedule:WSD", "cosine": "yaongi.train.schedule:Cosine"},
)
ScheduleChoice = Annotated[ScheduleConfig, SCHEDULES.field()]
