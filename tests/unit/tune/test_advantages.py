import numpy as np
import pytest
import torch

from yaongi.tune.advantages import differ, group_advantages, overlong_penalty, token_weights
from yaongi.tune.policy_losses import clipped_loss, kl_k3


def test_advantages_are_rewards_compared_within_the_group():
    rewards = np.array([1.0, 0.0, 0.0, 0.0])
    assert group_advantages(rewards, scale_by_std=False) == pytest.approx([0.75, *[-0.25] * 3])
    scaled = group_advantages(rewards, scale_by_std=True)
    assert scaled == pytest.approx(np.array([0.75, *[-0.25] * 3]) / np.sqrt(3 / 16))
    assert scaled.mean() == pytest.approx(0) and scaled.std() == pytest.approx(1)


@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("value", [0.0, 1.0, 0.1 + 0.2, -3.7])
def test_equal_rewards_teach_nothing(scaled, value):
    rewards = np.array([value] * 8)
    assert not differ(rewards)
    assert (group_advantages(rewards, scale_by_std=scaled) == 0).all()


def test_scale_and_offset_of_rewards_do_not_matter_once_scaled():
    rewards = np.array([0.2, 0.9, 0.4])
    one = group_advantages(rewards, scale_by_std=True)
    assert group_advantages(10 * rewards - 3, scale_by_std=True) == pytest.approx(one)


@pytest.mark.parametrize(
    ("length", "penalty"), [(1, 0), (80, 0), (85, -0.25), (90, -0.5), (100, -1), (120, -1)]
)
def test_overlong_completions_are_penalised_gradually(length, penalty):
    assert overlong_penalty(length, 100, 20) == pytest.approx(penalty)
    assert overlong_penalty(length, 100, 0) == 0


LENGTHS = np.array([2, 8])
LOSSES = [[1.0, 3.0], [5.0] * 8]


@pytest.mark.parametrize(
    ("average", "expected"),
    [
        ("sequence", ((1 + 3) / 2 + 40 / 8) / 2),
        ("token", (1 + 3 + 40) / 10),
        ("constant", (1 + 3 + 40) / (2 * 16)),
    ],
)
def test_three_ways_to_average_tokens(average, expected):
    scales = token_weights(LENGTHS, average, max_tokens=16)
    found = sum(s * sum(row) for s, row in zip(scales, LOSSES, strict=True))
    assert found == pytest.approx(expected)


def test_the_loss_is_the_clipped_surrogate():
    ratios = torch.tensor([0.5, 0.9, 1.0, 1.1, 1.25, 2.0] * 2, dtype=torch.float64)
    advantages = torch.tensor([1.0] * 6 + [-1.0] * 6, dtype=torch.float64)
    losses, clipped = clipped_loss(
        ratios.log(), torch.zeros_like(ratios), advantages, low=0.2, high=0.28
    )
    better = [-0.5, -0.9, -1.0, -1.1, -1.25, -1.28]  # only what is already likelier is held back
    worse = [0.8, 0.9, 1.0, 1.1, 1.25, 2.0]
    assert losses.tolist() == pytest.approx(better + worse)
    assert clipped.tolist() == [False] * 5 + [True] + [True] + [False] * 5


def test_what_is_clipped_has_no_gradient_and_the_rest_that_of_reinforce():
    logprobs = torch.tensor([-1.0, -1.0, -1.0], requires_grad=True)
    sampled = torch.tensor([-1.0, -3.0, 1.0])
    advantages = torch.tensor([0.7, 0.7, -0.7])
    losses, _ = clipped_loss(logprobs, sampled, advantages, low=0.2, high=0.2)
    losses.sum().backward()
    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == pytest.approx([-0.7, 0.0, 0.0])


def test_k3_estimates_the_divergence_without_bias_and_is_never_negative():
    draw = torch.Generator().manual_seed(0)
    policy = torch.randn(50, generator=draw, dtype=torch.float64).log_softmax(0)
    reference = torch.randn(50, generator=draw, dtype=torch.float64).log_softmax(0)
    exact = (policy.exp() * (policy - reference)).sum()
    each = kl_k3(policy, reference)
    assert (each >= 0).all()
    assert float((policy.exp() * each).sum()) == pytest.approx(float(exact), rel=1e-9)
    assert kl_k3(policy, policy).abs().max() == 0
