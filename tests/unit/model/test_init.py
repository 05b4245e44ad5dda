"""Initialisation: the distributions of the papers, from a seed, in any order, on any device."""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

from yaongi.model.lm import LM
from yaongi.model.presets import preset


def named(lm):
    return dict(lm.named_parameters())


def test_same_seed_same_weights_whatever_was_drawn_before():
    torch.manual_seed(1)
    a = named(LM(preset("5m", vocab_size=64)))
    torch.manual_seed(2)
    torch.randn(100)
    b = named(LM(preset("5m", vocab_size=64)))
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_another_seed_another_model():
    lm = LM(preset("5m", vocab_size=64))
    before = {k: v.clone() for k, v in named(lm).items()}
    lm.init_weights(7)
    same = [k for k, v in named(lm).items() if torch.equal(v, before[k])]
    assert all("norm" in k or k.endswith(".D") for k in same)


def test_layers_differ_from_each_other():
    lm = named(LM(preset("5m", vocab_size=64)))
    first, second = (lm[f"layers.{i}.mixer.in_proj.weight"] for i in (0, 2))
    assert not torch.equal(first, second)


def test_matrices_and_residual_writers_have_their_spreads():
    cfg = preset("61m-a25m", vocab_size=512)
    lm = LM(cfg)
    out = 0.02 / math.sqrt(2 * cfg.n_layers)
    writers = ("out_proj.weight", "o_proj.weight", "down_proj.weight", "down_proj")
    for name, p in named(lm).items():
        if p.ndim < 2 or "conv1d" in name:
            continue
        expected = out if name.endswith(writers) else 0.02
        assert abs(p.std().item() / expected - 1) < 0.05, name
        assert abs(p.mean().item()) < expected * 5 / math.sqrt(p.numel()), name


def test_mamba_scalars():
    mixer = LM(preset("146m", vocab_size=64)).mixers()[0]
    a = mixer.A_log.exp()
    assert a.min() >= 1
    assert a.max() <= 16
    assert a.max() - a.min() > 8
    dt = F.softplus(mixer.dt_bias)
    assert dt.min() >= 0.99e-3
    assert dt.max() <= 1.01e-1
    assert torch.equal(mixer.D, torch.ones_like(mixer.D))
    assert mixer.conv1d.weight.abs().max() <= 0.5
