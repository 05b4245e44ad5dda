"""Architectures whose layers are single mixers, as ours are: Nemotron-H and Mamba-2.

Nemotron-H (arXiv:2504.03624) and Nemotron 3 Nano (2512.20848) are spelled with our own letters;
Mamba-2 (2405.21060) is ``MxN``.
"""

from __future__ import annotations

import math
from typing import Any

from yaongi.core.errors import CapabilityError
from yaongi.core.files import is_mapping
from yaongi.interop.hf_architecture import (
    Architecture,
    Fields,
    Misfit,
    common,
    expert_file_name,
    need,
    read_common,
)
from yaongi.model.lm import LMConfig

LAYER_TYPES = {
    "linear_attention": "M",
    "mamba": "M",
    "full_attention": "*",
    "attention": "*",
    "moe": "E",
    "mlp": "-",
}


def name(ours: str) -> str:
    """The same names below ``backbone``."""
    return ours if ours == "lm_head.weight" else expert_file_name(f"backbone.{ours}")


def _read_nemotron_h(fields: Fields) -> dict[str, Any]:
    _refuse_variants(fields)
    letters = fields.get("hybrid_override_pattern", default="") or "".join(
        LAYER_TYPES.get(kind, str(kind)) for kind in fields.get("layers_block_type", "layer_types")
    )
    readers = {"M": ("mamba", _mamba), "*": ("attention", _attention),
               "-": ("mlp", _mlp), "E": ("moe", _moe)}  # fmt: skip
    used = [readers[letter] for letter in readers if letter in letters]
    return {
        **read_common(fields, letters, "layer_norm_epsilon", "rms_norm_eps", eps=1e-5),
        "tied": False,  # transformers never ties it, whatever tie_word_embeddings says
        **{section: read(fields) for section, read in used},
    }


def _refuse_variants(fields: Fields) -> None:
    for switch in ("use_bias", "mlp_bias", "mamba_proj_bias", "attention_bias"):
        fields.only(switch, False)
    fields.only("use_conv_bias", True)
    fields.only("mamba_hidden_act", "silu")
    fields.only("mlp_hidden_act", "relu2")
    fields.only("num_nextn_predict_layers", 0)
    fields.only("sliding_window", None)


def _mamba(fields: Fields) -> dict[str, Any]:
    return {
        "n_heads": fields.get("mamba_num_heads"),
        "head_dim": fields.get("mamba_head_dim"),
        "n_groups": fields.get("n_groups", "mamba_n_groups"),
        "d_state": fields.get("ssm_state_size"),
        "d_conv": fields.get("conv_kernel", "mamba_d_conv", default=4),
    }


def _attention(fields: Fields) -> dict[str, Any]:
    heads = fields.get("num_attention_heads")
    return {
        "n_heads": heads,
        "n_kv_heads": fields.get("num_key_value_heads", default=heads),
        "head_dim": fields.get("head_dim", "attention_head_dim", default=128),
    }


def _mlp(fields: Fields) -> dict[str, Any]:
    return {"d_ff": fields.get("intermediate_size"), "activation": "relu2"}


def _moe(fields: Fields) -> dict[str, Any]:
    fields.only("n_group", 1)
    fields.only("topk_group", 1)
    fields.only("n_shared_experts", 1)  # vLLM multiplies by it, transformers ignores it
    fields.only("moe_latent_size", None)
    return {
        "n_experts": fields.get("n_routed_experts"),
        "top_k": fields.get("num_experts_per_tok"),
        "d_ff": fields.get("moe_intermediate_size"),
        "d_shared": fields.get("moe_shared_expert_intermediate_size"),
        "activation": "relu2",
        "router": "sigmoid",
        "normalize": fields.get("norm_topk_prob", default=True),
        "scale": fields.get("routed_scaling_factor", default=1.0),
    }


def _write_nemotron_h(cfg: LMConfig) -> dict[str, Any]:
    shared = common(cfg, "layer_norm_epsilon")
    need("M" in cfg.layers, "it has no Mamba-2 layer, so nothing knows the order of tokens")
    return {
        **shared,
        "num_hidden_layers": cfg.n_layers,
        # vLLM and llama.cpp read the pattern; transformers turns it into layers_block_type
        "hybrid_override_pattern": cfg.layers,
        **_write_mamba(cfg),
        **(_write_attention(cfg) if "*" in cfg.layers else {}),
        **(_write_mlp(cfg) if "-" in cfg.layers else {}),
        **(_write_moe(cfg) if "E" in cfg.layers else {}),
        "tie_word_embeddings": False,
        "use_bias": False,
        "mlp_bias": False,
        "attention_bias": False,
        "mamba_proj_bias": False,
        "mamba_hidden_act": "silu",
        "mlp_hidden_act": "relu2",
        "residual_in_fp32": False,
        "rescale_prenorm_residual": False,
    }


def _write_mamba(cfg: LMConfig) -> dict[str, Any]:
    m = cfg.mamba
    if m is None:
        raise Misfit("it has no Mamba-2 layer")
    return {
        "mamba_num_heads": m.n_heads,
        "mamba_head_dim": m.head_dim,
        "n_groups": m.n_groups,
        "ssm_state_size": m.d_state,
        "conv_kernel": m.d_conv,
        "expand": max(1, round(m.d_inner / cfg.d_model)),  # required, but heads decide
        "use_conv_bias": True,
        "chunk_size": 128,
        # transformers clamps steps to at least this when it reads a prompt and not when it
        # answers; nobody else does. Zero would break its initialisation.
        "time_step_min": 1e-9,
        "time_step_max": 0.1,
        "time_step_floor": 1e-4,
    }


def _write_attention(cfg: LMConfig) -> dict[str, Any]:
    a = cfg.attention
    if a is None:
        raise Misfit("it has no attention")
    need(a.rope_theta is None, "attention has RoPE")
    need(not a.qk_norm, "it has QK-norm")
    need(a.bias == "none", f"attention.bias is {a.bias}, not none")
    return {
        "num_attention_heads": a.n_heads,
        "num_key_value_heads": a.n_kv_heads,
        "head_dim": a.head_dim,
    }


def _write_mlp(cfg: LMConfig) -> dict[str, Any]:
    if cfg.mlp is None or cfg.mlp.activation != "relu2":
        raise Misfit("the feed-forward layer is not squared ReLU")
    return {"intermediate_size": cfg.mlp.d_ff}


def _write_moe(cfg: LMConfig) -> dict[str, Any]:
    e = cfg.moe
    if e is None:
        raise Misfit("it has no experts")
    need(e.router == "sigmoid", f"the router is {e.router}, not sigmoid")
    need(e.activation == "relu2", "the experts are not squared ReLU")
    need(e.d_shared > 0, "it has no shared expert")
    return {
        "n_routed_experts": e.n_experts,
        "num_experts_per_tok": e.top_k,
        "n_shared_experts": 1,
        "moe_intermediate_size": e.d_ff,
        "moe_shared_expert_intermediate_size": e.d_shared,
        "routed_scaling_factor": e.scale,
        "norm_topk_prob": e.normalize,
        "n_group": 1,
        "topk_group": 1,
    }


def _read_mamba2(fields: Fields) -> dict[str, Any]:
    fields.only("use_bias", False)
    fields.only("use_conv_bias", True)
    fields.only("hidden_act", "silu")
    _refuse_clamped_steps(fields)
    pattern = f"Mx{fields.get('num_hidden_layers')}"
    return {
        **read_common(fields, pattern, "layer_norm_epsilon", eps=1e-5),
        "mamba": {
            "n_heads": fields.get("num_heads"),
            "head_dim": fields.get("head_dim"),
            "n_groups": fields.get("n_groups"),
            "d_state": fields.get("state_size"),
            "d_conv": fields.get("conv_kernel", default=4),
        },
    }


def _refuse_clamped_steps(fields: Fields) -> None:
    low, high = fields.get("time_step_limit", default=(0.0, math.inf))
    if is_mapping(high):  # transformers writes infinity as {"__float__": "Infinity"}
        high = float(high.get("__float__", "nan"))
    if low > 0 or high != math.inf:
        raise CapabilityError(
            "{path}: {name} is {found}; yaongi has layers for {expected} only.",
            path=fields.where,
            name="time_step_limit",
            found=f"[{low}, {high}]",
            expected="[0, Infinity]",
        )


def _write_mamba2(cfg: LMConfig) -> dict[str, Any]:
    shared = common(cfg, "layer_norm_epsilon")
    m = cfg.mamba
    if m is None or set(cfg.layers) != {"M"}:
        raise Misfit("not every layer is Mamba-2")
    need(m.d_inner % cfg.d_model == 0, f"d_inner ({m.d_inner}) is no multiple of d_model")
    return {
        **shared,
        "num_hidden_layers": cfg.n_layers,
        "num_heads": m.n_heads,
        "head_dim": m.head_dim,
        "expand": m.d_inner // cfg.d_model,
        "n_groups": m.n_groups,
        "state_size": m.d_state,
        "conv_kernel": m.d_conv,
        "hidden_act": "silu",
        "use_bias": False,
        "use_conv_bias": True,
        "residual_in_fp32": False,
        "rescale_prenorm_residual": False,
    }


SINGLE = (
    Architecture("mamba2", "Mamba2ForCausalLM", _read_mamba2, _write_mamba2, name),
    Architecture(
        "nemotron_h", "NemotronHForCausalLM", _read_nemotron_h, _write_nemotron_h, name, ties=False
    ),
)
