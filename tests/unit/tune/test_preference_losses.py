"""Each loss against numbers worked out by hand from the published formula."""

import math

import pytest
import torch

from yaongi.core.config import parse
from yaongi.core.errors import ConfigError
from yaongi.tune.dpo import DPOConfig
from yaongi.tune.preference_losses import (
    DPO,
    IPO,
    ORPO,
    PairLogProbs,
    SimPO,
    bradley_terry_loss,
    dpo_loss,
    ipo_loss,
    orpo_loss,
    simpo_loss,
)


def pair(chosen, rejected, tokens=(1, 1), ref=(0.0, 0.0)):
    """One pair as tensors."""
    numbers = (chosen, rejected, *tokens, *ref)
    return PairLogProbs(*(torch.tensor([float(x)], dtype=torch.float64) for x in numbers))


# h = (-2 - -3) - (-5 - -4) = 2 everywhere below
P = pair(-2, -5, tokens=(2, 4), ref=(-3, -4))


def test_dpo_equation_7():
    # β h = 1: -log σ(1) = log(1 + 1/e)
    assert float(dpo_loss(P, 0.5)) == pytest.approx(math.log(1 + math.exp(-1)), abs=1e-12)
    assert float(dpo_loss(P, 0.5)) == pytest.approx(0.3132616875, abs=1e-10)


def test_cdpo_mixes_in_the_flipped_label():
    # 0.9 log(1 + 1/e) + 0.1 log(1 + e)
    assert float(dpo_loss(P, 0.5, 0.1)) == pytest.approx(0.4132616875, abs=1e-10)


def test_cdpo_is_least_where_the_model_is_as_sure_as_the_labels():
    h = math.log(0.9 / 0.1)  # σ(h) = 0.9
    losses = [float(dpo_loss(pair(x, 0), 1.0, 0.1)) for x in (h - 0.1, h, h + 0.1)]
    assert losses[1] == min(losses)
    entropy = -(0.9 * math.log(0.9) + 0.1 * math.log(0.1))
    assert losses[1] == pytest.approx(entropy, abs=1e-12)


def test_ipo_equation_17_of_single_actions():
    # h = 2, 1/(2τ) = 1/0.4 = 2.5: (2 - 2.5)²
    assert float(ipo_loss(pair(-2, -5, ref=(-3, -4)), 0.2)) == pytest.approx(0.25, abs=1e-12)


def test_ipo_of_sequences_is_per_token():
    # 1/2 - (-1)/4 = 0.75, 1/(2·0.5) = 1: 0.0625
    assert float(ipo_loss(P, 0.5)) == pytest.approx(0.0625, abs=1e-12)


def test_simpo_equation_6():
    # β (-2/2 + 5/4) - γ = 2·0.25 - 1 = -0.5: log(1 + e^0.5)
    assert float(simpo_loss(P, 2.0, 1.0)) == pytest.approx(math.log(1 + math.exp(0.5)), abs=1e-12)
    assert float(simpo_loss(P, 2.0, 1.0)) == pytest.approx(0.9740769842, abs=1e-10)


def test_orpo_equations_6_and_7():
    # P(y_w) = 1/2, odds 1; P(y_l) = 1/5, odds 1/4: ratio 4, σ(log 4) = 4/5
    half, fifth = math.log(0.5), math.log(0.2)
    p = pair(2 * half, 3 * fifth, tokens=(2, 3))
    assert float(orpo_loss(p, 0.1)) == pytest.approx(math.log(2) + 0.1 * math.log(5 / 4), abs=1e-12)


def test_bradley_terry():
    chosen, rejected = torch.tensor([2.0, 0.0]), torch.tensor([1.0, 3.0])
    expected = [math.log(1 + math.exp(-1)), math.log(1 + math.exp(3))]
    assert bradley_terry_loss(chosen, rejected).tolist() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("loss", [DPO(), DPO(label_smoothing=0.2), IPO(), SimPO(), ORPO()])
def test_rewards_and_gradients_point_from_the_rejected_to_the_chosen(loss):
    chosen = torch.tensor([-9.0], requires_grad=True)
    rejected = torch.tensor([-8.0], requires_grad=True)
    ones = torch.ones(1)
    p = PairLogProbs(chosen, rejected, 3 * ones, 4 * ones, -8 * ones, -8 * ones)
    up, down = torch.autograd.grad(loss.loss(p).sum(), (chosen, rejected))
    assert float(up) < 0 < float(down)
    better, worse = loss.rewards(p)
    assert better.shape == worse.shape == (1,)
    assert float(better.detach()) < float(worse.detach())  # as yet


@pytest.mark.parametrize("chosen", [0.0, -1e-9, -200.0])
def test_orpo_stays_finite_where_an_answer_is_certain_or_hopeless(chosen):
    value = torch.tensor([chosen], requires_grad=True)
    ones = torch.ones(1)
    loss = orpo_loss(PairLogProbs(value, -ones, ones, ones, ones, ones), 0.1)
    (slope,) = torch.autograd.grad(loss.sum(), value)
    assert torch.isfinite(loss).all() and torch.isfinite(slope).all()


def test_a_recipe_chooses_the_loss():
    cfg = parse(DPOConfig, {"loss": {"kind": "simpo", "gamma": 0.5}})
    assert isinstance(cfg.loss, SimPO) and cfg.loss.gamma == 0.5
    assert parse(DPOConfig, {"loss": "ipo"}).loss == IPO()
    with pytest.raises(ConfigError, match="'dpp' is not a known preference loss"):
        parse(DPOConfig, {"loss": "dpp"})
    with pytest.raises(ConfigError, match=r"loss\.label_smoothing: must be less than 0\.5"):
        parse(DPOConfig, {"loss": {"kind": "dpo", "label_smoothing": 0.5}})
