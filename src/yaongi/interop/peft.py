"""Adapters in the format of ``peft``: adapter_config.json beside adapter_model.safetensors.

The names are those of our export for transformers, so ``PeftModel.from_pretrained(exported, out)``
computes what we do. Stacked experts become ``target_parameters``.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from yaongi.core.artifact import draft, open_artifact
from yaongi.core.errors import CapabilityError
from yaongi.core.files import write_json, write_with
from yaongi.core.i18n import translate
from yaongi.core.licences import copy_legal
from yaongi.interop.hf import choose
from yaongi.interop.hf_architecture import Architecture
from yaongi.model.adapter_io import KIND, TENSORS, check_base, read_adapter
from yaongi.model.io import WEIGHTS as MODEL
from yaongi.model.io import load_config, read_tensors, verified
from yaongi.model.lora import AdapterConfig
from yaongi.model.lowrank import DoRA, LowRank

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
FUSED = ("qwen3_moe",)
"""Architectures whose experts hold gate and up as one matrix once they are loaded."""
SHORT = {"lora_a": "a", "lora_b": "b", "magnitude": "magnitude"}
GATE, UP, DOWN, GATE_UP = "gate_proj", "up_proj", "down_proj", "gate_up_proj"

_torch_files: Any = safetensors.torch  # its functions are only partly typed


def export_peft(model: Path, out: Path, *, base: Path | None = None) -> dict[str, Any]:
    """Write the adapter in the folder ``model``, with a manifest beside its files.

    Args:
        base: the model it belongs to, where that is no longer where it was.
    Returns: architecture, rank, and how many matrices.
    Raises:
        CapabilityError: DoRA for experts, which peft does not have.
        ConfigError: transformers has no architecture for its base.
        ArtifactError: no adapter there, or one of another base.
    """
    cfg, known = read_adapter(model)
    base = base or Path(known.path)
    check_base(model, known, base)
    made = verified(base)
    lm = load_config(base)
    architecture, _ = choose(lm, None if made is None else made.manifest.config.get("architecture"))
    written = Written(cfg, architecture, base)
    for target, parts in _by_target(read_tensors(model / TENSORS)).items():
        written.add(target, parts)
    written.add_experts()
    twice = lm.tied and not architecture.ties  # our export then has the head as a tensor of its own
    written.add_rows(twice)
    facts = {"architecture": architecture.model_type, "rank": cfg.rank, "matrices": written.count}
    parents = [open_artifact(model, KIND)] if made is not None else []
    with draft(out, "peft", config=facts, parents=parents) as work:
        write_json(work.path / CONFIG, written.config())

        def fill(temporary: Path) -> None:
            _torch_files.save_file(written.tensors, temporary, metadata={"format": "pt"})

        write_with(work.path / WEIGHTS, fill)
        copy_legal(model, work.path)
        work.finish()
    if cfg.base == "int8":
        facts["base"] = translate(
            "it was trained on 8-bit weights; with the float ones of an export logits differ a "
            "little"
        )
    return facts


def _by_target(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    found: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        target, _, part = key.rpartition(".")
        found.setdefault(target, {})[part] = tensor
    return found


@dataclass
class Written:
    """The files as they grow.

    Attributes:
        whole: modules written with the change in them, in place of the base's.
        banks: experts' module -> stack -> its parts; written when all are known.
    """

    cfg: AdapterConfig
    architecture: Architecture
    base: Path
    tensors: dict[str, Tensor] = field(default_factory=lambda: {})
    modules: list[str] = field(default_factory=lambda: [])
    whole: list[str] = field(default_factory=lambda: [])
    parameters: list[str] = field(default_factory=lambda: [])
    wider: list[str] = field(default_factory=lambda: [])
    tokens: dict[str, list[int]] = field(default_factory=lambda: {})
    banks: dict[str, dict[str, dict[str, Tensor]]] = field(default_factory=lambda: {})
    rows: Tensor | None = None

    @property
    def count(self) -> int:
        """Matrices with a change."""
        return len(self.modules) + len(self.parameters) + len(self.whole)

    def add(self, target: str, parts: Mapping[str, Tensor]) -> None:
        """One part of an adapter by our name."""
        if "rows" in parts:
            self.rows = parts["rows"]
        elif parts["lora_a"].dim() == 3:
            bank, _, stack = target.rpartition(".")
            self.banks.setdefault(bank, {})[stack] = dict(parts)
        else:
            self._add_module(target, parts)

    def _add_module(self, target: str, parts: Mapping[str, Tensor]) -> None:
        place = self._loaded_name(f"{target}.weight").removesuffix(".weight")
        if self.architecture.model_type in ("nemotron_h", "mamba2") and target.endswith("out_proj"):
            self.whole.append(place)  # peft refuses to adapt it
            self._store(f"{place}.weight", self._changed(target, parts))
            return
        self.modules.append(place)
        names = {"lora_a": "lora_A.weight", "lora_b": "lora_B.weight",
                 "magnitude": "lora_magnitude_vector"}  # fmt: skip
        for part, tensor in parts.items():
            self._store(f"{place}.{names[part]}", tensor)

    def _changed(self, target: str, parts: Mapping[str, Tensor]) -> Tensor:
        """A matrix of the base with the change in it."""
        weight = self.base_tensors[f"{target}.weight"]
        kind = DoRA if self.cfg.dora else LowRank
        change = kind(weight.shape, self.cfg.rank, self.cfg.scale)
        change.load_state_dict({SHORT[name]: tensor for name, tensor in parts.items()})
        with torch.no_grad():
            return change.matrix(weight).to(weight.dtype)

    @functools.cached_property
    def base_tensors(self) -> dict[str, Tensor]:
        """The weights of the base, read when they are needed."""
        return read_tensors(self.base / MODEL)

    def add_experts(self) -> None:
        """The banks, whose wrappers peft puts around each other in the order of the parameters."""
        for bank, stacks in self.banks.items():
            if self.cfg.dora:
                raise CapabilityError(
                    "The adapter of {name} cannot be exported for peft, which has no DoRA for "
                    "experts. Train with adapter.dora=false, or use yaongi merge and export that.",
                    name=bank,
                )
            merged = _fused(stacks) if self.architecture.model_type in FUSED else stacks
            names = [n for n in (GATE_UP, UP, GATE, DOWN) if n in merged]
            file_name = self._loaded_name(f"{bank}.{next(iter(stacks))}")
            place = file_name.partition(".experts.")[0] + ".experts"
            for depth, name in enumerate(reversed(names)):
                a, b = merged[name]["lora_a"], merged[name]["lora_b"]
                inner = place + ".base_layer" * depth
                self._store(f"{inner}.lora_A.weight", a.flatten(0, 1))
                self._store(f"{inner}.lora_B.weight", b.permute(1, 2, 0).flatten(1))
                self.parameters.append(f"{place}.{name}")
                if a.shape[1] != self.cfg.rank:
                    self.wider.append(f"{place}.{name}")

    def add_rows(self, twice: bool) -> None:
        """The trained rows of the embedding, and of the head where it is a copy of them."""
        if self.rows is None:
            return
        places = [self._loaded_name("embeddings.weight").removesuffix(".weight")]
        for place in [*places, *(["lm_head"] if twice else [])]:
            self._store(f"{place}.token_adapter.trainable_tokens_delta", self.rows.clone())
            assert not isinstance(self.cfg.embedding_rows, str)
            self.tokens[place] = list(self.cfg.embedding_rows)

    def _store(self, name: str, tensor: Tensor) -> None:
        self.tensors[f"base_model.model.{name}"] = tensor.contiguous()

    def _loaded_name(self, ours: str) -> str:
        """A tensor's name once it is loaded: NemotronH then calls ``backbone`` ``model``."""
        theirs = self.architecture.name(ours)
        assert theirs is not None, ours  # only biases of routers have no place
        if self.architecture.model_type == "nemotron_h" and theirs.startswith("backbone."):
            return f"model.{theirs.removeprefix('backbone.')}"
        return theirs

    def config(self) -> dict[str, Any]:
        """adapter_config.json: what ``LoraConfig`` needs, the rest being its defaults."""
        cfg, double = self.cfg, 2 * self.cfg.rank
        wide_alpha = cfg.scale * (math.sqrt(double) if cfg.rslora else double)
        return {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "inference_mode": True,
            "r": cfg.rank,
            "lora_alpha": cfg.alpha,
            "use_rslora": cfg.rslora,
            "use_dora": cfg.dora,
            "lora_dropout": cfg.dropout,
            "bias": "none",
            "fan_in_fan_out": False,
            "target_modules": self.modules,
            "target_parameters": self.parameters or None,
            "rank_pattern": dict.fromkeys(self.wider, double),
            "alpha_pattern": dict.fromkeys(self.wider, wide_alpha),
            "modules_to_save": self.whole or None,
            "trainable_token_indices": self.tokens or None,
            "base_model_name_or_path": None,
        }


def _fused(stacks: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Mapping[str, Tensor]]:
    """gate and up as one change of the matrix that stacks them: A's side by side, B's apart."""
    found = {name: parts for name, parts in stacks.items() if name == DOWN}
    halves = [stacks.get(name) for name in (GATE, UP)]
    present = [half for half in halves if half is not None]
    if not present:
        return found
    n_experts, n_out, _ = present[0]["lora_b"].shape
    widths = [0 if half is None else half["lora_a"].shape[1] for half in halves]
    a = torch.cat([half["lora_a"] for half in present], 1)
    b = torch.zeros(n_experts, 2 * n_out, sum(widths))
    for i, half in enumerate(halves):
        if half is not None:
            start = sum(widths[:i])
            b[:, i * n_out : (i + 1) * n_out, start : start + widths[i]] = half["lora_b"]
    return {GATE_UP: {"lora_a": a, "lora_b": b}, **found}
