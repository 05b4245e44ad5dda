"""The objective of GRPO: the clipped surrogate of the completions' tokens, near a reference.

DeepSeekMath (arXiv:2402.03300), equation 3, summed for the loop to divide.
"""

from __future__ import annotations

import torch
from torch import Tensor

from yaongi.model.lm import LM
from yaongi.ops.cross_entropy.log_probs import linear_log_probs
from yaongi.train.objectives import MicroBatch, Objective, Sums
from yaongi.tune.grpo_config import GRPOConfig
from yaongi.tune.policy_losses import clipped_loss, kl_k3


def policy_gradient(cfg: GRPOConfig, reference: LM | None, spoken: Tensor) -> Objective:
    """The objective of GRPO; logs the divergence from the reference and the share clipped.

    Args:
        reference: what to stay near, frozen; None where ``cfg.kl`` is 0.
        spoken: (V,) bool, the ids that can be sampled: the policy chooses among these alone.
    """

    def objective(model: LM, batch: MicroBatch, *, checkpoint: bool = False) -> Sums:
        used = int(batch.weights.any(0).nonzero().max()) + 1  # rows come sorted by length
        ids, doc_ids = batch.ids[:, :used], batch.doc_ids[:, :used]
        at = rows, _places = batch.weights[:, :used].nonzero(as_tuple=True)
        out = model(ids, doc_ids=doc_ids, checkpoint=checkpoint)
        logprobs = _log_probs(model, out.hidden[at], batch.targets[at], spoken)
        losses, clipped = clipped_loss(
            logprobs,
            batch.extra["sampled"][at],
            batch.extra["advantages"][rows],
            low=cfg.clip_low,
            high=cfg.clip_high,
        )
        told = {"clipped": clipped.float().sum(), "entropy": -logprobs.detach().sum()}
        if reference is not None:
            with torch.no_grad():
                hidden = reference(ids, doc_ids=doc_ids).hidden[at]
                near = _log_probs(reference, hidden, batch.targets[at], spoken)
            away = kl_k3(logprobs, near)
            losses = losses + cfg.kl * away
            told["kl"] = away.detach().sum()
        named = {k[4:]: v.mean() for k, v in batch.extra.items() if k.startswith("log/")}
        nll = (losses * batch.extra["scales"][rows]).sum()
        return Sums(nll, out.aux.loss, out.aux.expert_counts, named, told)

    return objective


def _log_probs(model: LM, hidden: Tensor, targets: Tensor, spoken: Tensor) -> Tensor:
    """(N,) log-probabilities of the targets (N,) among the spoken ids; hidden (N,D)."""
    spoken = spoken.to(hidden.device)
    places = spoken.cumsum(0) - 1
    return linear_log_probs(hidden, model.head_weight[spoken], places[targets])
