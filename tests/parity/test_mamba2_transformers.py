"""A pattern of M alone is transformers' Mamba2."""

from __future__ import annotations

import pytest
from shapes import config
from twin_checks import check_twins

from yaongi.model.lm import LM


@pytest.mark.parametrize("tied", [True, False])
def test_mamba2(tied):
    mamba = {"n_heads": 4, "head_dim": 11, "n_groups": 1, "d_state": 7}
    lm = LM(config("Mx3", tied=tied, mamba=mamba)).eval()
    check_twins(lm)
