"""The same network in transformers: built from our export's settings, filled through its files."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from yaongi.interop.hf import choose, export_hf
from yaongi.interop.hf_files import read_weights
from yaongi.interop.hf_names import to_theirs
from yaongi.model.io import save_model
from yaongi.model.lm import LM, LMConfig


def untrained(cfg: LMConfig, model_type: str | None = None) -> Any:
    """A model of this shape with transformers' own random weights."""
    from transformers import AutoConfig, AutoModelForCausalLM

    architecture, fields = choose(cfg, model_type)
    config = AutoConfig.for_model(architecture.model_type, pad_token_id=None, **fields)
    return AutoModelForCausalLM.from_config(config)


def twin(lm: LM) -> Any:
    """Our model, exported and loaded by transformers, every tensor of both accounted for."""
    from transformers import AutoModelForCausalLM

    with tempfile.TemporaryDirectory() as folder:
        save_model(lm, Path(folder, "ours"))
        export_hf(Path(folder, "ours"), Path(folder, "theirs"))
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            Path(folder, "theirs"), output_loading_info=True
        )
    other, report = loaded
    strangers = {k: v for k, v in report.items() if v}
    assert not strangers, f"unmatched tensors: {strangers}"
    return other.eval()


def gradients(lm: LM, other: Any) -> dict[str, tuple[Tensor, Tensor]]:
    """Both models' gradients, paired by the names they have in transformers' files."""
    mine: dict[str, Any] = dict(lm.state_dict()) | {n: p.grad for n, p in lm.named_parameters()}
    architecture, _fields = choose(lm.cfg)
    ours = dict(to_theirs(architecture, lm.cfg, _zero_buffers(lm, mine)))
    theirs = {n: torch.zeros_like(t) for n, t in other.state_dict().items()}
    theirs |= {n: p.grad for n, p in other.named_parameters()}
    if other.config.tie_word_embeddings:
        theirs["lm_head.weight"] = next(g for n, g in theirs.items() if "embed" in n)
    with tempfile.TemporaryDirectory() as folder:
        other.save_pretrained(folder, state_dict=theirs)
        found = read_weights(Path(folder))
        assert set(found) == set(ours)
        return {name: (ours[name], found[name].clone()) for name in ours}


def _zero_buffers(lm: LM, named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    buffers = {name for name, _ in lm.named_buffers()}
    return {n: torch.zeros_like(t) if n in buffers else t for n, t in named.items()}
