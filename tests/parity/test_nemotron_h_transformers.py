"""Our hybrids are transformers' Nemotron-H: same logits, same gradients, same cached decoding."""

from __future__ import annotations

import hf_twin
import pytest
import torch
from shapes import config, tokens
from twin_checks import check_twins

from yaongi.model.lm import LM

SHAPES = {
    "dense hybrid": ("M-M*-M", {}),
    "experts": ("MEM*EME", {}),
    "one group, one kv head": ("M*E", {"mamba": {"n_groups": 1}, "attention": {"n_kv_heads": 1}}),
    "weights not normalised": ("ME*", {"moe": {"normalize": False, "top_k": 3}}),
}


def hybrid(name):
    pattern, changes = SHAPES[name]
    sections = {
        "attention": {"n_heads": 4, "n_kv_heads": 2, "head_dim": 6},
        "mamba": {"n_heads": 6, "head_dim": 5, "n_groups": 2, "d_state": 7},
        "mlp": {"d_ff": 40},
        "moe": {"n_experts": 5, "top_k": 2, "d_ff": 12, "d_shared": 9, "scale": 2.5},
    }
    for key, value in changes.items():
        sections[key] |= value
    lm = LM(config(pattern, d_model=20, tied=False, **sections)).eval()
    for i, mixer in enumerate(lm.mixers()):  # selection biases that matter
        if lm.cfg.layers[i] == "E":
            mixer.gate.e_score_correction_bias.copy_(torch.linspace(-0.2, 0.2, 5))
    return lm


@pytest.mark.parametrize("name", SHAPES)
def test_nemotron_h(name):
    check_twins(hybrid(name))


def test_small_steps_are_not_clamped():
    """transformers clamps steps to time_step_min in its parallel form; we, as the rest, do not."""
    lm = hybrid("dense hybrid")
    torch.nn.init.constant_(lm.mixers()[0].dt_bias, -12.0)  # steps around 6e-6
    other = hf_twin.twin(lm)
    ids = tokens(1, 40)
    ours, theirs = lm.logits(lm(ids).hidden), other(ids).logits
    assert (ours - theirs).abs().max() < 1e-4 * theirs.abs().max()
    other.model.layers[0].mixer.time_step_limit = (1e-3, float("inf"))
    assert (ours - other(ids).logits).abs().max() > 1e-4 * theirs.abs().max()
