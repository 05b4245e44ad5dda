"""(*-)xN with RoPE, grouped queries and SwiGLU is transformers' Llama."""

from __future__ import annotations

import pytest
from shapes import config
from twin_checks import check_twins

from yaongi.model.lm import LM


@pytest.mark.parametrize("kv", [4, 2, 1])
@pytest.mark.parametrize("tied", [True, False])
def test_llama(kv, tied):
    attention = {"n_heads": 4, "n_kv_heads": kv, "head_dim": 6, "rope_theta": 5e5}
    lm = LM(config("(*-)x3", d_model=28, tied=tied, attention=attention, norm_eps=1e-6)).eval()
    check_twins(lm)
