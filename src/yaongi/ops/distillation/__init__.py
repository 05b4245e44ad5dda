"""Learning from a teacher's distribution, straight from hidden states.

The soft loss of Hinton et al. 2015 (arXiv:1503.02531) beside the usual hard one, with the
divergence of Agarwal et al. 2024 (arXiv:2306.13649, section 3). Logits of one chunk of tokens
exist at a time, the teacher's as well as the student's.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from yaongi.ops.distillation.chunked import linear_distillation_chunked
from yaongi.ops.distillation.teacher import Rules, Top, Whole, top_log_probs

__all__ = ["Losses", "Rules", "Top", "Whole", "linear_distillation", "top_log_probs"]


class Losses(NamedTuple):
    """Weighted sums over tokens, in nats, float32 scalars.

    Attributes:
        total: (1 - soft) * hard + soft * temperature^2 * divergence; the one with a gradient.
        hard: negative log-likelihood of the targets.
        divergence: from the teacher, at ``temperature``.
    """

    total: Tensor
    hard: Tensor
    divergence: Tensor


def linear_distillation(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    weights: Tensor,
    teacher: Whole | Top,
    rules: Rules,
) -> Losses:
    """Distil into ``softmax(hidden @ weight.T)``.

    The gradients of the soft loss shrink with 1 / temperature^2, so it is multiplied by
    temperature^2 (arXiv:1503.02531, section 2). The divergence is between both distributions over
    the ids they share; the hard loss is over all rows of ``weight``, as in other training.

    Args:
        hidden: (M,D) the student's final hidden states, any float type.
        weight: (V,D) its unembedding; V may be more than the ids shared.
        targets: (M,) int64.
        weights: (M,) float.
        teacher: what it says at the same M places.
    Raises:
        ShapeError: the student has fewer ids than the teacher names.
    """
    found = linear_distillation_chunked(hidden, weight, targets, weights.float(), teacher, rules)
    return Losses(*found)
