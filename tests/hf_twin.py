"""The same network in transformers: its config, and our weights under its names.

The only place in the tests and benches that knows transformers' names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from yaongi.model.lm import LM, LMConfig

KINDS = {"M": "linear_attention", "*": "full_attention", "E": "moe", "-": "mlp"}


def nemotron_h(cfg: LMConfig) -> Any:
    """An untrained NemotronHForCausalLM of this shape."""
    from transformers import NemotronHConfig, NemotronHForCausalLM

    m, a, f, e = cfg.mamba, cfg.attention, cfg.mlp, cfg.moe
    fields = {
        "vocab_size": cfg.vocab_size,
        "hidden_size": cfg.d_model,
        "layers_block_type": [KINDS[k] for k in cfg.layers],
        "layer_norm_epsilon": cfg.norm_eps,
        # the mixer clamps steps to at least time_step_min in its parallel form only; 0 breaks init
        "time_step_min": 1e-9,
        "rescale_prenorm_residual": False,
        "pad_token_id": None,
    }
    if m:
        fields |= {"mamba_num_heads": m.n_heads, "mamba_head_dim": m.head_dim,
                   "n_groups": m.n_groups, "ssm_state_size": m.d_state,
                   "conv_kernel": m.d_conv}  # fmt: skip
    if a:
        fields |= {"num_attention_heads": a.n_heads, "num_key_value_heads": a.n_kv_heads,
                   "head_dim": a.head_dim}  # fmt: skip
    if f:
        fields |= {"intermediate_size": f.d_ff}
    if e:
        fields |= {"n_routed_experts": e.n_experts, "num_experts_per_tok": e.top_k,
                   "moe_intermediate_size": e.d_ff, "norm_topk_prob": e.normalize,
                   "moe_shared_expert_intermediate_size": e.d_shared,
                   "routed_scaling_factor": e.scale}  # fmt: skip
    return NemotronHForCausalLM(NemotronHConfig(**fields))


def llama(cfg: LMConfig) -> Any:
    """An untrained LlamaForCausalLM of this shape, ``(*-)xN``."""
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(LlamaConfig(**_transformer(cfg), intermediate_size=cfg.mlp.d_ff))


def qwen3(cfg: LMConfig) -> Any:
    """An untrained Qwen3ForCausalLM of this shape, ``(*-)xN`` with QK-norm."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    return Qwen3ForCausalLM(Qwen3Config(**_transformer(cfg), intermediate_size=cfg.mlp.d_ff))


def qwen3_moe(cfg: LMConfig) -> Any:
    """An untrained Qwen3MoeForCausalLM of this shape, ``(*E)xN`` with QK-norm."""
    from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

    fields = {"num_experts": cfg.moe.n_experts, "num_experts_per_tok": cfg.moe.top_k,
              "moe_intermediate_size": cfg.moe.d_ff, "norm_topk_prob": cfg.moe.normalize,
              "decoder_sparse_step": 1, "mlp_only_layers": []}  # fmt: skip
    return Qwen3MoeForCausalLM(Qwen3MoeConfig(**_transformer(cfg), **fields))


def mamba2(cfg: LMConfig) -> Any:
    """An untrained Mamba2ForCausalLM of this shape, ``MxN``."""
    from transformers import Mamba2Config, Mamba2ForCausalLM

    m = cfg.mamba
    fields = {"vocab_size": cfg.vocab_size, "hidden_size": cfg.d_model,
              "num_hidden_layers": cfg.n_layers, "num_heads": m.n_heads, "head_dim": m.head_dim,
              "expand": m.d_inner // cfg.d_model, "n_groups": m.n_groups, "state_size": m.d_state,
              "conv_kernel": m.d_conv, "layer_norm_epsilon": cfg.norm_eps,
              "tie_word_embeddings": cfg.tied, "chunk_size": 32, "pad_token_id": None,
              "time_step_limit": (0.0, float("inf"))}  # fmt: skip
    return Mamba2ForCausalLM(Mamba2Config(**fields))


def _transformer(cfg: LMConfig) -> dict[str, Any]:
    a = cfg.attention
    return {
        "vocab_size": cfg.vocab_size,
        "hidden_size": cfg.d_model,
        "num_hidden_layers": cfg.n_layers // 2,
        "num_attention_heads": a.n_heads,
        "num_key_value_heads": a.n_kv_heads,
        "head_dim": a.head_dim,
        "rms_norm_eps": cfg.norm_eps,
        "rope_theta": a.rope_theta,
        "tie_word_embeddings": cfg.tied,
        "max_position_embeddings": 4096,
    }


def fill(twin: Any, lm: LM) -> None:
    """Copy our weights into ``twin``; every tensor of both must find its place.

    Raises:
        KeyError: something is left over or missing.
    """
    theirs = twin.state_dict()
    ours = in_their_names(twin, lm, lm.state_dict())
    ours["lm_head.weight"] = lm.head_weight
    if unmatched := set(theirs) ^ set(ours):
        raise KeyError(f"unmatched tensors: {sorted(unmatched)}")
    with torch.no_grad():
        for name in theirs:
            theirs[name].copy_(ours[name].detach().view_as(theirs[name]))


def in_their_names(twin: Any, lm: LM, ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors named as ours (weights, or their gradients) under the names ``twin`` has."""
    theirs = twin.state_dict()
    paired = any("self_attn" in name for name in theirs)
    prefix = next(iter(theirs)).partition(".")[0]
    rename = _paired_name if paired else _single_name
    found = {
        name if name.startswith("lm_head") else f"{prefix}.{rename(name)}": tensor
        for name, tensor in ours.items()
        # the paired ones have no selection bias; ours is zero until training moves it
        if not (paired and "e_score_correction_bias" in name)
    }
    for name in [n for n in found if n.endswith("experts.gate_proj")]:
        stem = name.removesuffix("gate_proj")
        both = [found.pop(stem + "gate_proj"), found.pop(stem + "up_proj")]
        found[stem + "gate_up_proj"] = torch.cat(both, 1)
    return found


def _single_name(name: str) -> str:
    """Architectures whose layers are single mixers, as ours: the same names."""
    return name


def _paired_name(name: str) -> str:
    """Architectures whose layers are attention and feed-forward together."""
    name = name.replace("embeddings.", "embed_tokens.").replace("norm_f.", "norm.")
    found = re.fullmatch(r"layers\.(\d+)\.(norm|mixer)\.(.*)", name)
    if not found:
        return name
    layer, second = divmod(int(found[1]), 2)
    if found[2] == "norm":
        return f"layers.{layer}.{('input', 'post_attention')[second]}_layernorm.{found[3]}"
    return f"layers.{layer}.{('self_attn', 'mlp')[second]}.{found[3]}"
