"""A frozen base in 8 bits: the matrices of all layers, to train adapters on (as QLoRA does in 4).

Norms, routers, convolutions, embeddings and the head stay as they are. Dettmers et al. 2023,
arXiv:2305.14314; the numbers are those of ``ops.quant.int8``.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils import checkpoint as checkpointing

from yaongi.model.layer import Exact, Linear
from yaongi.model.lm import LM
from yaongi.model.moe import ExpertWeights, run_experts
from yaongi.ops.moe import Experts
from yaongi.ops.quant.int8 import dequantize_rows, int8_linear, quantize_rows


class Int8Linear(Exact):
    """A ``Linear`` that no longer learns: ints (out,in) int8, scale (out,) float32."""

    exact = ("scale",)
    ints: Tensor
    scale: Tensor

    def __init__(self, linear: Linear) -> None:
        super().__init__()
        self.rows, self.bias = linear.rows, linear.bias
        ints, scale = quantize_rows(linear.weight)
        self.register_buffer("ints", ints)
        self.register_buffer("scale", scale)

    def matrix(self) -> Tensor:
        """The weight (out,in) as it multiplies, float32."""
        return dequantize_rows(self.ints, self.scale)

    def forward(self, x: Tensor) -> Tensor:
        y = int8_linear(x, self.ints, self.scale)
        return y if self.bias is None else y + self.bias.to(x.dtype)


class Int8Matrix(Exact):
    """A matrix or a stack of them: ints (...,out,in) int8, scale (...,out) float32."""

    exact = ("scale",)
    ints: Tensor
    scale: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        ints, scale = quantize_rows(weight)
        self.register_buffer("ints", ints)
        self.register_buffer("scale", scale)

    def matrix(self) -> Tensor:
        """(...,out,in) float32, as it multiplies."""
        return dequantize_rows(self.ints, self.scale)


class Int8Experts(nn.Module):
    """``ExpertWeights`` that no longer learn; widened a layer at a time, see ``made_anew``."""

    def __init__(self, bank: ExpertWeights) -> None:
        super().__init__()
        self.stacks = nn.ModuleDict({k: Int8Matrix(w) for k, w in bank.matrices().items()})

    def matrices(self) -> dict[str, Tensor]:
        """The matrices as they multiply, float32, by name."""
        stacks = cast("dict[str, Int8Matrix]", dict(self.stacks.items()))
        return {name: stack.matrix() for name, stack in stacks.items()}

    def forward(self, kernel: Experts, x: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
        def widened(x: Tensor, weights: Tensor) -> Tensor:
            return run_experts(kernel, x, chosen, weights, self.matrices())

        return made_anew(widened, x, weights)


_checkpoint: Any = cast(Any, checkpointing).checkpoint


def made_anew(function: Any, *inputs: Tensor) -> Tensor:
    """``function(*inputs)``; the matrices it makes on the way are made again in the backward pass.

    Kept, they would be a copy of all experts of all layers; so there is that of one layer at a
    time, for one more pass through the experts.
    """
    if not torch.is_grad_enabled():
        return function(*inputs)
    return _checkpoint(function, *inputs, use_reentrant=False)


def freeze_to_int8(model: LM) -> None:
    """Turn every matrix of the layers into 8 bits, in place; what is so already stays.

    The embedding, the head, routers and everything one-dimensional keep their numbers.
    """
    replace_modules(model.layers, Linear, Int8Linear)
    replace_modules(model.layers, ExpertWeights, Int8Experts)


def widen_from_int8(model: LM) -> None:
    """The other way, in place: float32 matrices that hold what the 8 bits said."""
    replace_modules(model.layers, Int8Linear, _widened_linear)
    replace_modules(model.layers, Int8Experts, _widened_experts)


def in_int8(model: LM) -> bool:
    """Whether the layers' matrices are in 8 bits."""
    return any(isinstance(m, (Int8Linear, Int8Experts)) for m in model.modules())


def replace_modules(root: nn.Module, kind: type[nn.Module], make: Any) -> None:
    """Put ``make(module)`` in the place of every module of exactly this type below ``root``."""
    for parent in list(root.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is kind:
                setattr(parent, name, make(child))


def _widened_linear(narrow: Int8Linear) -> Linear:
    n_out, n_in = narrow.ints.shape
    with torch.device("meta"):
        linear = Linear(n_in, n_out, narrow.rows)
    linear.weight, linear.bias = nn.Parameter(narrow.matrix()), narrow.bias
    return linear


def _widened_experts(narrow: Int8Experts) -> ExpertWeights:
    matrices = narrow.matrices()
    n_experts, d_ff, d_model = matrices["up_proj"].shape
    with torch.device("meta"):
        bank = ExpertWeights(n_experts, d_model, d_ff, gated="gate_proj" in matrices)
    for name, weight in matrices.items():
        setattr(bank, name, nn.Parameter(weight))
    return bank
