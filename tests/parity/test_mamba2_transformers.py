"""A pattern of M alone is transformers' Mamba2."""

from __future__ import annotations

import hf_twin
import pytest
from shapes import config, tokens

from yaongi.model.lm import LM


@pytest.mark.parametrize("tied", [True, False])
def test_logits(tied):
    mamba = {"n_heads": 4, "head_dim": 11, "n_groups": 1, "d_state": 7}
    lm = LM(config("Mx3", tied=tied, mamba=mamba)).eval()
    other = hf_twin.mamba2(lm.cfg).eval()
    hf_twin.fill(other, lm)
    ids = tokens(2, 75)
    ours, theirs = lm.logits(lm(ids).hidden), other(ids).logits
    assert (ours - theirs).abs().max() < 1e-4 * theirs.abs().max()
