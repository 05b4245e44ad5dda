"""Every number format: llama.cpp loads the file, and its probabilities stay near the model's."""

from __future__ import annotations

import llamacpp
import pytest
import tiny
import torch
from odd_models import saved

from yaongi.interop.gguf import QUANTS, export_gguf
from yaongi.model.lm import LM, LMConfig

pytest.importorskip("xllamacpp", reason=llamacpp.REASON)

APART = {
    "f32": 1e-4,
    "f16": 5e-3,
    "bf16": 0.03,
    "q8_0": 0.12,
    "q5_1": 0.5,
    "q5_0": 0.5,
    "q4_1": 2.0,
    "q4_0": 2.8,
    "mxfp4": 4.0,
    "tq2_0": torch.inf,
    "tq1_0": torch.inf,
}
"""Largest difference of a log-probability, twice what was measured; the ternary formats keep
nothing of a random model."""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Rows of 256 everywhere, the largest block."""
    data = {"vocab_size": 450, "d_model": 256, "pattern": "M*E", "init_std": 0.08,
            "attention": {"n_heads": 4, "n_kv_heads": 2, "head_dim": 64},
            "mamba": {"n_heads": 4, "head_dim": 64, "d_state": 16},
            "moe": {"n_experts": 4, "top_k": 2, "d_ff": 256, "d_shared": 256}}  # fmt: skip
    lm = LM(LMConfig.model_validate(data)).eval()
    return lm, saved(lm, tmp_path_factory.mktemp("model"))


@pytest.mark.parametrize("quant", QUANTS)
def test_it_loads_and_is_near(quant, model, tmp_path):
    lm, folder = model
    ids = [0, *tiny.tokenizer().encode(tiny.TEXTS[0])]
    facts = export_gguf(folder, tmp_path / "m.gguf", quant=quant, context_len=64)
    assert facts["tensors"][quant] >= 9
    with torch.no_grad():
        ours = lm.logits(lm(torch.tensor([ids])).hidden)[0, -1].log_softmax(-1)
    with llamacpp.opened(tmp_path / "m.gguf", 64) as llama:
        theirs = llama.most_likely(ids, 100)
        assert len(llama.greedy(ids, 4)) == 4
    apart = max(abs(value - float(ours[token])) for token, value in theirs.items())
    assert apart < APART[quant]
