"""Which of llama.cpp's architectures computes a model, and the settings it is told.

An architecture there is a fixed graph with a few numbers as settings. A model goes only where the
graph computes exactly what ours does; a refusal names every setting in the way.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from yaongi.core.errors import CapabilityError
from yaongi.core.i18n import translate
from yaongi.model.lm import BUILT_IN, LMConfig

TWIN = "yaongi-4b-a0.6b-stock"


@dataclass(frozen=True)
class Architecture:
    """A graph of llama.cpp.

    Attributes:
        keys: its settings, without the prefix ``{name}.``.
        paired: a block is attention and feed-forward, two of our layers.
        interleaved: rotations turn neighbours (2i, 2i+1) where ours turn (i, i + K/2).
        has_bias: the router has a place for our selection bias; else it must be zero.
    """

    name: str
    keys: dict[str, Any]
    paired: bool = False
    interleaved: bool = False
    has_bias: bool = True


def architecture(cfg: LMConfig) -> Architecture:
    """The graph that computes ``cfg``.

    Raises:
        CapabilityError: there is none; the message names what would have to be different.
    """
    _only_stock_layers(cfg)
    name = _closest(cfg)
    if needs := list(_needs(name, cfg)):
        raise CapabilityError(
            "llama.cpp cannot compute this model: its nearest architecture, {name}, needs {needs}.",
            name=name,
            needs="; ".join(needs),
        )
    return Architecture(
        name=name,
        keys={**_common(cfg), **_KEYS[name](cfg)},
        paired=_KEYS[name] is _transformer_keys,
        interleaved=name == "llama",
        has_bias=name == "nemotron_h_moe",
    )


def _only_stock_layers(cfg: LMConfig) -> None:
    if cfg.engram is not None:
        raise CapabilityError(
            "This model has Engram tables, which no architecture of stock llama.cpp can look up. "
            "Export a model without them, such as its twin '{twin}', or take --to hf.",
            twin=TWIN,
        )
    for letter in cfg.layers:
        if letter not in BUILT_IN:
            raise CapabilityError(
                "llama.cpp does not know the layers '{letter}' of the plug-in {kind}.",
                letter=letter,
                kind=cfg.letters[letter].kind,
            )
    if {"-", "E"} <= set(cfg.layers):
        raise CapabilityError(
            "The pattern {pattern} mixes '-' and 'E'. In llama.cpp either every feed-forward layer "
            "is a mixture of experts or none is; use one of the two letters.",
            pattern=cfg.pattern,
        )


def _closest(cfg: LMConfig) -> str:
    letters, a = cfg.layers, cfg.attention
    if set(letters) == {"M"}:
        return "mamba2"
    if a is None or letters not in ("*-" * (len(letters) // 2), "*E" * (len(letters) // 2)):
        return "nemotron_h_moe" if "E" in letters else "nemotron_h"
    if "E" in letters:
        return "qwen3moe"
    if a.qk_norm:
        return "qwen3"
    # the graph called llama adds biases too, and knows more: heads of any width, scaled RoPE
    fits_qwen2 = a.n_heads * a.head_dim == cfg.d_model and a.rope_scaling is None
    return "qwen2" if a.bias == "qkv" and fits_qwen2 else "llama"


def _needs(name: str, cfg: LMConfig) -> Iterator[str]:
    """What would have to be different: the settings that the graph fixes at another value."""
    hybrid = name.startswith("nemotron")
    activation = "relu2" if hybrid else "swiglu"
    for letter in ("M", "*") if hybrid else ():
        if letter not in cfg.layers:  # its two kinds of cache must both have a layer
            yield translate("at least one '{letter}' in the pattern", letter=letter)
    fixed: list[tuple[str, Any, Any]] = []
    if "*" in cfg.layers and (a := cfg.attention):
        if hybrid or a.rope_theta is None:
            fixed.append(("attention.rope_theta", a.rope_theta, None if hybrid else 1e4))
        fixed.append(("attention.qk_norm", a.qk_norm, name.startswith("qwen3")))
        if name not in ("llama", "qwen2"):
            fixed.append(("attention.bias", a.bias, "none"))
        if name != "llama":
            fixed.append(
                ("attention.rope_scaling", a.rope_scaling and a.rope_scaling.as_json(), None)
            )
    if "-" in cfg.layers and (f := cfg.mlp):
        fixed.append(("mlp.activation", f.activation, activation))
    if "E" in cfg.layers and (e := cfg.moe):
        fixed.append(("moe.activation", e.activation, activation))
        fixed.append(("moe.router", e.router, "sigmoid" if hybrid else "softmax"))
        if hybrid and not e.d_shared:
            fixed.append(("moe.d_shared", e.d_shared, 2 * e.d_ff))
        if not hybrid:
            fixed += [
                ("moe.d_shared", e.d_shared, 0),
                ("moe.normalize", e.normalize, True),
                ("moe.scale", e.scale, 1.0),
            ]
    for setting, found, wanted in fixed:
        if found != wanted:
            yield translate(
                "{setting}: {wanted} (it is {found})",
                setting=setting,
                wanted=_written(wanted),
                found=_written(found),
            )


def _written(value: Any) -> str:
    """As a recipe writes it."""
    return json.dumps(value)


def _common(cfg: LMConfig) -> dict[str, Any]:
    return {
        "block_count": cfg.n_layers,
        "vocab_size": cfg.vocab_size,
        "embedding_length": cfg.d_model,
        "attention.layer_norm_rms_epsilon": cfg.norm_eps,
    }


def _transformer_keys(cfg: LMConfig) -> dict[str, Any]:
    """``(*-)xN`` and ``(*E)xN``: a block is two of our layers."""
    assert cfg.attention is not None
    keys: dict[str, Any] = {
        "block_count": cfg.n_layers // 2,
        **_head_keys(cfg),
        "attention.head_count_kv": cfg.attention.n_kv_heads,
        "rope.freq_base": cfg.attention.rope_theta,
    }
    if cfg.mlp and "-" in cfg.layers:
        keys["feed_forward_length"] = cfg.mlp.d_ff
    if cfg.moe and "E" in cfg.layers:
        keys |= {"feed_forward_length": cfg.moe.d_ff, **_expert_keys(cfg)}
    return keys


def _mamba2_keys(cfg: LMConfig) -> dict[str, Any]:
    return {"feed_forward_length": 0, "attention.head_count": 0, **_ssm_keys(cfg)}


def _hybrid_keys(cfg: LMConfig) -> dict[str, Any]:
    """The pattern as two arrays: key-value heads and feed-forward widths, 0 where a layer has
    none; a layer with neither is Mamba-2."""
    width = {"-": cfg.mlp.d_ff if cfg.mlp else 0, "E": cfg.moe.d_ff if cfg.moe else 0}
    heads = {"*": cfg.attention.n_kv_heads if cfg.attention else 0}
    keys: dict[str, Any] = {
        "feed_forward_length": [width.get(k, 0) for k in cfg.layers],
        "attention.head_count_kv": [heads.get(k, 0) for k in cfg.layers],
        "attention.layer_norm_epsilon": cfg.norm_eps,
        **_head_keys(cfg),
        **_ssm_keys(cfg),
    }
    return {**keys, **_expert_keys(cfg)} if "E" in cfg.layers else keys


def _head_keys(cfg: LMConfig) -> dict[str, Any]:
    a = cfg.attention
    assert a is not None
    return {
        "attention.head_count": a.n_heads,
        "attention.key_length": a.head_dim,
        "attention.value_length": a.head_dim,
        "rope.dimension_count": a.head_dim,
    }


def _ssm_keys(cfg: LMConfig) -> dict[str, Any]:
    m = cfg.mamba
    assert m is not None
    return {
        "ssm.conv_kernel": m.d_conv,
        "ssm.state_size": m.d_state,
        "ssm.group_count": m.n_groups,
        "ssm.inner_size": m.d_inner,
        "ssm.time_step_rank": m.n_heads,  # Mamba-1's name; Mamba-2 has a step size per head
    }


def _expert_keys(cfg: LMConfig) -> dict[str, Any]:
    e = cfg.moe
    assert e is not None
    keys: dict[str, Any] = {
        "expert_count": e.n_experts,
        "expert_used_count": e.top_k,
        "expert_feed_forward_length": e.d_ff,
        "expert_weights_norm": e.normalize,
        "expert_weights_scale": e.scale,
    }
    if e.d_shared:
        keys |= {"expert_shared_count": 1, "expert_shared_feed_forward_length": e.d_shared,
                 "expert_group_count": 1, "expert_group_used_count": 1}  # fmt: skip
    return keys


_KEYS: dict[str, Callable[[LMConfig], dict[str, Any]]] = {
    "llama": _transformer_keys,
    "qwen2": _transformer_keys,
    "qwen3": _transformer_keys,
    "qwen3moe": _transformer_keys,
    "mamba2": _mamba2_keys,
    "nemotron_h": _hybrid_keys,
    "nemotron_h_moe": _hybrid_keys,
}
