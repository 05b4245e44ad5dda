"""The narrow copy of a model has all of its letters and settings, and builds."""

import pytest

from yaongi.model.count import count
from yaongi.model.lm import LM
from yaongi.model.presets import PRESETS, preset
from yaongi.model.shrink import shrink


@pytest.mark.parametrize("name", PRESETS)
def test_a_small_copy_keeps_what_is_no_width(name: str) -> None:
    cfg = preset(name)
    small = shrink(cfg)
    assert small.layers == cfg.layers and small.tied == cfg.tied
    assert count(small).params_total < 8e6
    for letter in set(cfg.layers):
        ours, theirs = small.settings(letter), cfg.settings(letter)
        same = {"n_heads", "n_kv_heads", "n_groups", "top_k", "activation", "router", "rope_theta"}
        for setting in same & set(type(ours).model_fields):
            assert getattr(ours, setting) == getattr(theirs, setting)
    if cfg.engram is not None and small.engram is not None:
        assert small.engram.layers == cfg.engram.layers
        assert (
            small.engram.at(cfg.engram.layers[-1]).orders
            == cfg.engram.at(cfg.engram.layers[-1]).orders
        )


def test_a_small_copy_is_built() -> None:
    small = shrink(preset("0.5b-a0.1b-engram"))
    built = sum(p.numel() for p in LM(small).parameters())
    assert built == count(small).params_total
