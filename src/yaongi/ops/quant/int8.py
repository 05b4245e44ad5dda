"""A matrix as 8-bit integers with one scale a row, and its product for training.

Absmax quantization by rows (LLM.int8(), Dettmers et al. 2022, arXiv:2208.07339, section 2.1,
without its mixed-precision part): n_out n_in + 4 n_out bytes instead of 4 n_out n_in.
"""

from __future__ import annotations

from typing import Any, Protocol, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from yaongi.ops.precision import no_autocast

LARGEST = 127


class Int8Product(Protocol):
    """``x @ dequantized.T``, see ``ops.quant.INT8``."""

    def __call__(self, x: Tensor, ints: Tensor, scale: Tensor) -> Tensor:
        """Run it.

        Args:
            x: (...,K) float32 or bfloat16.
            ints, scale: (N,K) int8 and (N,) float32, from ``quantize_rows``.
        Returns: (...,N) in x's dtype.
        """
        ...


def quantize_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """weight (..., out, in) -> int8 of that shape, and the scale of each row (..., out) float32.

    A number is off by at most half a scale: its row's largest magnitude / 254.
    """
    wide = weight.detach().float()
    scale = wide.abs().amax(-1) / LARGEST
    scale = torch.where(scale > 0, scale, 1.0)
    return (wide / scale[..., None]).round_().to(torch.int8), scale


def dequantize_rows(ints: Tensor, scale: Tensor) -> Tensor:
    """(..., out, in) float32."""
    return ints.float() * scale[..., None]


def int8_linear(x: Tensor, ints: Tensor, scale: Tensor) -> Tensor:
    """``x @ dequantized.T`` without keeping the dequantized matrix for the backward pass.

    Args:
        x: (..., in) of any float type, which holds every int8 exactly.
        ints, scale: from ``quantize_rows``; they get no gradient.
    Returns: (..., out) in x's dtype.
    """
    return _linear(x, ints, scale)


class _Int8Linear(torch.autograd.Function):
    @staticmethod
    @no_autocast
    def forward(ctx: Any, x: Tensor, ints: Tensor, scale: Tensor) -> Tensor:
        ctx.save_for_backward(ints, scale)
        return F.linear(x, ints.to(x.dtype)) * scale.to(x.dtype)

    @staticmethod
    @no_autocast
    def backward(ctx: Any, *grads: Any) -> Any:
        ints, scale = ctx.saved_tensors
        grad: Tensor = grads[0]
        return (grad * scale.to(grad.dtype)) @ ints.to(grad.dtype), None, None


_linear: Any = cast(Any, _Int8Linear).apply
