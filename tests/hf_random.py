"""Small transformers models with odd, random settings and every number random, on disk."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch

VOCAB = 61
EXPERTS = "eager"  # its grouped products want rows of 16 bytes


def _sizes(r: random.Random) -> dict[str, Any]:
    """What all architectures have; head_dim is not hidden / heads."""
    kv = r.choice([1, 2, 3])
    return {
        "vocab_size": VOCAB,
        "hidden_size": r.choice([10, 14, 22, 26]),
        "num_hidden_layers": r.choice([1, 2, 3]),
        "num_attention_heads": kv * r.choice([1, 2, 3]),
        "num_key_value_heads": kv,
        "head_dim": r.choice([4, 6, 12]),
        "intermediate_size": r.choice([9, 17, 30]),
        "rms_norm_eps": r.choice([1e-6, 1e-5, 3e-3]),
        "rope_parameters": {"rope_type": "default", "rope_theta": r.choice([1e4, 5e5, 300.0])},
        "tie_word_embeddings": r.random() < 0.5,
        "max_position_embeddings": r.choice([128, 4096]),
    }


def _biased(r: random.Random) -> dict[str, Any]:
    return {**_sizes(r), "attention_bias": r.random() < 0.5}


def _llama(r: random.Random) -> dict[str, Any]:
    """transformers wants the width of Llama, and of no other, to be a multiple of the heads."""
    sizes = _biased(r)
    return {**sizes, "hidden_size": sizes["num_attention_heads"] * r.choice([3, 5])}


def _llama3(r: random.Random) -> dict[str, Any]:
    """Angles of every kind: slowed, between, and kept."""
    scaling = {
        "rope_type": "llama3",
        "rope_theta": 500.0,
        "factor": r.choice([4.0, 8.0, 32.0]),
        "low_freq_factor": r.choice([1.0, 1.5]),
        "high_freq_factor": r.choice([4.0, 6.0]),
        "original_max_position_embeddings": r.choice([16, 40]),
    }
    return {**_llama(r), "head_dim": 12, "rope_parameters": scaling}


def _mistral(r: random.Random) -> dict[str, Any]:
    return {**_sizes(r), "sliding_window": r.choice([None, 64, 4096])}


def _qwen3_moe(r: random.Random) -> dict[str, Any]:
    return {
        **_biased(r),
        "num_hidden_layers": 3,
        "num_experts": r.choice([3, 5, 7]),
        "num_experts_per_tok": r.choice([1, 2, 3]),
        "moe_intermediate_size": r.choice([5, 8, 11]),
        "norm_topk_prob": r.random() < 0.5,
        "mlp_only_layers": r.choice([[], [0]]),
        "decoder_sparse_step": r.choice([1, 2]),
    }


def _scan(r: random.Random) -> dict[str, Any]:
    groups = r.choice([1, 2, 3])
    return {"groups": groups, "heads": groups * r.choice([1, 2]), "width": r.choice([3, 5, 8])}


def _mamba2(r: random.Random) -> dict[str, Any]:
    scan = _scan(r)
    expand = r.choice([1, 2])
    return {
        "vocab_size": VOCAB,
        "num_hidden_layers": r.choice([1, 2, 3]),
        "num_heads": 2 * scan["heads"],
        "head_dim": scan["width"],
        "hidden_size": 2 * scan["heads"] * scan["width"] // expand,
        "expand": expand,
        "n_groups": scan["groups"],
        "state_size": r.choice([3, 7]),
        "conv_kernel": r.choice([3, 4]),
        "chunk_size": 16,
        "layer_norm_epsilon": r.choice([1e-5, 1e-3]),
        "tie_word_embeddings": r.random() < 0.5,
        "pad_token_id": 0,
    }


def _nemotron_h(r: random.Random, letters: str) -> dict[str, Any]:
    scan, kv = _scan(r), r.choice([1, 2])
    return {
        "vocab_size": VOCAB,
        "hidden_size": r.choice([10, 14, 22]),
        "hybrid_override_pattern": f"M{r.choice(letters)}*{r.choice(letters)}{letters[-1]}",
        "num_attention_heads": kv * r.choice([1, 3]),
        "num_key_value_heads": kv,
        "head_dim": r.choice([5, 6]),
        "intermediate_size": r.choice([9, 17]),
        "mamba_num_heads": scan["heads"],
        "mamba_head_dim": scan["width"],
        "n_groups": scan["groups"],
        "ssm_state_size": r.choice([3, 7]),
        "conv_kernel": r.choice([3, 4]),
        "chunk_size": 16,
        "time_step_min": 1e-9,  # see docs/interop.md
        "n_routed_experts": r.choice([3, 5]),
        "num_experts_per_tok": r.choice([1, 2]),
        "moe_intermediate_size": r.choice([4, 7]),
        "moe_shared_expert_intermediate_size": r.choice([3, 9]),
        "routed_scaling_factor": r.choice([1.0, 2.5]),
        "norm_topk_prob": r.random() < 0.5,
        "layer_norm_epsilon": r.choice([1e-5, 1e-3]),
        "pad_token_id": 0,
    }


KINDS = {
    "llama": ("llama", _llama),
    "llama with scaled RoPE": ("llama", _llama3),
    "mistral": ("mistral", _mistral),
    "qwen2": ("qwen2", _sizes),
    "qwen3": ("qwen3", _biased),
    "qwen3_moe": ("qwen3_moe", _qwen3_moe),
    "mamba2": ("mamba2", _mamba2),
    "nemotron_h dense": ("nemotron_h", lambda r: _nemotron_h(r, "M*-")),
    "nemotron_h experts": ("nemotron_h", lambda r: _nemotron_h(r, "M*E")),
}


def save(kind: str, seed: int, folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    """A random model of ``kind``, written by transformers in several shards; returns it."""
    from transformers import AutoConfig, AutoModelForCausalLM

    model_type, settings = KINDS[kind]
    config = AutoConfig.for_model(model_type, **settings(random.Random(f"{kind} {seed}")))
    config._experts_implementation = EXPERTS
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config)
    _scramble(model)
    model = model.to(dtype).eval()
    model.save_pretrained(folder, max_shard_size="4KB")
    return model


@torch.no_grad()
def _scramble(model: Any) -> None:
    """Norms of ones and biases of zeros would hide one that got lost; small logits hide all."""
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if "norm" in name and "weight" in name:
            tensor.uniform_(0.5, 1.5)
        elif "bias" in name:
            tensor.uniform_(-0.5, 0.5)
        elif name.endswith((".A_log", ".D")):
            tensor.uniform_(0.1, 1.5)
        elif "inv_freq" not in name:
            tensor.normal_(0, 0.3)
