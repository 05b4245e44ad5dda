"""Which runs a study needs: sweep the learning rate on one seed, then repeat its best on three.

Pure functions of what has been finished, so that an interrupted study goes on where it stopped.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

LEARNING_RATES = (4e-3, 8e-3, 1.6e-2)
WIDENINGS = 2
"""So often a sweep is widened by another factor of two while its best rate is at an edge."""
SEEDS = (0, 1, 2)
HALF = 0.5


class Arm(NamedTuple):
    """One thing compared: names of a model and of an optimizer."""

    model: str
    optimizer: str


class Run(NamedTuple):
    """One training run; ``share`` of the study's tokens, with its whole schedule."""

    arm: Arm
    lr: float
    seed: int = SEEDS[0]
    share: float = 1.0


@dataclass(frozen=True)
class Study:
    """A question and the arms that answer it, by label.

    Attributes:
        arms: the first is what the others are compared with.
        halves: labels also trained half as long.
    """

    question: str
    arms: dict[str, Arm]
    halves: tuple[str, ...] = ()

    @property
    def baseline(self) -> str:
        """The label the others are compared with."""
        return next(iter(self.arms))


@dataclass(frozen=True)
class Result:
    """What is kept of a finished run.

    Attributes:
        val_bpb: at the end, mean over domains by their share of the mix; None if it diverged.
        curve: (tokens seen, val_bpb) at each evaluation.
        step_s: median wall time of an optimizer step.
        cpu_s: of the whole run, evaluation included.
        optimizer_bytes: of the optimizer's state.
    """

    tokens: int
    steps: int
    cpu_s: float
    val_bpb: float | None
    by_domain: dict[str, float] = field(default_factory=dict)
    curve: list[tuple[int, float]] = field(default_factory=list)
    step_s: float = 0.0
    optimizer_bytes: int = 0
    params_total: int = 0
    params_active: int = 0


Look = Callable[[Run], Result | None]
"""The result of a run, or None while it is not finished."""


def bpb(result: Result) -> float:
    """The final ``val_bpb``; infinite for a run that diverged."""
    return math.inf if result.val_bpb is None else result.val_bpb


def sweep(arm: Arm, look: Look) -> list[Run]:
    """One run per learning rate, widened while the best of the finished ones is at an edge."""
    rates = list(LEARNING_RATES)
    for _ in range(WIDENINGS):
        found = {lr: look(Run(arm, lr)) for lr in rates}
        scores = {lr: bpb(result) for lr, result in found.items() if result is not None}
        if len(scores) < len(rates):
            break
        best = min(scores, key=lambda lr: scores[lr])
        if min(rates) < best < max(rates):
            break
        rates.append(best / 2 if best == min(rates) else best * 2)
    return [Run(arm, lr) for lr in rates]


def best_rate(arm: Arm, look: Look) -> float | None:
    """The learning rate of the lowest ``val_bpb``; None while the sweep is unfinished."""
    results = [(run.lr, look(run)) for run in sweep(arm, look)]
    scores = {lr: bpb(result) for lr, result in results if result is not None}
    return None if len(scores) < len(results) else min(scores, key=lambda lr: scores[lr])


def repeats(arm: Arm, lr: float, share: float = 1.0) -> list[Run]:
    """The runs of an arm that its interval is made of."""
    return [Run(arm, lr, seed, share) for seed in SEEDS]


def runs_of(study: Study, look: Look, *, guess: bool = False) -> list[Run]:
    """Every run of a study that is known to be needed, finished or not.

    Args:
        guess: where a sweep is unfinished, stand in its middle rate for the best, to see how
            many runs there will be.
    """
    runs: list[Run] = []
    for label, arm in study.arms.items():
        runs += sweep(arm, look)
        lr = best_rate(arm, look)
        if lr is None and guess:
            lr = LEARNING_RATES[len(LEARNING_RATES) // 2]
        if lr is not None:
            runs += repeats(arm, lr)
            runs += repeats(arm, lr, HALF) if label in study.halves else []
    return list(dict.fromkeys(runs))


def missing(studies: list[Study], look: Look, *, guess: bool = False) -> list[Run]:
    """What is left to run, in order; arms that studies share are run once."""
    runs = [run for study in studies for run in runs_of(study, look, guess=guess)]
    return [run for run in dict.fromkeys(runs) if look(run) is None]
