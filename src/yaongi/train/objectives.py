"""What a run minimises: functions from (model, micro-batch) to sums the loop can add up.

An objective returns sums, not means: the loop divides by the weight of the whole step, so the
loss does not depend on how a batch is cut (the bug of Hugging Face's blog post 2414).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from yaongi.model.lm import LM
from yaongi.ops.cross_entropy import linear_cross_entropy


class NumpyBatch(Protocol):
    """Rows as the data station hands them over, see ``data.batches.Batch``."""

    @property
    def ids(self) -> np.ndarray: ...
    @property
    def targets(self) -> np.ndarray: ...
    @property
    def weights(self) -> np.ndarray: ...
    @property
    def doc_ids(self) -> np.ndarray: ...


@dataclass(frozen=True)
class MicroBatch:
    """Some rows of a batch on the device: ids, targets, weights, doc_ids, each (B,T).

    Attributes:
        extra: what else the batch has for each row, in its attribute of that name; (B,...).
    """

    ids: Tensor
    targets: Tensor
    weights: Tensor
    doc_ids: Tensor
    extra: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Sums:
    """What an objective returns for one micro-batch.

    Attributes:
        nll: weighted negative log-likelihood in nats, summed over tokens.
        aux: a further loss, mean over rows (the layers' balance losses).
        counts: layer index -> (E,) tokens sent to each expert.
        metrics: further numbers to log, each a mean over rows.
        weighted: further numbers to log, each a sum that the loop divides by the weight of the
            whole step, as it does with ``nll``.
    """

    nll: Tensor
    aux: Tensor
    counts: Mapping[int, Tensor] = field(default_factory=dict)
    metrics: Mapping[str, Tensor] = field(default_factory=dict)
    weighted: Mapping[str, Tensor] = field(default_factory=dict)


class Objective(Protocol):
    """An objective; ``checkpoint`` asks the model to recompute activations in the backward pass."""

    def __call__(self, model: LM, batch: MicroBatch, *, checkpoint: bool = False) -> Sums: ...


def next_token(model: LM, batch: MicroBatch, *, checkpoint: bool = False) -> Sums:
    """Next-token prediction on the positions with weight."""
    out = model(batch.ids, doc_ids=batch.doc_ids, checkpoint=checkpoint)
    nll, _ = linear_cross_entropy(out.hidden, model.used_head, batch.targets, batch.weights)
    return Sums(nll, out.aux.loss, out.aux.expert_counts)


def to_device(batch: NumpyBatch, start: int, stop: int, device: torch.device) -> MicroBatch:
    """Rows [start, stop) of a batch as tensors."""

    def move(array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array[start:stop])).to(
            device, non_blocking=True
        )

    extra: Mapping[str, np.ndarray] = getattr(batch, "extra", {})
    return MicroBatch(
        move(batch.ids),
        move(batch.targets),
        move(batch.weights),
        move(batch.doc_ids),
        {name: move(array) for name, array in extra.items()},
    )
