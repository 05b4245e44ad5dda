"""A linear layer whose three matrix products multiply 8-bit floats, for training.

Formats after Micikevicius et al. 2022 (arXiv:2209.05433): e4m3 for inputs and weights, e5m2, which
has more range and fewer digits, for gradients. One scale a tensor, taken from its present largest
value (tensorwise dynamic scaling, the "current scaling" of Nemotron-H, arXiv:2504.03624).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from yaongi.core.errors import ShapeError
from yaongi.core.i18n import translate
from yaongi.ops.backend import Capability, cuda_from

E4M3, E5M2 = torch.float8_e4m3fn, torch.float8_e5m2
MULTIPLE = 16  # what the tensor cores ask of both dimensions of a matrix
SMALLEST = 1e-30  # largest values below it are scaled as if they were this: scales stay finite
SMALL_OUT, SMALL_IN = 1024, 4096

fp8_unavailable: Capability = cuda_from(8, 9)
"""Capability: Ada, Hopper and Blackwell. (The op itself runs on CPUs too, slowly, for tests.)"""


def loses(n_out: int, n_in: int) -> str | None:
    """Why a matrix (n_out, n_in) is no faster in fp8 than in bf16, or None where it can be.

    The thresholds are those torchao 0.18 measured for tensorwise scaling on an H100: below them
    finding the scales costs more than the products save.
    """
    if n_out % MULTIPLE or n_in % MULTIPLE:
        return translate("not a multiple of {multiple} both ways", multiple=MULTIPLE)
    if n_out <= SMALL_OUT and n_in <= SMALL_IN:
        return translate(
            "too small to win (at most {n_out} outputs from at most {n_in} inputs)",
            n_out=SMALL_OUT,
            n_in=SMALL_IN,
        )
    return None


def fp8_linear(x: Tensor, weight: Tensor) -> Tensor:
    """``x @ weight.T`` with both factors rounded to fp8; gradients likewise.

    Args:
        x: (..., K) of any float type.
        weight: (N,K), kept as it is; usually float32.
    Returns: (..., N) in x's dtype. The gradient of the weight is float32.
    Raises: ShapeError if K or N is no multiple of 16.
    """
    if weight.shape[0] % MULTIPLE or weight.shape[1] % MULTIPLE:
        raise ShapeError(
            "fp8 products need a matrix of multiples of {multiple}, not {found}.",
            multiple=MULTIPLE,
            found=tuple(weight.shape),
        )
    return _Linear.apply(x, weight)  # type: ignore[no-any-return]


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        x8, x_scale = to_fp8(x.flatten(0, -2), E4M3)
        w8, w_scale = to_fp8(weight, E4M3)
        ctx.save_for_backward(x8, x_scale, w8, w_scale)
        ctx.shape, ctx.dtypes = x.shape, (x.dtype, weight.dtype)
        # sums may be short in the forward pass only: gradients are less forgiving
        y = _product(x8, w8.t(), x_scale, w_scale, x.dtype, fast=True)
        return y.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        x8, x_scale, w8, w_scale = ctx.saved_tensors
        g8, g_scale = to_fp8(grads[0].flatten(0, -2), E5M2)
        dx = dw = None
        if ctx.needs_input_grad[0]:
            dx = _product(g8, _columns(w8), g_scale, w_scale, ctx.dtypes[0]).view(ctx.shape)
        if ctx.needs_input_grad[1]:
            rows = -len(x8) % MULTIPLE  # here tokens are summed over: zeros add nothing
            dw = _product(
                _transposed(g8, rows), _columns(x8, rows), g_scale, x_scale, ctx.dtypes[1]
            )
        return dx, dw


def to_fp8(x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """x scaled so that its largest value is the format's, rounded; and what to multiply it by.

    Returns: x's shape in ``dtype``, contiguous; float32 scalar with ``x ~ x8.float() * scale``.
        A number that is not finite in x makes the result not finite, never a saturated one.
    """
    top = torch.finfo(dtype).max
    largest = x.detach().abs().amax().float() if x.numel() else x.new_zeros((), dtype=torch.float32)
    scale = top / largest.clamp(min=SMALLEST)
    # rounding may lead just past the format's largest value, which is no number in e4m3
    return (x.float() * scale).clamp(-top, top).to(dtype).contiguous(), scale.reciprocal()


def _product(
    a: Tensor, b: Tensor, a_scale: Tensor, b_scale: Tensor, dtype: torch.dtype, fast: bool = False
) -> Tensor:
    """(M,K) in rows times (K,N) in columns: the one layout Hopper's kernel has."""
    return torch._scaled_mm(  # pyright: ignore[reportPrivateImportUsage, reportPrivateUsage]
        a, b, scale_a=a_scale, scale_b=b_scale, out_dtype=dtype, use_fast_accum=fast
    )


def _transposed(t: Tensor, fill: int = 0) -> Tensor:
    """(A,B) -> (B,A+fill) in rows, zeros at the end."""
    # the bits of 0 are 0, and padding is not made for 8-bit floats
    return F.pad(t.view(torch.uint8).t(), (0, fill)).contiguous().view(t.dtype)


def _columns(t: Tensor, fill: int = 0) -> Tensor:
    """(A,B) -> (A+fill,B) with its columns contiguous."""
    return _transposed(t, fill).t()
