"""Preference losses are TRL's, in value and gradient.

TRL computes them inside its trainers, so the trainers' methods are called with a stand-in for the
trainer and a stub for the model, which gives the log-probabilities it is asked for.
"""

from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch

from yaongi.tune.dpo import statistics
from yaongi.tune.preference_losses import (
    DPO,
    PairLogProbs,
    bradley_terry_loss,
    dpo_loss,
    ipo_loss,
    orpo_loss,
    simpo_loss,
)

pytest.importorskip("trl", reason="TRL is not installed")

PAIRS, PROMPT, ANSWER = 5, 3, 8
ACCELERATOR = SimpleNamespace(
    device=torch.device("cpu"), gather=lambda x: x, gather_for_metrics=lambda x: x
)


class Stub(torch.nn.Module):
    """A model that says each token with the log-probability it was made with."""

    is_gradient_checkpointing = False

    def __init__(self, log_probs):
        super().__init__()
        self.log_probs = log_probs

    def forward(self, **_):
        zeros = torch.zeros_like(self.log_probs)
        return SimpleNamespace(
            log_probs=self.log_probs, entropy=zeros, mean_logits=zeros, is_top1=zeros.bool()
        )


class Scores(torch.nn.Module):
    """A reward model that gives these rewards."""

    def __init__(self, rewards):
        super().__init__()
        self.rewards = rewards

    def forward(self, **_):
        return SimpleNamespace(logits=self.rewards[:, None])


def problem(seed=0):
    """(completion mask (2n,T), policy's and reference's log-probabilities (2n,T-1))."""
    draw = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, ANSWER + 1, (2 * PAIRS, 1), generator=draw)
    places = torch.arange(PROMPT + ANSWER)
    mask = ((places >= PROMPT) & (places < PROMPT + lengths)).long()

    def sample():
        log_probs = -3 * torch.rand(2 * PAIRS, PROMPT + ANSWER - 1, generator=draw)
        return log_probs * mask[:, 1:]

    return mask, sample().requires_grad_(), sample()


def ours(mask, policy, reference):
    """The same as PairLogProbs: TRL's batch is [chosen, rejected]."""
    return PairLogProbs(
        *policy.sum(1).chunk(2), *mask[:, 1:].sum(1).float().chunk(2), *reference.sum(1).chunk(2)
    )


def trl_dpo(kind, mask, policy, reference, beta, label_smoothing=0.0):
    from trl import DPOTrainer

    trainer = SimpleNamespace(
        model=Stub(policy),
        accelerator=ACCELERATOR,
        aux_loss_enabled=False,
        ld_alpha=None,
        precompute_ref_logps=False,
        ref_model=Stub(reference),
        args=SimpleNamespace(gradient_checkpointing_kwargs=None, gradient_checkpointing=False),
        f_divergence_type="reverse_kl",
        loss_types=[kind],
        loss_weights=[1.0],
        beta=beta,
        label_smoothing=label_smoothing,
        use_weighting=False,
        _metrics={"train": defaultdict(list)},
        _total_train_tokens=0,
        _tp_size=1,
    )
    inputs = {
        "input_ids": torch.zeros_like(mask),
        "attention_mask": torch.ones_like(mask),
        "completion_mask": mask,
    }
    loss = DPOTrainer._compute_loss(trainer, Stub(policy), inputs, return_outputs=False)
    return loss, trainer._metrics["train"]


def check(found, expected, policy):
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        torch.autograd.grad(found, policy, retain_graph=True)[0],
        torch.autograd.grad(expected, policy, retain_graph=True)[0],
    )


@pytest.mark.parametrize("beta", [0.1, 0.7])
def test_dpo(beta):
    mask, policy, reference = problem()
    expected, told = trl_dpo("sigmoid", mask, policy, reference, beta)
    pairs = ours(mask, policy, reference)
    check(dpo_loss(pairs, beta).mean(), expected, policy)
    logged = statistics(DPO(beta=beta), pairs)
    for name, theirs in (
        ("reward_chosen", "rewards/chosen"),
        ("reward_rejected", "rewards/rejected"),
        ("margin", "rewards/margins"),
        ("accuracy", "rewards/accuracies"),
        ("log_prob_chosen", "logps/chosen"),
        ("log_prob_rejected", "logps/rejected"),
    ):
        assert float(logged[name]) / PAIRS == pytest.approx(told[theirs][0], rel=1e-5), name


def test_ipo():
    mask, policy, reference = problem(1)
    expected, _ = trl_dpo("ipo", mask, policy, reference, 0.3)
    check(ipo_loss(ours(mask, policy, reference), 0.3).mean(), expected, policy)


def test_label_smoothing_through_robust_dpo():
    """TRL's rDPO is ((1 - ε) l - ε l') / (1 - 2ε), from which both terms of cDPO follow."""
    mask, policy, reference = problem(2)
    eps, beta = 0.2, 0.5
    robust, _ = trl_dpo("robust", mask, policy, reference, beta, eps)
    plain, _ = trl_dpo("sigmoid", mask, policy, reference, beta)
    flipped = ((1 - eps) * plain - (1 - 2 * eps) * robust) / eps
    expected = (1 - eps) * plain + eps * flipped
    check(dpo_loss(ours(mask, policy, reference), beta, eps).mean(), expected, policy)


def test_simpo():
    cpo = pytest.importorskip("trl.experimental.cpo", reason="this TRL has no CPO")
    mask, policy, reference = problem(3)
    trainer = SimpleNamespace(
        alpha=0.0,
        accelerator=SimpleNamespace(device="cpu"),
        loss_type="simpo",
        simpo_gamma=0.8,
        beta=2.0,
        label_smoothing=0.0,
    )
    pairs = ours(mask, policy, reference)
    chosen, rejected = pairs.chosen / pairs.chosen_tokens, pairs.rejected / pairs.rejected_tokens
    expected, *_ = cpo.CPOTrainer.cpo_loss(trainer, chosen, rejected)
    check(simpo_loss(pairs, 2.0, 0.8).mean(), expected.mean(), policy)


def test_orpo():
    orpo = pytest.importorskip("trl.experimental.orpo", reason="this TRL has no ORPO")
    mask, policy, reference = problem(4)
    trainer = SimpleNamespace(beta=0.3, accelerator=SimpleNamespace(device="cpu"))
    pairs = ours(mask, policy, reference)
    chosen, rejected = pairs.chosen / pairs.chosen_tokens, pairs.rejected / pairs.rejected_tokens
    ratio, *_ = orpo.ORPOTrainer.odds_ratio_loss(trainer, chosen, rejected)
    # TRL's other term covers the prompt too; the paper's is of the answer, as ours
    check(orpo_loss(pairs, 0.3).mean(), (-chosen - ratio).mean(), policy)


def test_bradley_terry():
    from trl import RewardTrainer

    rewards = torch.randn(2 * PAIRS, generator=torch.Generator().manual_seed(5)).requires_grad_()
    trainer = SimpleNamespace(
        model=SimpleNamespace(training=False),
        accelerator=ACCELERATOR,
        args=SimpleNamespace(center_rewards_coefficient=None),
        _metrics={"eval": defaultdict(list), "train": defaultdict(list)},
        _total_train_tokens=0,
    )
    inputs = {"attention_mask": torch.ones(1)}
    expected = RewardTrainer.compute_loss(trainer, Scores(rewards), inputs)
    found = bradley_terry_loss(*rewards.chunk(2)).mean()
    check(found, expected, rewards)
