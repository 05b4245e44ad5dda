"""Rotary angles and attention's biases, by hand."""

from __future__ import annotations

import math

import pytest
import torch
from shapes import SETTINGS, model, tokens

from yaongi.core.config import parse
from yaongi.core.errors import ConfigError
from yaongi.model.count import count
from yaongi.model.lm import LMConfig
from yaongi.model.rope import RopeScaling, frequencies

SCALING = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_context": 64}


def llama3(frequency: float) -> float:
    """The rule as Llama 3.1 states it, by wavelengths."""
    wavelength = 2 * math.pi / frequency
    if wavelength > 64 / 1.0:
        return frequency / 8
    if wavelength < 64 / 4.0:
        return frequency
    smooth = (64 / wavelength - 1.0) / (4.0 - 1.0)
    return (1 - smooth) * frequency / 8 + smooth * frequency


def test_slow_pairs_are_slowed_fast_ones_kept():
    plain = frequencies(16, 500.0, None)
    scaled = frequencies(16, 500.0, RopeScaling.model_validate(SCALING))
    torch.testing.assert_close(scaled, torch.tensor([llama3(float(f)) for f in plain]))
    ratio = scaled / plain
    assert ratio[0] == 1 and ratio[-1] == 1 / 8
    assert ((ratio > 0.13) & (ratio < 0.99)).any(), "no pair in between"


def test_scaling_needs_positions():
    attention = {**SETTINGS["attention"], "rope_theta": None, "rope_scaling": SCALING}
    data = {"vocab_size": 9, "d_model": 22, "pattern": "*", "attention": attention}
    with pytest.raises(ConfigError, match="rope_scaling needs rope_theta"):
        parse(LMConfig, data)


@pytest.mark.parametrize("bias", ["none", "qkv", "qkvo"])
def test_biases_are_counted_start_at_zero_and_matter(bias):
    lm = model("(*-)x2", attention={**SETTINGS["attention"], "bias": bias})
    assert count(lm.cfg).params_total == sum(p.numel() for p in lm.parameters())
    biases = {n: p for n, p in lm.named_parameters() if n.endswith("proj.bias")}
    assert len(biases) == 2 * len(bias.removeprefix("none"))
    ids = tokens(1, 6)
    before = lm(ids).hidden
    for name, parameter in biases.items():
        assert not parameter.any(), name
        torch.nn.init.normal_(parameter)
        now = lm(ids).hidden
        assert (now - before).abs().max() > 1e-5, name
        before = now
    lm.init_weights(0)
    assert not any(p.any() for p in biases.values())
