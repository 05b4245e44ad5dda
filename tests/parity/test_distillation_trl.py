"""Our divergences are those of TRL's generalised knowledge distillation, values and gradients."""

from __future__ import annotations

import pytest
import torch

from yaongi.ops.distillation import Rules, Whole, linear_distillation

pytest.importorskip("trl")
ROWS, IDS = 40, 50


@pytest.mark.parametrize("beta", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_generalised_jensen_shannon_divergence(beta: float, temperature: float) -> None:
    from trl.experimental.gkd.gkd_trainer import GKDTrainer  # takes seconds

    draw = torch.Generator().manual_seed(0)
    hidden = torch.randn(ROWS, 12, generator=draw).requires_grad_()
    weight, other = (torch.randn(IDS, 12, generator=draw) for _ in range(2))
    teacher = Whole(torch.randn(ROWS, 12, generator=draw), other)
    labels = torch.randint(IDS, (ROWS,), generator=draw)
    labels[::4] = -100  # not to be learnt
    theirs = GKDTrainer.generalized_jsd_loss(
        (hidden @ weight.T)[None],
        (teacher.hidden @ other.T)[None],
        labels=labels[None],
        beta=beta,
        temperature=temperature,
    )
    weights = (labels >= 0).float()
    ours = linear_distillation(
        hidden, weight, labels.clamp(min=0), weights, teacher, Rules(beta, temperature, soft=1.0)
    )
    mean = ours.total / temperature**2 / weights.sum()  # TRL has no temperature^2
    torch.testing.assert_close(mean, theirs, rtol=1e-4, atol=1e-6)
    wanted, got = (torch.autograd.grad(loss, hidden)[0] for loss in (theirs, mean))
    torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-6)
