"""Letter ``M``: the Mamba-2 mixer (Dao & Gu 2024, arXiv:2405.21060), numerics as in Nemotron-H.

One input projection gives gate, scan inputs and step sizes; a short causal convolution, the scan,
a gated RMSNorm by groups, and the output projection follow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from yaongi.model.layer import (
    Context,
    InitStreams,
    Layer,
    LayerAux,
    LayerConfig,
    LayerCount,
    LayerMemory,
    Linear,
    Workload,
)
from yaongi.ops.activation import steady
from yaongi.ops.ssd.chunked import CHUNK, block_rows

DT_MIN, DT_MAX, DT_FLOOR = 1e-3, 1e-1, 1e-4  # step sizes at initialisation, as in mamba_ssm
A_MIN, A_MAX = 1.0, 16.0


class MambaConfig(LayerConfig):
    """Settings of ``M``.

    Attributes:
        n_groups: B and C are shared by n_heads / n_groups heads; also the groups of the norm.
        d_state: width N of the state of each channel.
        d_conv: taps of the convolution.
    """

    kind: str = "mamba2"
    n_heads: int = Field(gt=0)
    head_dim: int = Field(gt=0)
    n_groups: int = Field(default=1, gt=0)
    d_state: int = Field(gt=0)
    d_conv: int = Field(default=4, gt=1)

    @property
    def d_inner(self) -> int:
        """Channels of the scan."""
        return self.n_heads * self.head_dim

    @property
    def d_xbc(self) -> int:
        """Channels of the convolution: x, B and C."""
        return self.d_inner + 2 * self.n_groups * self.d_state

    def check(self, d_model: int) -> None:
        self.check_multiple("n_heads", "n_groups")

    def build(self, d_model: int, norm_eps: float) -> Mamba2Layer:
        return Mamba2Layer(self, d_model, norm_eps)

    def count(self, d_model: int, context: int, cache_bytes: int = 2) -> LayerCount:
        total = d_model * (self.d_inner + self.d_xbc + self.n_heads) + self.d_inner * d_model
        total += self.d_xbc * (self.d_conv + 1) + 3 * self.n_heads + self.d_inner
        return LayerCount(
            total=total,
            inactive=0,
            # the recurrence: decay and feed the state (4 per entry), read it (2)
            mixing_flops=6 * self.d_inner * self.d_state,
            state_bytes=4 * self.d_inner * self.d_state
            + cache_bytes * (self.d_conv - 1) * self.d_xbc,
        )

    def memory(self, d_model: int, work: Workload) -> LayerMemory:
        e, inner, taps = work.width, self.d_inner, self.d_xbc
        projected = inner + taps + self.n_heads
        # the scan: a state for each chunk and its output in float32, its inputs from the taps
        states = 4 * work.rows * (-(-work.seq_len // CHUNK) + 1) * inner * self.d_state
        each = e * (d_model + 2 * taps + inner) + 4 * (inner + 2 * self.n_heads)
        if work.blocked:
            each += e * projected  # the gate is a part of it
        else:  # the norm's and the convolution's steps one by one
            each += 4 * 3 * inner + (4 * inner if e < 4 else e * projected) + e * taps
        kept = work.tokens * each + states + work.copies(d_model * (projected + inner))
        return LayerMemory(kept, self._scan_backward(work, states))

    def _scan_backward(self, work: Workload, states: int) -> int:
        """Bytes in use in ``ops.ssd.chunked``: by token, and by token of one block of rows.

        The gradient of its output stands where the norm's input was; what else the norm kept is
        free by then.
        """
        inner, heads = self.d_inner, self.n_heads
        shared = self.n_groups * (4 * self.d_state + 2 * CHUNK) + 12 * heads
        each = 4 * shared + (work.width - (0 if work.blocked else 12)) * inner
        block = 4 * (5 * inner + 3 * heads * CHUNK + 2 * heads * self.d_state)
        rows = block_rows(work.rows, work.seq_len * inner) if work.blocked else work.rows
        return 2 * states + work.tokens * each + rows * work.seq_len * block


@dataclass
class MambaState:
    """conv (B,d_conv-1,d_xbc): the last inputs of the convolution; ssm (B,H,P,N) float32."""

    conv: Tensor
    ssm: Tensor


class Mamba2Layer(Layer):
    """See the module's text."""

    exact = ("A_log", "D", "dt_bias")

    def __init__(self, cfg: MambaConfig, d_model: int, norm_eps: float) -> None:
        super().__init__()
        self.cfg = cfg
        self.eps = norm_eps
        gn = cfg.n_groups * cfg.d_state
        rows = {"z": cfg.d_inner, "x": cfg.d_inner, "b": gn, "c": gn, "dt": cfg.n_heads}
        self.in_proj = Linear(d_model, sum(rows.values()), rows)
        self.conv1d = DepthwiseConv(cfg.d_xbc, cfg.d_conv)
        self.dt_bias = nn.Parameter(torch.empty(cfg.n_heads))
        self.A_log = nn.Parameter(torch.empty(cfg.n_heads))
        self.D = nn.Parameter(torch.ones(cfg.n_heads))
        self.norm = Scale(cfg.d_inner)
        self.out_proj = Linear(cfg.d_inner, d_model)

    def forward(
        self, x: Tensor, ctx: Context, state: MambaState | None = None
    ) -> tuple[Tensor, MambaState | None, LayerAux | None]:
        cfg = self.cfg
        z, xbc, dt = torch.split(self.in_proj(x), [cfg.d_inner, cfg.d_xbc, cfg.n_heads], -1)
        back = cfg.d_conv - 1
        if state is None:
            padded = F.pad(xbc, (0, 0, back, 0))
        else:
            padded = torch.cat([state.conv.to(xbc.dtype), xbc], 1)
        mixed = ctx.kernels.conv1d(
            padded, self.conv1d.weight[:, 0], self.conv1d.bias, ctx.docs_from(back)
        )
        gn = cfg.n_groups * cfg.d_state
        xs, b, c = torch.split(mixed, [cfg.d_inner, gn, gn], -1)
        y, ssm = ctx.kernels.ssd(
            _split(xs, cfg.n_heads),
            steady(F.softplus, dt.float() + self.dt_bias),
            -torch.exp(self.A_log),
            _split(b, cfg.n_groups),
            _split(c, cfg.n_groups),
            self.D,
            ctx.docs_from(0 if state is None else 1),
            None if state is None else state.ssm,
        )
        y = ctx.kernels.gated_rms_norm(y.flatten(-2), z, self.norm.weight, self.eps, cfg.n_groups)
        if state is not None:
            state = MambaState(padded[:, -back:].to(state.conv.dtype), ssm)
        return self.out_proj(y), state, None

    def init_state(
        self, batch: int, max_len: int, dtype: torch.dtype, device: torch.device
    ) -> MambaState:
        cfg = self.cfg
        return MambaState(
            torch.zeros(batch, cfg.d_conv - 1, cfg.d_xbc, dtype=dtype, device=device),
            torch.zeros(batch, cfg.n_heads, cfg.head_dim, cfg.d_state, device=device),
        )

    def init_weights(self, generator: InitStreams, std: float, out_std: float) -> None:
        generator.normal("in_proj", self.in_proj.weight, std)
        generator.normal("out_proj", self.out_proj.weight, out_std)
        bound = self.cfg.d_conv**-0.5
        generator.uniform("conv1d.weight", self.conv1d.weight, -bound, bound)
        generator.uniform("conv1d.bias", self.conv1d.bias, -bound, bound)
        a = generator.uniform("A_log", self.A_log, A_MIN, A_MAX)
        dt = generator.uniform("dt_bias", self.dt_bias, math.log(DT_MIN), math.log(DT_MAX))
        with torch.no_grad():
            a.log_()
            dt.exp_().clamp_(min=DT_FLOOR)
            dt.add_(torch.log(-torch.expm1(-dt)))  # the inverse of softplus


def _split(x: Tensor, count: int) -> Tensor:
    """(B,T,count W) -> (B,T,count,W)."""
    return x.view(*x.shape[:-1], count, -1)


class DepthwiseConv(nn.Module):
    """Parameters of the convolution: weight (C,1,K), bias (C,)."""

    def __init__(self, channels: int, taps: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, 1, taps))
        self.bias = nn.Parameter(torch.empty(channels))


class Scale(nn.Module):
    """The learnt scale of the gated norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
