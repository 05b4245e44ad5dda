"""What a student minimises: the hard loss and the divergence from its teacher, mixed."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from yaongi.model.lm import LM
from yaongi.ops.distillation import Rules, Top, Whole, linear_distillation
from yaongi.train.objectives import MicroBatch, Sums
from yaongi.tune.teacher import ask


@dataclass(frozen=True)
class Distillation:
    """The objective: hard loss and divergence from the teacher, mixed.

    Args:
        n_ids: of the tokenizer; both models may have more rows.
        teacher: on the student's device; None where each batch brings along what it says.
    """

    rules: Rules
    n_ids: int
    teacher: LM | None = None

    def __call__(self, model: LM, batch: MicroBatch, *, checkpoint: bool = False) -> Sums:
        """Both losses at the places with weight, of which ``metrics`` has the means."""
        places = batch.weights.flatten().nonzero()[:, 0]
        out = model(batch.ids, doc_ids=batch.doc_ids, checkpoint=checkpoint)
        weights = batch.weights.flatten()[places]
        losses = linear_distillation(
            out.hidden.flatten(0, 1)[places],
            model.used_head,
            batch.targets.flatten()[places],
            weights,
            self.said(batch, places),
            self.rules,
        )
        learnt = weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)
        metrics = {"hard": losses.hard / learnt, "divergence": losses.divergence / learnt}
        return Sums(losses.total, out.aux.loss, out.aux.expert_counts, metrics)

    def said(self, batch: MicroBatch, places: torch.Tensor) -> Whole | Top:
        """What the teacher says at ``places`` (M,) of the flattened rows."""
        if self.teacher is not None:
            return ask(self.teacher, batch, places, self.n_ids)
        ids, log_probs = (
            batch.extra[name].flatten(0, 1)[places] for name in ("teacher_ids", "teacher_log_probs")
        )
        return Top(ids, log_probs, self.n_ids)
