"""What it means to prefer one answer to another: DPO, cDPO, IPO, SimPO and ORPO as functions.

Every loss is a pure function of what a model gives the two answers of each pair: log-probabilities
in nats, summed over the answer's tokens, and the answers' lengths in tokens. All are (n,) float32,
one entry per pair, and so are the losses. y_w is the chosen answer, y_l the rejected one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from yaongi.core.config import Config, Registry

ALMOST_CERTAIN = -1e-6
"""Highest log-probability whose odds are computed: those of a certain answer are infinite."""


@dataclass(frozen=True)
class PairLogProbs:
    """What the model and the reference say to n pairs.

    Attributes:
        chosen, rejected: (n,) summed log-probabilities of the answers under the model.
        chosen_tokens, rejected_tokens: (n,) lengths of the answers.
        ref_chosen, ref_rejected: (n,) as the first, under the reference; zeros where a loss asks
            for none.
    """

    chosen: Tensor
    rejected: Tensor
    chosen_tokens: Tensor
    rejected_tokens: Tensor
    ref_chosen: Tensor
    ref_rejected: Tensor


def dpo_loss(p: PairLogProbs, beta: float, label_smoothing: float = 0.0) -> Tensor:
    """-log σ(β h), with h = log π(y_w)/π_ref(y_w) - log π(y_l)/π_ref(y_l).

    With ``label_smoothing`` ε, the probability that a pair is labelled the wrong way round, it is
    cDPO: -(1 - ε) log σ(β h) - ε log σ(-β h), least where σ(β h) = 1 - ε.

    Source: Rafailov et al. 2023, arXiv:2305.18290, eq. 7; cDPO: Mitchell 2023, "A note on DPO
    with noisy preferences & relationship to IPO".
    """
    h = beta * ((p.chosen - p.ref_chosen) - (p.rejected - p.ref_rejected))
    return -(1 - label_smoothing) * F.logsigmoid(h) - label_smoothing * F.logsigmoid(-h)


def ipo_loss(p: PairLogProbs, tau: float) -> Tensor:
    """(h - 1/(2τ))², with h as in DPO but of log-probabilities per token.

    The paper writes sequences as single actions; dividing by the lengths is what its authors did
    in their experiments and advise (TRL's documentation of ``loss_type="ipo"``).

    Source: Azar et al. 2023, arXiv:2310.12036, eq. 17.
    """
    chosen = (p.chosen - p.ref_chosen) / p.chosen_tokens
    rejected = (p.rejected - p.ref_rejected) / p.rejected_tokens
    return (chosen - rejected - 1 / (2 * tau)).square()


def simpo_loss(p: PairLogProbs, beta: float, gamma: float) -> Tensor:
    """-log σ(β log π(y_w) / |y_w| - β log π(y_l) / |y_l| - γ); no reference.

    Source: Meng, Xia & Chen 2024, arXiv:2405.14734, eq. 6.
    """
    chosen, rejected = p.chosen / p.chosen_tokens, p.rejected / p.rejected_tokens
    return -F.logsigmoid(beta * (chosen - rejected) - gamma)


def orpo_loss(p: PairLogProbs, weight: float) -> Tensor:
    """-log P(y_w) - λ log σ(log odds(y_w) - log odds(y_l)), odds(y) = P(y) / (1 - P(y)).

    log P(y) is the mean over the answer's tokens (eq. 3), so the first term is fine-tuning on the
    chosen answer; no reference.

    Source: Hong, Lee & Thorne 2024, arXiv:2403.07691, eq. 6 and 7.
    """
    chosen, rejected = p.chosen / p.chosen_tokens, p.rejected / p.rejected_tokens
    return -chosen - weight * F.logsigmoid(_log_odds(chosen) - _log_odds(rejected))


def bradley_terry_loss(chosen: Tensor, rejected: Tensor) -> Tensor:
    """-log σ(r(y_w) - r(y_l)) of two rewards (n,).

    Source: Ouyang et al. 2022, arXiv:2203.02155, eq. 1, for two answers per prompt.
    """
    return -F.logsigmoid(chosen - rejected)


def _log_odds(log_p: Tensor) -> Tensor:
    """log(P / (1 - P)) from log P."""
    log_p = log_p.clamp(max=ALMOST_CERTAIN)
    return log_p - torch.log(-torch.expm1(log_p))


# --- as a choice in a recipe -----------------------------------------------------------------

Positive = Annotated[float, Field(gt=0)]


class PreferenceLoss(Config):
    """A loss and its settings; derive from it and name it ``my_module:MyLoss`` for another.

    Attributes:
        needs_reference: whether ``ref_chosen`` and ``ref_rejected`` are looked at.
    """

    kind: str = "dpo"

    @property
    def needs_reference(self) -> bool:
        return True

    def loss(self, pairs: PairLogProbs) -> Tensor:
        """(n,), one loss per pair."""
        raise NotImplementedError

    def rewards(self, pairs: PairLogProbs) -> tuple[Tensor, Tensor]:
        """(n,) and (n,): what the model implicitly gives the chosen and the rejected answers."""
        raise NotImplementedError


class DPO(PreferenceLoss):
    """See ``dpo_loss``; the reward is β log π/π_ref (arXiv:2305.18290, section 4)."""

    kind: str = "dpo"
    beta: Positive = 0.1
    label_smoothing: float = Field(default=0.0, ge=0.0, lt=0.5)

    def loss(self, pairs: PairLogProbs) -> Tensor:
        return dpo_loss(pairs, self.beta, self.label_smoothing)

    def rewards(self, pairs: PairLogProbs) -> tuple[Tensor, Tensor]:
        return (
            self.beta * (pairs.chosen - pairs.ref_chosen),
            self.beta * (pairs.rejected - pairs.ref_rejected),
        )


class IPO(PreferenceLoss):
    """See ``ipo_loss``; the reward is log π/π_ref per token."""

    kind: str = "ipo"
    tau: Positive = 0.1

    def loss(self, pairs: PairLogProbs) -> Tensor:
        return ipo_loss(pairs, self.tau)

    def rewards(self, pairs: PairLogProbs) -> tuple[Tensor, Tensor]:
        return (
            (pairs.chosen - pairs.ref_chosen) / pairs.chosen_tokens,
            (pairs.rejected - pairs.ref_rejected) / pairs.rejected_tokens,
        )


class SimPO(PreferenceLoss):
    """See ``simpo_loss``; the reward is β log π per token (eq. 4). The defaults are the paper's for
    Llama-3 base: γ = 0.5 β."""

    kind: str = "simpo"
    beta: Positive = 2.0
    gamma: float = Field(default=1.0, ge=0.0)

    @property
    def needs_reference(self) -> bool:
        return False

    def loss(self, pairs: PairLogProbs) -> Tensor:
        return simpo_loss(pairs, self.beta, self.gamma)

    def rewards(self, pairs: PairLogProbs) -> tuple[Tensor, Tensor]:
        return _per_token(pairs, self.beta)


class ORPO(PreferenceLoss):
    """See ``orpo_loss``; the reward is log π per token, of which the odds are made."""

    kind: str = "orpo"
    weight: Positive = 0.1

    @property
    def needs_reference(self) -> bool:
        return False

    def loss(self, pairs: PairLogProbs) -> Tensor:
        return orpo_loss(pairs, self.weight)

    def rewards(self, pairs: PairLogProbs) -> tuple[Tensor, Tensor]:
        return _per_token(pairs, 1.0)


def _per_token(pairs: PairLogProbs, factor: float) -> tuple[Tensor, Tensor]:
    chosen, rejected = pairs.chosen / pairs.chosen_tokens, pairs.rejected / pairs.rejected_tokens
    return factor * chosen, factor * rejected


PREFERENCE_LOSSES = Registry(
    "preference loss",
    PreferenceLoss,
    {
        "dpo": "yaongi.tune.preference_losses:DPO",
        "ipo": "yaongi.tune.preference_losses:IPO",
        "simpo": "yaongi.tune.preference_losses:SimPO",
        "orpo": "yaongi.tune.preference_losses:ORPO",
    },
)
PreferenceLossChoice = Annotated[PreferenceLoss, PREFERENCE_LOSSES.field()]
