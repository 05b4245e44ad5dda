"""A model's twin for inference: the same weights, and every row's output independent of the rest.

Its matrices are packed copies, so it is made anew when the weights change; everything else is the
model's own. On a GPU the twin is the model itself in eval mode.
"""

from __future__ import annotations

import copy
import dataclasses
import weakref
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from yaongi.model.adapted import Wrapper
from yaongi.model.attention import AttentionLayer
from yaongi.model.feedforward import FeedForward
from yaongi.model.layer import Embedding, Linear
from yaongi.model.lm import LM
from yaongi.model.moe import ExpertWeights, Router, run_experts
from yaongi.ops.linear import can_pack, pack, packed_product
from yaongi.ops.moe import Experts
from yaongi.ops.moe.packed import experts_packed
from yaongi.ops.norm.reference import gated_rms_norm_reference, rms_norm_reference

Version = tuple[tuple[int, int], ...]


class Packed(nn.Module):
    """``Linear`` on a packed weight."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self.packed = pack(weight)
        self.bias = bias

    def forward(self, x: Tensor) -> Tensor:
        """x (...,K) -> (...,N)."""
        return packed_product(x, self.packed, self.bias)


class Stacked(Packed):
    """Several ``Linear`` of one input as one product: on a CPU a call costs as much as a row."""

    def __init__(self, linears: Sequence[Linear]) -> None:
        weights: list[Tensor] = [m.weight for m in linears]
        biases: list[Tensor] = [m.bias for m in linears if m.bias is not None]
        super().__init__(torch.cat(weights), torch.cat(biases) if biases else None)
        self.sizes = [m.weight.shape[0] for m in linears]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:  # pyright: ignore
        """x (...,K) -> (...,N) of each."""
        return super().forward(x).split(self.sizes, -1)


class PackedExperts(nn.Module):
    """``ExpertWeights``, each expert's matrices packed."""

    def __init__(self, bank: ExpertWeights) -> None:
        super().__init__()
        self.up_proj = [pack(w) for w in bank.up_proj]
        self.down_proj = [pack(w) for w in bank.down_proj]
        self.gate_proj = None if bank.gate_proj is None else [pack(w) for w in bank.gate_proj]

    def forward(self, kernel: Experts, x: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
        """As ``ExpertWeights``."""
        found: Any = {"up_proj": self.up_proj, "down_proj": self.down_proj}
        return run_experts(kernel, x, chosen, weights, found | {"gate_proj": self.gate_proj})


_twins: weakref.WeakKeyDictionary[LM, tuple[Version, LM]] = weakref.WeakKeyDictionary()


def twin(model: LM, *, anew: bool = False) -> tuple[LM, Version]:
    """The twin of the model as it is now, and the version of the weights it was made from.

    It is the one made before if the version is the same, except ``anew``.
    """
    version = weights_version(model)
    known = _twins.get(model)
    if anew or known is None or known[0] != version:
        known = version, _make(model)
        _twins[model] = known
    return known[1], version


def weights_version(model: nn.Module) -> Version:
    """Differs as soon as a weight was replaced or written to."""
    tensors = [*model.parameters(), *model.buffers()]
    return tuple((t.data_ptr(), 0 if t.is_inference() else t._version) for t in tensors)


def unpacked(model: LM) -> LM:
    """The model's modules anew and in eval mode, its weights and products as they are."""
    return cast(LM, _copied(model, packing=False))


def _make(model: LM) -> LM:
    found = cast(LM, _copied(model))
    if can_pack(model.embeddings.weight):
        if found.lm_head is None and type(model.embeddings) is Embedding:
            found.lm_head = cast(Any, Packed(model.head_weight))
        found.kernels = dataclasses.replace(
            model.kernels,
            experts=_experts(model.kernels.experts),
            # those in blocks choose another formula where there are many rows
            rms_norm=rms_norm_reference,
            gated_rms_norm=gated_rms_norm_reference,
        )
    return found


def _experts(plain: Experts) -> Experts:
    """For packed banks and, where an adapter took a bank's place, plain ones."""

    def run(
        x: Tensor, chosen: Tensor, weights: Tensor, up: Any, down: Any, gate: Any = None
    ) -> Tensor:
        experts: Any = experts_packed if isinstance(up, list) else plain
        return experts(x, chosen, weights, up, down, gate)

    return run


def _copied(module: nn.Module, *, packing: bool = True) -> nn.Module:
    """Modules are new, their tensors shared. Nothing is packed under an adapter, which may be
    chosen anew at each step and asks for the matrix itself."""
    if isinstance(module, Wrapper):
        packing = False
    if not packing:
        found = copy.copy(module)
        found.training = False
        found._modules = {n: m and _copied(m, packing=False) for n, m in module._modules.items()}
        return found
    if type(module) is Linear and can_pack(module.weight):
        return Packed(module.weight, module.bias)
    if type(module) is ExpertWeights and can_pack(module.up_proj):
        return PackedExperts(module)
    found = copy.copy(module)
    found.training = False
    products = _products(module)
    stacked = [name for method in products for name in STACKED.get(method, ())]
    found._modules = {n: m and _copied(m) for n, m in module._modules.items() if n not in stacked}
    for name, product in products.items():
        object.__setattr__(found, name, product)  # in place of the method, not a submodule
    return found


STACKED = {"project": ("q_proj", "k_proj", "v_proj"), "widen": ("gate_proj", "up_proj")}
"""Method -> the ``Linear`` it multiplies with."""


def _products(module: nn.Module) -> dict[str, nn.Module]:
    """Packed products that take the place of methods."""
    if type(module) is Router and can_pack(module.weight):
        return {"logits": Packed(module.weight.float())}
    if isinstance(module, AttentionLayer):
        return _stacked(module, "project")
    if isinstance(module, FeedForward) and module.gate_proj is not None:
        return _stacked(module, "widen")
    return {}


def _stacked(module: nn.Module, method: str) -> dict[str, nn.Module]:
    """Nothing where they are not what they were built as: an adapter may have taken a place."""
    linears = [m for name in STACKED[method] if type(m := getattr(module, name)) is Linear]
    if len(linears) < len(STACKED[method]) or not all(can_pack(m.weight) for m in linears):
        return {}
    return {method: Stacked(linears)}
