"""A copy of a model small enough to try in a second: the same letters, narrow.

Every layer, head and projection stays; only widths, vocabulary and the number of experts and table
rows are cut. What runs in the small copy has the kinds, shapes' relations and settings of the
large one.
"""

from __future__ import annotations

from typing import Any, cast

from yaongi.core.config import parse
from yaongi.model.lm import LMConfig

WIDEST = {
    "vocab_size": 512,
    "used_ids": 512,
    "d_model": 64,
    "head_dim": 16,
    "d_state": 16,
    "d_ff": 32,
    "d_shared": 32,
    "n_experts": 8,
    "rows": 101,
}


def shrink(cfg: LMConfig) -> LMConfig:
    """The small copy. A plug-in's settings of these names are cut, too."""
    return parse(LMConfig, _cut(cfg.as_json()), where="model")


def _cut(settings: dict[str, Any]) -> dict[str, Any]:
    small = {name: _smaller(name, value) for name, value in settings.items()}
    if "n_experts" in small:  # as many as the router chooses, or more
        small["n_experts"] = max(small["n_experts"], small["top_k"])
    return small


def _smaller(name: str, value: Any) -> Any:
    if isinstance(value, dict):
        return _cut(cast("dict[str, Any]", value))
    return min(value, WIDEST[name]) if name in WIDEST and isinstance(value, int) else value
