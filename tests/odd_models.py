"""Small models with odd, random settings and every number random, one for each graph of llama.cpp,
as folders that can be exported.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import tiny
import torch

from yaongi.model.io import save_model
from yaongi.model.lm import LM, LMConfig


def _attention(r: random.Random, **more: Any) -> dict[str, Any]:
    kv = r.choice([1, 2, 3])
    return {"n_heads": kv * r.choice([1, 2, 3]), "n_kv_heads": kv,
            "head_dim": r.choice([6, 10, 24]), **more}  # fmt: skip


def _rotated(r: random.Random, **more: Any) -> dict[str, Any]:
    return _attention(r, rope_theta=r.choice([300.0, 1e4, 5e5]), **more)


def _mamba(r: random.Random) -> dict[str, Any]:
    groups = r.choice([1, 2, 3])
    return {"n_heads": groups * r.choice([1, 2]), "head_dim": r.choice([5, 12]), "n_groups": groups,
            "d_state": r.choice([7, 16]), "d_conv": r.choice([3, 4])}  # fmt: skip


def _experts(r: random.Random, **more: Any) -> dict[str, Any]:
    return {"n_experts": r.choice([3, 5, 8]), "top_k": r.choice([1, 2, 3]),
            "d_ff": r.choice([9, 14]), **more}  # fmt: skip


def _dense(r: random.Random, activation: str) -> dict[str, Any]:
    return {"d_ff": r.choice([11, 30, 41]), "activation": activation}


def _llama(r: random.Random) -> dict[str, Any]:
    scaling = {"factor": r.choice([4.0, 32.0]), "original_context": r.choice([16, 40])}
    more = {"bias": r.choice(["none", "qkv", "qkvo"]), "rope_scaling": r.choice([None, scaling])}
    return {"pattern": "(*-)x2", "attention": _rotated(r, **more), "mlp": _dense(r, "swiglu")}


def _qwen2(r: random.Random) -> dict[str, Any]:
    a = _rotated(r, bias="qkv")
    return {"pattern": "(*-)x2", "d_model": a["n_heads"] * a["head_dim"], "attention": a,
            "mlp": _dense(r, "swiglu")}  # fmt: skip


def _qwen3(r: random.Random) -> dict[str, Any]:
    return {"pattern": "(*-)x2", "attention": _rotated(r, qk_norm=True),
            "mlp": _dense(r, "swiglu")}  # fmt: skip


def _qwen3moe(r: random.Random) -> dict[str, Any]:
    experts = _experts(r, router="softmax", activation="swiglu", bias_rate=0.0)
    return {"pattern": "(*E)x2", "attention": _rotated(r, qk_norm=True), "moe": experts}


def _mamba2(r: random.Random) -> dict[str, Any]:
    return {"pattern": "Mx3", "mamba": _mamba(r)}


def _nemotron_h(r: random.Random) -> dict[str, Any]:
    return {"pattern": r.choice(["M-M*-", "*M-", "MM*"]), "attention": _attention(r),
            "mamba": _mamba(r), "mlp": _dense(r, "relu2")}  # fmt: skip


def _nemotron_h_moe(r: random.Random) -> dict[str, Any]:
    experts = _experts(r, d_shared=r.choice([10, 27]), scale=r.choice([1.0, 2.5]),
                       normalize=r.choice([True, False]))  # fmt: skip
    return {"pattern": r.choice(["ME*EM", "M*E", "EM*"]), "attention": _attention(r),
            "mamba": _mamba(r), "moe": experts}  # fmt: skip


GRAPHS = {
    "llama": _llama,
    "qwen2": _qwen2,
    "qwen3": _qwen3,
    "qwen3moe": _qwen3moe,
    "mamba2": _mamba2,
    "nemotron_h": _nemotron_h,
    "nemotron_h_moe": _nemotron_h_moe,
}


def odd(graph: str, seed: int) -> LM:
    """A model for ``graph`` whose logits are far from flat."""
    r = random.Random(f"{graph} {seed}")
    data = {"vocab_size": tiny.tokenizer().vocab_size + r.choice([0, 1, 13]),
            "d_model": r.choice([20, 34, 46]), "tied": r.random() < 0.5,
            "norm_eps": r.choice([1e-6, 1e-5, 3e-3]), "init_std": 0.3}  # fmt: skip
    return _random(LM(LMConfig.model_validate(data | GRAPHS[graph](r))), seed)


def _random(model: LM, seed: int) -> LM:
    """Matrices as at initialisation; norms, biases and what else starts out constant at random."""
    model.init_weights(seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith("e_score_correction_bias"):
                low, high = (-0.3, 0.3) if "M" in model.cfg.layers else (0.0, 0.0)
            elif name.endswith(("norm.weight", "norm_f.weight", ".D")):
                low, high = 0.5, 1.5
            elif name.endswith("proj.bias"):
                low, high = -0.5, 0.5
            else:
                continue
            tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)
    return model.eval()


def saved(model: LM, folder: Path) -> Path:
    """``model`` as a folder with the tokenizer of the tests."""
    save_model(model, folder)
    tiny.tokenizer().save(folder)
    return folder
