"""Stand-ins for GPU packages at the import boundary: their signatures, their checks, our numbers.

Each function refuses what the real kernel refuses (layout, types, shapes, as read in mamba-ssm
2.3.2, causal-conv1d 1.7 and fla-core 0.6) and computes by our reference op, so that an adapter is
tested on a CPU down to its numbers and gradients. No kernel is run by this.
"""

from __future__ import annotations

import sys
import types

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from yaongi.ops.conv1d.reference import conv1d_reference
from yaongi.ops.ssd.reference import ssd_reference


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``import`` find the stand-ins."""
    for name, functions in MODULES.items():
        module = types.ModuleType(name)
        for function in functions:
            setattr(module, function.__name__, function)
        monkeypatch.setitem(sys.modules, name, module)


def mamba_chunk_scan_combined(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    chunk_size: int,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    initial_states: Tensor | None = None,
    seq_idx: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] = (0.0, float("inf")),
    return_final_states: bool = False,
):
    batch, length, heads, width = x.shape
    assert chunk_size in (16, 32, 64, 128, 256)
    assert dt.shape == (batch, length, heads) and dt.dtype == torch.float32
    assert A.shape == (heads,) and B.shape == C.shape and B.dtype == C.dtype == x.dtype
    assert z is dt_bias is cu_seqlens is None and not dt_softplus and D is not None
    if initial_states is not None:
        assert initial_states.shape == (batch, heads, width, B.shape[-1])
    docs = None
    if seq_idx is not None:
        assert seq_idx.shape == (batch, length) and seq_idx.dtype == torch.int32
        docs = F.pad(seq_idx, (1, 0), value=0)  # the state belongs to sequence 0
    state = initial_states
    if docs is not None and state is None:
        state = torch.zeros(batch, heads, width, B.shape[-1])
    y, h = ssd_reference(x, dt, A, B, C, D, docs, state)
    return (y, h) if return_final_states else y


def selective_state_update(
    state: Tensor,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    dt_softplus: bool = False,
):
    """In place, without a gradient, and unable to do without ``D`` and ``dt_bias``."""
    assert not torch.is_grad_enabled()
    _, heads, width, n = state.shape
    assert x.shape == dt.shape == (len(state), heads, width) and A.shape == (heads, width, n)
    assert B.shape == C.shape and heads % B.shape[1] == 0
    assert dt_bias is not None and not dt_bias.any() and not dt_softplus and z is None
    assert D is not None and D.shape == dt_bias.shape == (heads, width)
    # one number a head: the fast path of the kernel
    assert A.stride()[-2:] == (0, 0) and dt.stride(-1) == dt_bias.stride(-1) == 0
    y, h = ssd_reference(
        x[:, None], dt[:, None, :, 0], A[:, 0, 0], B[:, None], C[:, None], D[:, 0], None, state
    )
    state.copy_(h)
    return y[:, 0]


def chunk_simple_gla(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None = None,
    g_gamma: Tensor | None = None,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
    cu_seqlens: Tensor | None = None,
):
    batch, length, heads, n = q.shape
    assert k.shape == q.shape and v.shape[:3] == q.shape[:3]
    assert q.dtype == k.dtype == v.dtype and scale == 1.0 and g_gamma is None
    assert g is not None and g.shape == (batch, length, heads) and g.dtype == torch.float32
    assert output_final_state
    if cu_seqlens is None:
        ends = [length]
    else:
        assert batch == 1 and cu_seqlens.dtype == torch.int64
        assert cu_seqlens[0] == 0 and cu_seqlens[-1] == length and (cu_seqlens.diff() > 0).all()
        ends = cu_seqlens[1:].tolist()
    count = batch if cu_seqlens is None else len(ends)
    if initial_state is not None:
        assert initial_state.shape == (count, heads, n, v.shape[-1])
        assert initial_state.dtype == torch.float32
    outputs, states, start = [], [], 0
    for i, end in enumerate(ends):
        here = slice(start, end)
        own = slice(None) if cu_seqlens is None else slice(i, i + 1)
        before = None if initial_state is None else initial_state[own].mT
        steps = -g[:, here]  # exp(g) = exp(-1 steps); the reference multiplies x by steps again
        y, h = ssd_reference(
            v[:, here].float() / steps[..., None], steps, -torch.ones(heads),
            k[:, here], q[:, here], torch.zeros(heads), None, before,
        )  # fmt: skip
        outputs.append(y.to(v.dtype))
        states.append(h.mT)
        start = end
    return torch.cat(outputs, 1), torch.cat(states)


def causal_conv1d_fn(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    seq_idx: Tensor | None = None,
    initial_states: Tensor | None = None,
    return_final_states: bool = False,
    final_states_out: Tensor | None = None,
    activation: str | None = None,
):
    batch, channels, length = x.shape
    taps = weight.shape[1]
    assert x.stride(1) == 1 and x.stride(2) > 1, "channels last"
    assert channels % 8 == 0 and x.stride(2) % 8 == 0 and x.stride(0) % 8 == 0
    assert weight.shape == (channels, taps) and 2 <= taps <= 4
    assert bias is not None and bias.dtype == weight.dtype and bias.stride(-1) == 1
    assert initial_states is None and not return_final_states and activation == "silu"
    docs = None
    if seq_idx is not None:
        assert seq_idx.dtype == torch.int32 and seq_idx.is_contiguous()
        assert seq_idx.shape == (batch, length) and (seq_idx >= 0).all()
        docs = F.pad(seq_idx, (taps - 1, 0), value=-1)
    return conv1d_reference(F.pad(x.mT, (0, 0, taps - 1, 0)), weight, bias, docs).mT


MODULES = {
    "mamba_ssm.ops.triton.ssd_combined": [mamba_chunk_scan_combined],
    "mamba_ssm.ops.triton.selective_state_update": [selective_state_update],
    "fla.ops.simple_gla": [chunk_simple_gla],
    "causal_conv1d": [causal_conv1d_fn],
}
