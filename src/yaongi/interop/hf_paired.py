"""Llama and its kin: blocks of attention and feed-forward, in our letters ``(*-)xN`` or ``(*E)xN``.

Llama (arXiv:2302.13971), Mistral (2310.06825), Qwen2 (2407.10671: q/k/v biases), Qwen3 and
Qwen3-MoE (2505.09388: QK-norm, softmax-routed experts).
"""

from __future__ import annotations

import re
from typing import Any

from yaongi.core.errors import CapabilityError
from yaongi.interop.hf_architecture import (
    Architecture,
    Fields,
    Misfit,
    common,
    expert_file_name,
    need,
    read_common,
)
from yaongi.model.attention import AttentionConfig
from yaongi.model.lm import LMConfig
from yaongi.model.moe import MoEConfig

_SHARED_NAMES = {
    "embeddings.weight": "model.embed_tokens.weight",
    "norm_f.weight": "model.norm.weight",
    "lm_head.weight": "lm_head.weight",
}


def name(ours: str) -> str | None:
    """Two of our layers are one of theirs."""
    if ours in _SHARED_NAMES:
        return _SHARED_NAMES[ours]
    found = re.fullmatch(r"layers\.(\d+)\.(norm|mixer)\.(.*)", ours)
    if found is None or found[3] == "gate.e_score_correction_bias":
        return None  # their router has no selection bias
    block, second = divmod(int(found[1]), 2)
    if found[2] == "norm":
        norm = ("input_layernorm", "post_attention_layernorm")[second]
        return f"model.layers.{block}.{norm}.{found[3]}"
    return expert_file_name(f"model.layers.{block}.{('self_attn', 'mlp')[second]}.{found[3]}")


def _attention(fields: Fields, *, qk_norm: bool, bias: str, head_dim: int | None) -> dict[str, Any]:
    fields.only("partial_rotary_factor", 1.0)
    n_heads = fields.get("num_attention_heads")
    return {
        "n_heads": n_heads,
        "n_kv_heads": fields.get("num_key_value_heads", default=n_heads),
        "head_dim": fields.get(
            "head_dim", default=head_dim or fields.get("hidden_size") // n_heads
        ),
        "qk_norm": qk_norm,
        "bias": bias,
        **_rope(fields),
    }


def _rope(fields: Fields) -> dict[str, Any]:
    """transformers 5 has one section, older files ``rope_theta`` and ``rope_scaling``."""
    section = fields.section("rope_parameters", "rope_scaling")
    theta = section.get("rope_theta", default=fields.get("rope_theta", default=10_000.0))
    kind = section.get("rope_type", "type", default="default")
    section.only("partial_rotary_factor", 1.0)
    if kind == "default":
        return {"rope_theta": theta}
    if kind != "llama3":
        raise CapabilityError(
            "{path}: RoPE scaling of type {found} is not supported; default and llama3 are.",
            path=fields.where,
            found=repr(kind),
        )
    scaling = {
        "factor": section.get("factor"),
        "low_freq_factor": section.get("low_freq_factor"),
        "high_freq_factor": section.get("high_freq_factor"),
        "original_context": section.get(
            "original_max_position_embeddings",
            default=fields.get("max_position_embeddings", default=None),
        ),
    }
    return {"rope_theta": theta, "rope_scaling": scaling}


def _body(fields: Fields) -> dict[str, Any]:
    fields.only("hidden_act", "silu")
    pattern = f"(*-)x{fields.get('num_hidden_layers')}"
    return read_common(fields, pattern, "rms_norm_eps", eps=1e-6)


def _dense(fields: Fields) -> dict[str, Any]:
    return {"d_ff": fields.get("intermediate_size"), "activation": "swiglu"}


def _read_llama(fields: Fields) -> dict[str, Any]:
    fields.only("mlp_bias", False)
    bias = "qkvo" if fields.get("attention_bias", default=False) else "none"
    attention = _attention(fields, qk_norm=False, bias=bias, head_dim=None)
    return {**_body(fields), "attention": attention, "mlp": _dense(fields)}


def _read_qwen2(fields: Fields) -> dict[str, Any]:
    attention = _attention(fields, qk_norm=False, bias="qkv", head_dim=None)
    return {**_body(fields), "attention": attention, "mlp": _dense(fields)}


def _read_qwen3(fields: Fields) -> dict[str, Any]:
    bias = "qkvo" if fields.get("attention_bias", default=False) else "none"
    attention = _attention(fields, qk_norm=True, bias=bias, head_dim=128)
    return {**_body(fields), "attention": attention, "mlp": _dense(fields)}


def _read_qwen3_moe(fields: Fields) -> dict[str, Any]:
    bias = "qkvo" if fields.get("attention_bias", default=False) else "none"
    step = fields.get("decoder_sparse_step", default=1)
    dense = set(fields.get("mlp_only_layers", default=[]))
    blocks = range(fields.get("num_hidden_layers"))
    letters = ["-" if i in dense or (i + 1) % step else "E" for i in blocks]
    uniform = len(set(letters)) == 1
    body = _body(fields)
    body["pattern"] = f"(*{letters[0]})x{len(letters)}" if uniform else "*" + "*".join(letters)
    moe = {
        "n_experts": fields.get("num_experts", "num_local_experts"),
        "top_k": fields.get("num_experts_per_tok"),
        "d_ff": fields.get("moe_intermediate_size"),
        "activation": "swiglu",
        "router": "softmax",
        "normalize": fields.get("norm_topk_prob", default=False),
        "bias_rate": 0.0,  # the architecture has no selection bias to write it to
        "balance": fields.get("router_aux_loss_coef", default=1e-3),
    }
    attention = _attention(fields, qk_norm=True, bias=bias, head_dim=None)
    return {
        **body,
        "attention": attention,
        **({"mlp": _dense(fields)} if "-" in letters else {}),
        **({"moe": moe} if "E" in letters else {}),
    }


def _write_body(cfg: LMConfig, feed_forward: str) -> dict[str, Any]:
    blocks = re.fullmatch(rf"(\*[{re.escape(feed_forward)}])+", cfg.layers)
    need(blocks is not None, f"its layers are not pairs of * and {feed_forward[0]}")
    a = cfg.attention
    if a is None or a.rope_theta is None:
        raise Misfit("attention has no RoPE")
    if cfg.mlp is not None and "-" in cfg.layers:
        need(cfg.mlp.activation == "swiglu", "the feed-forward layer is not SwiGLU")
    return {
        **common(cfg, "rms_norm_eps"),
        "num_hidden_layers": cfg.n_layers // 2,
        "num_attention_heads": a.n_heads,
        "num_key_value_heads": a.n_kv_heads,
        "head_dim": a.head_dim,
        "hidden_act": "silu",
        "intermediate_size": cfg.mlp.d_ff if cfg.mlp else 4 * cfg.d_model,
        **_write_rope(a),
    }


def _write_rope(a: AttentionConfig) -> dict[str, Any]:
    """In both spellings: transformers 5 reads the first, other programs the second."""
    s = a.rope_scaling
    if s is None:
        kind: dict[str, Any] = {"rope_type": "default"}
    else:
        kind = {
            "rope_type": "llama3",
            "factor": s.factor,
            "low_freq_factor": s.low_freq_factor,
            "high_freq_factor": s.high_freq_factor,
            "original_max_position_embeddings": s.original_context,
        }
    return {
        "rope_parameters": {"rope_theta": a.rope_theta, **kind},
        "rope_theta": a.rope_theta,
        **({} if s is None else {"rope_scaling": kind}),
    }


def _settings(cfg: LMConfig, *, qk_norm: bool, bias: tuple[str, ...]) -> bool:
    """Checks the attention's variants; whether it has biases."""
    a = cfg.attention
    if a is None:
        raise Misfit("it has no attention")
    need(a.qk_norm == qk_norm, "it has QK-norm" if a.qk_norm else "it has no QK-norm")
    need(a.bias in bias, f"attention.bias is {a.bias}, not {' or '.join(bias)}")
    return a.bias != "none"


def _write_llama(cfg: LMConfig) -> dict[str, Any]:
    biased = _settings(cfg, qk_norm=False, bias=("none", "qkvo"))
    body = _write_body(cfg, "-")
    need(cfg.d_model % body["num_attention_heads"] == 0, "d_model is no multiple of n_heads")
    return {**body, "attention_bias": biased, "mlp_bias": False}


def _write_mistral(cfg: LMConfig) -> dict[str, Any]:
    _settings(cfg, qk_norm=False, bias=("none",))
    return {**_write_body(cfg, "-"), "sliding_window": None}


def _write_qwen2(cfg: LMConfig) -> dict[str, Any]:
    _settings(cfg, qk_norm=False, bias=("qkv",))
    return {**_write_body(cfg, "-"), "use_sliding_window": False}


def _write_qwen3(cfg: LMConfig) -> dict[str, Any]:
    biased = _settings(cfg, qk_norm=True, bias=("none", "qkvo"))
    return {**_write_body(cfg, "-"), "attention_bias": biased, "use_sliding_window": False}


def _write_qwen3_moe(cfg: LMConfig) -> dict[str, Any]:
    biased = _settings(cfg, qk_norm=True, bias=("none", "qkvo"))
    body = _write_body(cfg, "E-")
    moe = cfg.moe
    if moe is None or "E" not in cfg.layers:
        raise Misfit("it has no experts")
    _check_experts(moe)
    return {
        **body,
        "attention_bias": biased,
        "use_sliding_window": False,
        "num_experts": moe.n_experts,
        "num_experts_per_tok": moe.top_k,
        "moe_intermediate_size": moe.d_ff,
        "norm_topk_prob": moe.normalize,
        "router_aux_loss_coef": moe.balance,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [i for i, letter in enumerate(cfg.layers[1::2]) if letter == "-"],
    }


def _check_experts(moe: MoEConfig) -> None:
    need(moe.router == "softmax", f"the router is {moe.router}, not softmax")
    need(moe.activation == "swiglu", "the experts are not SwiGLU")
    need(moe.d_shared == 0, "it has a shared expert")
    need(moe.scale == 1.0, f"the experts' weights are scaled by {moe.scale}")


PAIRED = (
    Architecture("llama", "LlamaForCausalLM", _read_llama, _write_llama, name),
    Architecture("mistral", "MistralForCausalLM", _read_llama, _write_mistral, name),
    Architecture("qwen2", "Qwen2ForCausalLM", _read_qwen2, _write_qwen2, name),
    Architecture("qwen3", "Qwen3ForCausalLM", _read_qwen3, _write_qwen3, name),
    Architecture("qwen3_moe", "Qwen3MoeForCausalLM", _read_qwen3_moe, _write_qwen3_moe, name),
)


def read_window(fields: Fields, model_type: str) -> int | None:
    """Tokens a sliding attention looks back, or None where all layers see everything."""
    if model_type == "mistral":  # null says none; a missing key means 4096 there
        return fields.data.get("sliding_window", 4096)
    slides = fields.get("use_sliding_window", default=False)
    return fields.get("sliding_window", default=4096) if slides else None
