"""Adapters written for ``peft`` compute on our export, under transformers, what they do here."""

from __future__ import annotations

import json
import warnings

import pytest
import torch
from hf_random import EXPERTS
from shapes import config, tokens

from yaongi.core.errors import ArtifactError, CapabilityError
from yaongi.interop.hf import export_hf
from yaongi.interop.targets import export
from yaongi.model.adapter_io import save_adapter
from yaongi.model.io import load_model, save_model
from yaongi.model.lm import LM
from yaongi.model.lora import AdapterConfig, adapter_tensors, adapters_off, add_adapters

LLAMA = {"attention": {"n_heads": 4, "n_kv_heads": 2, "head_dim": 6, "rope_theta": 1e4}}
BIASED = {"d_model": 24, "attention": {**LLAMA["attention"], "bias": "qkvo"}}
QWEN3 = {"attention": {**LLAMA["attention"], "qk_norm": True}}
SWIGLU = {"n_experts": 5, "top_k": 2, "d_ff": 12, "activation": "swiglu", "router": "softmax"}
HYBRID = {
    "attention": {**LLAMA["attention"], "rope_theta": None},
    "mlp": {"d_ff": 20},
    "moe": {"n_experts": 5, "top_k": 2, "d_ff": 12, "d_shared": 8},
}
WITHOUT_OUT = ("*.in_proj", "*.[qkvo]_proj", "*.up_proj", "*.down_proj")
CASES = {
    "llama": (("(*-)x2", LLAMA), {}),
    "llama with biases, dora": (("(*-)x2", BIASED), {"dora": True}),
    "llama, rslora and rows": (("(*-)x2", LLAMA), {"rslora": True, "embedding_rows": (3, 7)}),
    "llama, untied head": (
        ("(*-)x2", {**LLAMA, "tied": False}),
        {"targets": ("lm_head", "*q_proj"), "embedding_rows": (3,)},
    ),
    "qwen3 with experts": (("(*E)x2", {**QWEN3, "moe": SWIGLU}), {"embedding_rows": (0, 9)}),
    "qwen3 with experts, rslora": (
        ("(*E)x2", {**QWEN3, "moe": SWIGLU}),
        {"rslora": True, "targets": ("*.experts.*",)},
    ),
    "qwen3, half of the experts": (
        ("(*E)x2", {**QWEN3, "moe": SWIGLU}),
        {"targets": ("*.experts.up_proj", "*.v_proj")},
    ),
    "nemotron_h": (("ME*-", HYBRID), {"targets": WITHOUT_OUT, "embedding_rows": (5, 2)}),
    "nemotron_h, one stack": (("ME*-", HYBRID), {"targets": ("*.experts.down_proj",)}),
    "nemotron_h, dora": (("M*-", HYBRID), {"targets": WITHOUT_OUT, "dora": True}),
    "nemotron_h, all": (("ME*-", HYBRID), {}),
    "nemotron_h, all, dora": (("M*-", HYBRID), {"dora": True}),
    "mamba2, all": (("Mx2", {"d_model": 30}), {}),
    "mamba2": (("Mx2", {"d_model": 30}), {"targets": ("*.in_proj",)}),
}


def adapted(folder, shape, settings):
    """A random adapter of a random model, both saved; the model with the adapter in use."""
    pattern, changes = shape
    save_model(LM(config(pattern, **changes)), folder / "base")
    model = load_model(folder / "base")
    cfg = AdapterConfig.model_validate({"rank": 3, "alpha": 5.0, **settings})
    add_adapters(model, cfg)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in adapter_tensors(model).values():
            tensor.add_(torch.randn(tensor.shape, generator=generator) * 0.2)
    save_adapter(model, cfg, folder / "base", folder / "adapter")
    return model


@pytest.mark.parametrize("case", CASES)
def test_peft_gives_the_same_logits(case, tmp_path):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = adapted(tmp_path, *CASES[case])
    export_hf(tmp_path / "base", tmp_path / "hf")
    export("peft", tmp_path / "adapter", tmp_path / "peft")
    exported = AutoModelForCausalLM.from_pretrained(tmp_path / "hf", experts_implementation=EXPERTS)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        theirs = PeftModel.from_pretrained(exported, tmp_path / "peft").eval()
    missing = [str(w.message) for w in told if "adapter keys" in str(w.message)]
    assert not missing, missing
    ids = tokens(2, 19)
    with torch.no_grad():
        ours = model.logits(model(ids).hidden)
        with adapters_off(model):
            before = model.logits(model(ids).hidden)
        found = theirs(ids).logits
    assert (ours - before).abs().max() > 0.05
    torch.testing.assert_close(found, ours, rtol=1e-4, atol=1e-4 * float(ours.std()))


def test_dora_of_experts_is_refused(tmp_path):
    adapted(tmp_path, ("(*E)x1", {**QWEN3, "moe": SWIGLU}), {"dora": True})
    with pytest.raises(CapabilityError, match=r"experts cannot .* which has no DoRA for experts"):
        export("peft", tmp_path / "adapter", tmp_path / "peft")
    assert not (tmp_path / "peft").exists()


def test_it_is_written_for_its_base_only(tmp_path):
    adapted(tmp_path, *CASES["llama"])
    save_model(LM(config("(*-)x2", **LLAMA, init_std=0.1)), tmp_path / "other")
    with pytest.raises(ArtifactError, match=r"was trained on .*base .* not on .*other"):
        export("peft", tmp_path / "adapter", tmp_path / "peft", base=tmp_path / "other")


def test_the_config_says_what_is_ours(tmp_path):
    adapted(tmp_path, *CASES["nemotron_h"])
    facts = export("peft", tmp_path / "adapter", tmp_path / "peft")
    written = json.loads((tmp_path / "peft" / "adapter_config.json").read_text())
    assert facts == {"architecture": "nemotron_h", "rank": 3, "matrices": 11}
    assert written["r"] == 3 and written["lora_alpha"] == 5.0
    assert written["trainable_token_indices"] == {"model.embeddings": [5, 2], "lm_head": [5, 2]}
