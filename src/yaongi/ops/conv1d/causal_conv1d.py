"""The convolution by the CUDA kernel of the package ``causal-conv1d`` (the authors of Mamba).

It reads time-major rows in place, knows documents, and keeps weights in float32.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from yaongi.ops.backend import Imported, opaque
from yaongi.ops.conv1d.taps import conv1d_taps
from yaongi.ops.documents import sequence_index

MAX_TAPS = 4  # the kernel is compiled for 2, 3 and 4
VECTOR = 8  # channels it loads at once: their number and strides must be multiples

CONV = Imported("causal-conv1d", "causal_conv1d", "causal_conv1d_fn")


def _conv1d(x: Tensor, weight: Tensor, bias: Tensor, doc_ids: Tensor | None = None) -> Tensor:
    """See ``ops.conv1d.Conv1d``. Longer filters than the kernel knows go through ``taps``."""
    channels, taps = weight.shape
    if taps > MAX_TAPS:
        return conv1d_taps(x, weight, bias, doc_ids)
    if fill := -channels % VECTOR:
        x, bias = F.pad(x, (0, fill)), F.pad(bias, (0, fill))
        weight = F.pad(weight, (0, 0, 0, fill))
    index = None if doc_ids is None else sequence_index(doc_ids)
    # the K-1 inputs before the block go in as outputs nobody reads: no separate initial state
    y = CONV(x.contiguous().mT, weight, bias, seq_idx=index, activation="silu")
    return y.mT[:, taps - 1 :, :channels]


# a compiler cannot see into the kernel's launch
conv1d_causal_conv1d = opaque(_conv1d)
