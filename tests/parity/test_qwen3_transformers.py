"""With QK-norm it is Qwen3, and with softmax-routed SwiGLU experts Qwen3-MoE."""

from __future__ import annotations

import pytest
from shapes import config
from twin_checks import check_twins

from yaongi.model.lm import LM

ATTENTION = {"n_heads": 4, "n_kv_heads": 2, "head_dim": 6, "rope_theta": 1e6, "qk_norm": True}


def compare(lm):
    for name, parameter in lm.named_parameters():  # norms of ones would hide a missing one
        if "norm" in name:
            parameter.data.uniform_(0.5, 1.5)
    check_twins(lm)


def test_dense():
    lm = LM(config("(*-)x3", attention=ATTENTION)).eval()
    compare(lm)


@pytest.mark.parametrize("normalize", [True, False])
def test_experts(normalize):
    moe = {"n_experts": 5, "top_k": 2, "d_ff": 12, "activation": "swiglu", "router": "softmax",
           "normalize": normalize}  # fmt: skip
    lm = LM(config("(*E)x3", d_model=20, attention=ATTENTION, moe=moe)).eval()
    compare(lm)
