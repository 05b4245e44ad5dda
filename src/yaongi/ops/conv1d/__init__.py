"""Causal depthwise convolution over time with document resets: the short filter of Mamba-2."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from yaongi.ops.backend import Backend, Op, all_of, anywhere, cuda_from, only
from yaongi.ops.conv1d.causal_conv1d import CONV, conv1d_causal_conv1d
from yaongi.ops.conv1d.channels_last import conv1d_channels_last
from yaongi.ops.conv1d.reference import conv1d_reference
from yaongi.ops.conv1d.taps import conv1d_taps


class Conv1d(Protocol):
    """``y_t = silu(bias + sum_j weight_j * x_{t-K+1+j})`` over taps of the same document."""

    def __call__(
        self, x: Tensor, weight: Tensor, bias: Tensor, doc_ids: Tensor | None = None
    ) -> Tensor:
        """Run it.

        Args:
            x: (B,K-1+T,C): the K-1 inputs before the block (zeros at a start), then the block.
            weight: (C,K), the last tap meets the present input.
            bias: (C,).
            doc_ids: (B,K-1+T); a tap of another document counts as zero.
        Returns: (B,T,C) in x's dtype.
        """
        ...


CONV1D: Op[Conv1d] = Op(
    "conv1d",
    [
        Backend(
            "causal_conv1d",
            conv1d_causal_conv1d,
            all_of(cuda_from(7, 5), CONV.missing),
            measured=False,
        ),
        Backend("channels_last", conv1d_channels_last, only("cpu")),
        Backend("taps", conv1d_taps, anywhere),
        Backend("reference", conv1d_reference, anywhere),
    ],
)
