"""Models that no architecture of transformers holds, by a modeling file beside the weights.

The file (``modeling_yaongi.py``) wraps the network of the installed yaongi, so there is one
implementation and its logits cannot drift from ours.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from yaongi.core.errors import ConfigError
from yaongi.interop.hf_architecture import Architecture, Fields
from yaongi.model.lm import LMConfig

MODELING = "modeling_yaongi.py"


def add_modeling_file(cfg: LMConfig, out: Path) -> dict[str, Any]:
    """Copy it beside the weights; returns what config.json must say for it to be found."""
    shutil.copyfile(Path(__file__).with_name(MODELING), out / MODELING)
    module = MODELING.removesuffix(".py")
    return {
        "auto_map": {
            "AutoConfig": f"{module}.YaongiConfig",
            "AutoModelForCausalLM": f"{module}.YaongiForCausalLM",
        },
        "lm": cfg.as_json(),
    }


def _read(fields: Fields) -> dict[str, Any]:
    return dict(fields.get("lm"))


def _write(cfg: LMConfig) -> dict[str, Any]:
    if set(cfg.layers) & set(cfg.letters):
        raise ConfigError(
            "A model with plug-in layers cannot be exported: the program that reads it has not "
            "imported the plug-in."
        )
    return {
        "vocab_size": cfg.vocab_size,
        "hidden_size": cfg.d_model,
        "num_hidden_layers": cfg.n_layers,
        "tie_word_embeddings": False,  # a tied head is no tensor of its own in ours
    }


def _name(ours: str) -> str:
    return f"lm.{ours}"


CUSTOM = Architecture("yaongi", "YaongiForCausalLM", _read, _write, _name)
