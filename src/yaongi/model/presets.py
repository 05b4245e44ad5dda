"""The family: named model shapes, each the settings of one published or benchmarked size.

``nemotron-3-nano`` is there to be counted and imported; ``llama-3.2-1b`` and ``qwen3-0.6b`` are
shapes to plan with.
"""

from __future__ import annotations

from typing import Any

from yaongi.core.config import parse
from yaongi.core.errors import ConfigError, did_you_mean
from yaongi.model.lm import LMConfig

NANO = "MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME"  # Nemotron 3 Nano's 52 letters


def _mamba(heads: int, width: int, groups: int, state: int) -> dict[str, int]:
    return {"n_heads": heads, "head_dim": width, "n_groups": groups, "d_state": state}


def _attention(heads: int, kv: int, width: int, **more: Any) -> dict[str, Any]:
    return {"n_heads": heads, "n_kv_heads": kv, "head_dim": width, **more}


def _moe(experts: int, top_k: int, d_ff: int, shared: int, **more: Any) -> dict[str, Any]:
    return {"n_experts": experts, "top_k": top_k, "d_ff": d_ff, "d_shared": shared, **more}


_SWIGLU = {"activation": "swiglu"}

_FLAGSHIP: dict[str, Any] = {
    "vocab_size": 32768,
    "d_model": 1024,
    "tied": False,
    "pattern": NANO,
    "mamba": _mamba(32, 64, 4, 128),
    "attention": _attention(16, 2, 128),
    "moe": _moe(64, 6, 1024, 2048, scale=2.5),
}
_HALF: dict[str, Any] = {
    "vocab_size": 32768,
    "d_model": 768,
    "pattern": "MEMEM*EMEMEM*EMEMEME",
    "mamba": _mamba(24, 64, 4, 64),
    "attention": _attention(12, 2, 64),
}

PRESETS: dict[str, dict[str, Any]] = {
    "5m": {
        "vocab_size": 8192,
        "d_model": 192,
        "pattern": "M-M-M*-M-M-M-",
        "mamba": _mamba(6, 64, 1, 64),
        "attention": _attention(3, 1, 64),
        "mlp": {"d_ff": 768},
    },
    "26m": {
        "vocab_size": 32768,
        "d_model": 384,
        "pattern": "(*-)x8",
        "attention": _attention(6, 2, 64, rope_theta=10_000.0),
        "mlp": {"d_ff": 1024, **_SWIGLU},
    },
    "26m-mamba": {
        "vocab_size": 32768,
        "d_model": 384,
        "pattern": "Mx12",
        "mamba": _mamba(12, 64, 2, 64),
    },
    "61m-a25m": {
        "vocab_size": 32768,
        "d_model": 384,
        "pattern": "MEMEM*EMEMEM*E",
        "mamba": _mamba(12, 64, 2, 64),
        "attention": _attention(6, 2, 64),
        "moe": _moe(32, 2, 256, 768, scale=2.5),
    },
    "146m": {
        "vocab_size": 32768,
        "d_model": 768,
        "pattern": "M-M-M-M*-M-M-M-M-M*-M-M-M-M-",
        "mamba": _mamba(24, 64, 4, 128),
        "attention": _attention(12, 4, 64),
        "mlp": {"d_ff": 3072},
    },
    "0.5b-a0.1b": {**_HALF, "moe": _moe(64, 4, 512, 768, scale=2.5)},
    "0.5b-a0.1b-engram": {
        **_HALF,
        "moe": _moe(48, 4, 512, 768, scale=2.5),
        # 29 % of what is sparse are table rows; rows: 80000 makes it 25 %
        "engram": {
            "layers": [2, 9],
            "head_dim": 48,
            "rows": 100_000,
            "modules": {9: {"head_dim": 32}},
        },
    },
    "yaongi-4b-a0.6b": {
        **_FLAGSHIP,
        "engram": {
            "layers": [2, 26],
            "head_dim": 64,
            "rows": 200_000,
            "modules": {26: {"orders": [2, 3, 4], "head_dim": 48, "rows": 500_000}},
        },
    },
    "yaongi-4b-a0.6b-stock": _FLAGSHIP,  # the twin without Engram, for engines that know none
    "minimind-64m": {
        "vocab_size": 6400,
        "d_model": 768,
        "pattern": "(*-)x8",
        "norm_eps": 1e-6,
        "attention": _attention(8, 4, 96, rope_theta=1e6, qk_norm=True),
        "mlp": {"d_ff": 2432, **_SWIGLU},
    },
    "minimind-198m-a64m": {
        "vocab_size": 6400,
        "d_model": 768,
        "pattern": "(*E)x8",
        "norm_eps": 1e-6,
        "attention": _attention(8, 4, 96, rope_theta=1e6, qk_norm=True),
        # Qwen3-MoE has no selection bias, so the loss alone must balance
        "moe": _moe(4, 1, 2432, 0, router="softmax", bias_rate=0.0, balance=0.01, **_SWIGLU),
    },
    "smallm-39m": {
        "vocab_size": 32000,
        "d_model": 512,
        "pattern": "(*-)x8",
        "attention": _attention(8, 4, 64, rope_theta=10_000.0),
        "mlp": {"d_ff": 1376, **_SWIGLU},
    },
    "nemotron-3-nano": {  # arXiv:2512.20848
        "vocab_size": 131072,
        "d_model": 2688,
        "tied": False,
        "pattern": NANO,
        "mamba": _mamba(64, 64, 8, 128),
        "attention": _attention(32, 2, 128),
        "moe": _moe(128, 6, 1856, 3712, scale=2.5),
    },
    "llama-3.2-1b": {  # without Llama 3's stretching of long positions, which has no weights
        "vocab_size": 128256,
        "d_model": 2048,
        "pattern": "(*-)x16",
        "attention": _attention(32, 8, 64, rope_theta=500_000.0),
        "mlp": {"d_ff": 8192, **_SWIGLU},
    },
    "qwen3-0.6b": {
        "vocab_size": 151936,
        "d_model": 1024,
        "pattern": "(*-)x28",
        "norm_eps": 1e-6,
        "attention": _attention(16, 8, 128, rope_theta=1e6, qk_norm=True),
        "mlp": {"d_ff": 3072, **_SWIGLU},
    },
    "bench-hybrid": {
        "vocab_size": 8192,
        "d_model": 256,
        "tied": False,
        "pattern": "MEMEM*EMEME",
        "mamba": _mamba(8, 64, 1, 64),
        "attention": _attention(4, 2, 64),
        "moe": _moe(16, 4, 256, 256, scale=2.5),
    },
    "bench-dense": {
        "vocab_size": 8192,
        "d_model": 512,
        "pattern": "(*-)x8",
        "attention": _attention(8, 4, 64, rope_theta=10_000.0),
        "mlp": {"d_ff": 1376, **_SWIGLU},
    },
}


def preset(name: str, **changes: Any) -> LMConfig:
    """The settings of preset ``name`` with top-level ``changes``; nested settings are merged.

    Raises:
        ConfigError: an unknown preset (naming the nearest), or changes that do not fit.
    """
    return parse(LMConfig, preset_settings(name, **changes), where="model")


def preset_settings(name: str, **changes: Any) -> dict[str, Any]:
    """The same as plain values, not checked yet, for a schema of which the model is a part."""
    if name not in PRESETS:
        raise ConfigError(
            "There is no preset '{name}'. {help}",
            name=name,
            help=did_you_mean(name, PRESETS),
        )
    data = dict(PRESETS[name])
    for key, value in changes.items():
        old = data.get(key)
        data[key] = {**old, **value} if isinstance(old, dict) and isinstance(value, dict) else value
    return data
