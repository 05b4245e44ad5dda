"""RMSNorm (Zhang & Sennrich 2019, arXiv:1910.07467) and the gated, grouped form of Mamba-2."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from yaongi.ops.backend import Backend, Op, anywhere, only
from yaongi.ops.norm.blocked import gated_rms_norm_blocked, rms_norm_blocked
from yaongi.ops.norm.fused import rms_norm_fused
from yaongi.ops.norm.reference import gated_rms_norm_reference, rms_norm_reference

NormFunction = Callable[[Tensor, Tensor, float], Tensor]
GatedNormFunction = Callable[[Tensor, Tensor, Tensor, float, int], Tensor]

RMS_NORM: Op[NormFunction] = Op(
    "rms_norm",
    [
        Backend("blocked", rms_norm_blocked, only("cpu")),
        Backend("torch", rms_norm_fused, anywhere),
        Backend("reference", rms_norm_reference, anywhere),
    ],
)
GATED_RMS_NORM: Op[GatedNormFunction] = Op(
    "gated_rms_norm",
    [
        Backend("blocked", gated_rms_norm_blocked, only("cpu")),
        Backend("reference", gated_rms_norm_reference, anywhere),
    ],
)
