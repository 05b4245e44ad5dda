"""Sizes: the design's numbers, and formulas that equal the built modules."""

from __future__ import annotations

import pytest
import torch

from yaongi.model.count import count, table_params
from yaongi.model.lm import LM
from yaongi.model.presets import PRESETS, preset

MILLIONS = {  # total, active
    "5m": (4.9, 4.9),
    "26m": (25.2, 25.2),
    "26m-mamba": (24.5, 24.5),
    "61m-a25m": (60.7, 25.3),
    "146m": (146.3, 146.3),
    "0.5b-a0.1b": (527.6, 103.0),
    "0.5b-a0.1b-engram": (544.5, 104.8),
    "yaongi-4b-a0.6b": (4236.0, 623.8),
    "yaongi-4b-a0.6b-stock": (3450.4, 619.3),
    "nemotron-3-nano": (31577.9, 3227.8),
    "llama-3.2-1b": (1235.8, 1235.8),
    "qwen3-0.6b": (596.0, 596.0),
    "minimind-64m": (63.9, 63.9),
    "minimind-198m-a64m": (198.4, 63.9),
    "smallm-39m": (39.6, 39.6),
    "bench-hybrid": (17.7, 7.8),
    "bench-dense": (27.4, 27.4),
}


@pytest.mark.parametrize("name", PRESETS)
def test_formulas_equal_the_built_module(name):
    cfg = preset(name)
    with torch.device("meta"):
        lm = LM(cfg)
        built = sum(p.numel() for p in lm.parameters())
    sizes = count(cfg)
    assert sizes.params_total == built
    total, active = MILLIONS[name]
    assert round(sizes.params_total / 1e6, 1) == total
    assert round(sizes.params_active / 1e6, 1) == active


def test_every_preset_has_its_published_size():
    assert set(MILLIONS) == set(PRESETS)


def test_nemotron_3_nano():
    """31.6 B, 3.2 B active, 3.6 B with embeddings: arXiv 2512.20848; our formulas to the digit."""
    nano = preset("nemotron-3-nano")
    sizes = count(nano)
    assert len(nano.layers) == 52
    assert [i for i, k in enumerate(nano.layers) if k == "*"] == [5, 12, 19, 26, 33, 42]
    assert round(sizes.params_total / 1e9, 3) == 31.578
    assert round(sizes.params_active / 1e9, 3) == 3.228
    assert round(sizes.params_active_with_embedding / 1e9, 3) == 3.580


def test_the_flagship():
    """4.236 B, 0.624 B active, 0.657 B with the input embedding; 21.8 % of the sparse in tables."""
    cfg = preset("yaongi-4b-a0.6b")
    sizes = count(cfg)
    assert round(sizes.params_total / 1e9, 3) == 4.236
    assert round(sizes.params_active / 1e9, 3) == 0.624
    assert round(sizes.params_active_with_embedding / 1e9, 3) == 0.657
    sparse = sizes.params_total - sizes.params_active
    assert round(table_params(cfg) / sparse, 2) == 0.22
    twin = cfg.model_copy(update={"engram": None})
    assert twin == preset("yaongi-4b-a0.6b-stock")


@pytest.mark.parametrize(
    ("name", "parameters"), [("llama-3.2-1b", 1_235_814_400), ("qwen3-0.6b", 596_049_920)]
)
def test_published_shapes_have_their_published_sizes(name, parameters):
    assert count(preset(name)).params_total == parameters


def test_flagship_layers_have_the_designs_sizes():
    cfg = preset("yaongi-4b-a0.6b-stock")
    per_layer = {k: cfg.settings(k).count(cfg.d_model, 1).total + cfg.d_model for k in "M*E"}
    assert per_layer == {"M": 7_391_328, "*": 4_719_616, "E": 138_478_592}
    sizes = count(cfg)
    assert round(sizes.params_active_with_embedding / 1e6, 1) == 652.8
    # 24 MB of scan state per sequence whatever the context, 6 KB of keys and values per token
    grown = sizes.state_bytes(8192) - sizes.state_bytes(1024)
    assert grown == 6 * 2 * 2 * 128 * 2 * (8192 - 1024)
    assert 24e6 < sizes.state_bytes(1) < 25e6


def test_flops_are_six_per_weight_and_the_mixing():
    dense = count(preset("bench-dense"))
    scores = 8 * 3 * 2 * 2 * 512 * 512 / 2  # layers, fwd+bwd, q k and p v, heads x width, half
    assert dense.flops_per_token(512) == pytest.approx(6 * dense.params_active + scores, rel=0.002)
    mamba = count(preset("26m-mamba"))
    assert mamba.flops_per_token(512) == mamba.flops_per_token(8192)
