"""The training loop as a generator of steps; the caller owns logging, evaluation and saving.

One loop for pretraining, fine-tuning and distillation, which differ in batches and objective
(the generator form is Levanter's).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Protocol

import torch
from pydantic import Field
from torch import Tensor

from yaongi.core.config import Config
from yaongi.core.errors import DataError, NumericsError
from yaongi.model.lm import LM
from yaongi.train.gradients import clip_gradients, merge_sparse
from yaongi.train.objectives import NumpyBatch, Objective, to_device
from yaongi.train.precision import Precision
from yaongi.train.schedule import WSD, ScheduleChoice

MIN_LOSS_SCALE = 1.0
"""A float16 run whose loss scale falls below this is diverging, not merely overflowing."""


class LoopConfig(Config):
    """Settings of one optimizer step.

    Attributes:
        micro_batch: rows per forward pass; None takes the whole batch at once. Changes memory
            and speed, not the loss.
        clip: largest norm of all gradients together.
    """

    schedule: ScheduleChoice = Field(default_factory=WSD)
    micro_batch: Annotated[int, Field(gt=0)] | None = None
    clip: Annotated[float, Field(gt=0)] = 1.0


class Batches(Protocol):
    """A source of batches: the batch of a step is a pure function of its number."""

    def batch(self, step: int) -> Any: ...


@dataclass(frozen=True)
class Step:
    """A finished optimizer step.

    Attributes:
        index: steps finished, this one included.
        total: steps of the whole run.
        seconds: wall time of this step.
        metrics: numbers to log besides the loss.
        batch: the batch it trained on.
    """

    index: int
    total: int
    loss: float
    tokens: int
    seconds: float
    metrics: dict[str, float]
    batch: NumpyBatch = field(repr=False)

    @property
    def last(self) -> bool:
        """Whether the run is complete."""
        return self.index == self.total

    def due(self, every: int) -> bool:
        """Whether something done every ``every`` steps is due; the last step is always due."""
        return self.last or (every > 0 and self.index % every == 0)


def train_steps(
    model: LM,
    optimizer: torch.optim.Optimizer,
    batches: Batches,
    objective: Objective,
    cfg: LoopConfig,
    *,
    steps: int,
    precision: Precision,
    start: int = 0,
    scaler: torch.amp.GradScaler | None = None,
    prepare: Callable[[int, int], object] = lambda index, steps: None,
    last_good: Callable[[], object] = lambda: "none",
) -> Iterator[Step]:
    """Run the optimizer steps ``start`` .. ``steps`` and yield after each.

    Args:
        model: on ``precision.device``, weights float32; may be compiled.
        prepare: called before each step with its number (from 0) and ``steps``; what is frozen
            may change there.
        last_good: names the newest checkpoint, for the message of a failure.
    Raises:
        NumericsError: the loss or the gradient is not finite; the weights are as before the step.
        DataError: a batch without a single trained token.
    """
    scaler = scaler or torch.amp.GradScaler(precision.device.type, enabled=precision.scaled)
    peaks = [group.setdefault("peak_lr", group["lr"]) for group in optimizer.param_groups]
    model.train()
    for index in range(start, steps):
        began = time.perf_counter()
        prepare(index, steps)
        factor = cfg.schedule.multiplier(index, steps)
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):
            group["lr"] = peak * factor
            group["warmup"] = cfg.schedule.warmup(index, steps)
        batch = batches.batch(index)
        totals = accumulate(model, batch, objective, cfg.micro_batch, precision, scaler)
        scaler.unscale_(optimizer)
        norm = clip_gradients(model.parameters(), cfg.clip)
        _stop_unless_finite(index + 1, totals.loss, norm, scaler, last_good)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
        if totals.counts:
            model.after_step(totals.counts)
        seconds = time.perf_counter() - began
        metrics = {"lr": peaks[0] * factor, "grad_norm": norm, **totals.metrics}
        yield Step(index + 1, steps, totals.loss, batch.ids.size, seconds, metrics, batch)


@dataclass
class Totals:
    """A step's sums over its micro-batches."""

    loss: float
    counts: dict[int, Tensor]
    metrics: dict[str, float]


def accumulate(
    model: LM,
    batch: NumpyBatch,
    objective: Objective,
    micro_batch: int | None,
    precision: Precision,
    scaler: torch.amp.GradScaler,
) -> Totals:
    """Gradients of one batch, cut into micro-batches.

    Each part is divided by the weight (or rows) of the whole batch, so loss and gradients are
    those of the uncut batch up to rounding.

    Raises:
        DataError: no token of the batch has weight.
    """
    rows, weight = batch.ids.shape[0], float(batch.weights.sum(dtype="float64"))
    if weight == 0:
        raise DataError("A batch has no token to learn from: every loss weight is 0.")
    losses: list[Tensor] = []
    counts: dict[int, Tensor] = {}
    metrics: dict[str, Tensor] = {}
    for start in range(0, rows, micro_batch or rows):
        part = to_device(batch, start, start + (micro_batch or rows), precision.device)
        share = part.ids.shape[0] / rows
        with precision.autocast():
            sums = objective(model, part)
            loss = sums.nll / weight
            total = loss + sums.aux * share
        scaler.scale(total).backward()
        merge_sparse(model.parameters())
        losses.append(loss.detach())
        _add(counts, sums.counts, 1)
        _add(metrics, sums.metrics, share)
        _add(metrics, sums.weighted, 1 / weight)
    numbers = {name: float(value) for name, value in metrics.items()}
    return Totals(float(torch.stack(losses).sum()), counts, {**numbers, **expert_load(counts)})


def _add(sums: dict[Any, Tensor], parts: Mapping[Any, Tensor], factor: float) -> None:
    for key, value in parts.items():
        term = value.detach() * factor
        sums[key] = sums[key] + term if key in sums else term


def expert_load(counts: Mapping[int, Tensor]) -> dict[str, float]:
    """How evenly tokens reach the experts; empty without any.

    For each MoE layer i: ``expert_load_max/i``, the busiest expert's tokens over the mean (1 is
    even), and ``expert_entropy/i``, the entropy of the load over that of an even one (1 is even,
    0 is one expert alone). Over all layers: ``expert_load_max``, the worst of them, and
    ``experts_idle``, the share of experts that got no token.
    """
    if not counts:
        return {}
    loads = {i: c.double().cpu().flatten() for i, c in counts.items()}
    busiest = {f"expert_load_max/{i}": float(n.max() / n.mean()) for i, n in loads.items()}
    entropy = {f"expert_entropy/{i}": _evenness(n) for i, n in loads.items()}
    idle = torch.cat([n == 0 for n in loads.values()])
    whole = {"expert_load_max": max(busiest.values()), "experts_idle": float(idle.double().mean())}
    return {**whole, **busiest, **entropy}


def _evenness(load: Tensor) -> float:
    """Entropy of ``load`` (E,) relative to log E."""
    share = load / load.sum()
    entropy = -float(torch.special.xlogy(share, share).sum())
    return entropy / math.log(len(load)) if len(load) > 1 else 1.0


def _stop_unless_finite(
    step: int,
    loss: float,
    norm: float,
    scaler: torch.amp.GradScaler,
    last_good: Callable[[], object],
) -> None:
    """Raise before the weights change. An overflow in float16 only lowers the loss scale."""
    overflow = scaler.is_enabled() and scaler.get_scale() > MIN_LOSS_SCALE
    if math.isfinite(loss) and (math.isfinite(norm) or overflow):
        return
    raise NumericsError(
        "Step {step} gave loss {loss} and gradient norm {norm}; training stopped before the "
        "weights changed. Last good checkpoint: {checkpoint}. Try a lower learning rate or "
        "precision=fp32.",
        step=step,
        loss=loss,
        norm=norm,
        checkpoint=last_good(),
    )
