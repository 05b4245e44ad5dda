"""Letter ``*``: causal attention with grouped queries (Ainslie et al. 2023, arXiv:2305.13245).

Positions by RoPE (Su et al. 2021, arXiv:2104.09864) or not at all (NoPE, as in Nemotron-H, where
the Mamba layers carry them); optional RMSNorm of queries and keys as in Qwen3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from yaongi.core.errors import ConfigError
from yaongi.model.layer import (
    Context,
    InitStreams,
    Layer,
    LayerAux,
    LayerConfig,
    LayerCount,
    LayerMemory,
    Linear,
    RMSNorm,
    Workload,
)
from yaongi.model.rope import RopeScaling


class AttentionConfig(LayerConfig):
    """Settings of ``*``.

    Attributes:
        rope_theta: base of the rotary angles; None leaves positions out (NoPE).
        rope_scaling: Llama 3's stretch of the angles to longer texts.
        qk_norm: RMSNorm each query and key head before the rotation.
        bias: the projections that add one: those of Qwen2 (qkv), or all four.
    """

    kind: str = "attention"
    n_heads: int = Field(gt=0)
    n_kv_heads: int = Field(gt=0)
    head_dim: int = Field(gt=0)
    rope_theta: float | None = Field(default=None, gt=1)
    rope_scaling: RopeScaling | None = None
    qk_norm: bool = False
    bias: Literal["none", "qkv", "qkvo"] = "none"

    def check(self, d_model: int) -> None:
        self.check_multiple("n_heads", "n_kv_heads")
        if self.rope_theta is not None and self.head_dim % 2:
            raise ConfigError("head_dim ({n}) must be even for RoPE", n=self.head_dim)
        if self.rope_theta is None and self.rope_scaling is not None:
            raise ConfigError("rope_scaling needs rope_theta")

    def build(self, d_model: int, norm_eps: float) -> AttentionLayer:
        return AttentionLayer(self, d_model, norm_eps)

    def count(self, d_model: int, context: int, cache_bytes: int = 2) -> LayerCount:
        queries, keys = self.n_heads * self.head_dim, self.n_kv_heads * self.head_dim
        biases = {"none": 0, "qkv": queries + 2 * keys, "qkvo": queries + 2 * keys + d_model}
        norms = 2 * self.head_dim if self.qk_norm else 0
        return LayerCount(
            total=2 * d_model * (queries + keys) + norms + biases[self.bias],
            inactive=0,
            mixing_flops=2 * queries * (context + 1),  # q k^T and p v over (context+1)/2 keys
            state_bytes=2 * keys * context * cache_bytes,
        )

    def memory(self, d_model: int, work: Workload) -> LayerMemory:
        queries, keys = self.n_heads * self.head_dim, self.n_kv_heads * self.head_dim
        heads = 2 * (queries + keys)  # q, k, v and the output
        before_norm = queries + keys if self.qk_norm else 0
        log_sums = 4 * self.n_heads
        # packed documents: the mask, widened to the stream's numbers; scores are never whole
        mask = work.width * work.seq_len
        each = work.width * (d_model + heads + before_norm) + log_sums + mask
        copies = work.copies(2 * d_model * (queries + keys))
        return LayerMemory(work.tokens * each + copies, work.tokens * work.width * heads)


@dataclass
class KVCache:
    """Keys and values of the tokens so far: (B,H_kv,max_len,K), the first ``offset`` valid."""

    time_axis: ClassVar[int] = 2

    k: Tensor
    v: Tensor

    def append(self, k: Tensor, v: Tensor, at: int) -> tuple[Tensor, Tensor]:
        """Write k, v (B,H_kv,T,K) behind ``at`` tokens; all so far in their dtype."""
        end = at + k.shape[2]
        self.k[:, :, at:end] = k
        self.v[:, :, at:end] = v
        return self.k[:, :, :end].to(k.dtype), self.v[:, :, :end].to(v.dtype)


class AttentionLayer(Layer):
    """See the module's text."""

    def __init__(self, cfg: AttentionConfig, d_model: int, norm_eps: float) -> None:
        super().__init__()
        self.cfg = cfg
        queries, keys = cfg.n_heads * cfg.head_dim, cfg.n_kv_heads * cfg.head_dim
        self.q_proj = Linear(d_model, queries, bias=cfg.bias != "none")
        self.k_proj = Linear(d_model, keys, bias=cfg.bias != "none")
        self.v_proj = Linear(d_model, keys, bias=cfg.bias != "none")
        self.o_proj = Linear(queries, d_model, bias=cfg.bias == "qkvo")
        self.q_norm = RMSNorm(cfg.head_dim, norm_eps) if cfg.qk_norm else None
        self.k_norm = RMSNorm(cfg.head_dim, norm_eps) if cfg.qk_norm else None

    def forward(
        self, x: Tensor, ctx: Context, state: KVCache | list[KVCache] | None = None
    ) -> tuple[Tensor, KVCache | list[KVCache] | None, LayerAux | None]:
        batch, length, _ = x.shape
        q, k, v = (p.view(batch, length, -1, self.cfg.head_dim) for p in self.project(x))
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q, ctx.kernels), self.k_norm(k, ctx.kernels)
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        if self.cfg.rope_theta is not None:
            cos, sin = ctx.rope(q, self.cfg.rope_theta, self.cfg.rope_scaling)
            q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        if isinstance(state, list):
            y = self._by_row(q, k, v, ctx, state)
        else:
            if state is not None:
                k, v = state.append(k, v, ctx.offset)
            y = ctx.kernels.attention(q, k, v, ctx.mask, k.shape[2] == length)
        y = y.transpose(1, 2).reshape(batch, length, -1)
        return self.o_proj(y), state, None

    def project(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B,T,D) -> queries, keys and values, (B,T,heads K) each."""
        return self.q_proj(x), self.k_proj(x), self.v_proj(x)

    def _by_row(self, q: Tensor, k: Tensor, v: Tensor, ctx: Context, rows: list[KVCache]) -> Tensor:
        """One token each, behind as many as each row has."""
        found: list[Tensor] = []
        for i, (cache, at) in enumerate(zip(rows, ctx.lengths or [], strict=True)):
            keys, values = cache.append(k[i : i + 1], v[i : i + 1], at)
            found.append(ctx.kernels.attention(q[i : i + 1], keys, values, None, False))
        return torch.cat(found)

    def init_state(
        self, batch: int, max_len: int, dtype: torch.dtype, device: torch.device
    ) -> KVCache:
        shape = (batch, self.cfg.n_kv_heads, max_len, self.cfg.head_dim)
        return KVCache(
            torch.zeros(shape, dtype=dtype, device=device),
            torch.zeros(shape, dtype=dtype, device=device),
        )

    def init_weights(self, generator: InitStreams, std: float, out_std: float) -> None:
        for name in ("q_proj", "k_proj", "v_proj"):
            generator.normal(name, getattr(self, name).weight, std)
        generator.normal("o_proj", self.o_proj.weight, out_std)
        for projection in (self.q_proj, self.k_proj, self.v_proj, self.o_proj):
            if projection.bias is not None:
                nn.init.zeros_(projection.bias)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each pair (i, i + K/2) of x (B,H,T,K) by its angle; cos, sin (T,K) float32."""
    first, second = x.chunk(2, -1)
    turned = torch.cat([-second, first], -1)
    return torch.addcmul(x * cos.to(x.dtype), turned, sin.to(x.dtype))
