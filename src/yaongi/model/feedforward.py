"""Letter ``-``: the dense feed-forward layer.

Squared ReLU (So et al. 2021, arXiv:2109.08668) as in Nemotron-H, SwiGLU (Shazeer 2020,
arXiv:2002.05202) as in Llama, or GELU as in GPT-2.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field
from torch import Tensor
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
from yaongi.ops.activation import squared_relu, steady

Activation = Literal["relu2", "swiglu", "gelu"]


class MLPConfig(LayerConfig):
    """Settings of ``-``."""

    kind: str = "mlp"
    d_ff: int = Field(gt=0)
    activation: Activation = "relu2"

    def build(self, d_model: int, norm_eps: float) -> MLPLayer:
        return MLPLayer(self, d_model)

    def count(self, d_model: int, context: int, cache_bytes: int = 2) -> LayerCount:
        matrices = 3 if self.activation == "swiglu" else 2
        return LayerCount(matrices * d_model * self.d_ff, 0, 0.0, 0)

    def memory(self, d_model: int, work: Workload) -> LayerMemory:
        return feed_forward_memory(d_model, self.d_ff, self.activation, work)


def feed_forward_memory(
    d_model: int, d_ff: int, activation: Activation, work: Workload
) -> LayerMemory:
    """Kept: the input; before and after the activation; for SwiGLU also the gate, twice."""
    wide = (4 if activation == "swiglu" else 2) * d_ff
    copies = work.copies((3 if activation == "swiglu" else 2) * d_model * d_ff)
    kept = work.tokens * work.width * (d_model + wide) + copies
    # each gradient finds room where what it needed was
    return LayerMemory(kept, work.tokens * work.width * wide // 2)


class FeedForward(Layer):
    """up, activation, down; shared by ``-`` and the shared expert of ``E``."""

    def __init__(self, d_model: int, d_ff: int, activation: Activation) -> None:
        super().__init__()
        self.activation = activation
        self.gate_proj = Linear(d_model, d_ff) if activation == "swiglu" else None
        self.up_proj = Linear(d_model, d_ff)
        self.down_proj = Linear(d_ff, d_model)

    def mix(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        gate, h = self.widen(x)
        if gate is not None:
            h = steady(F.silu, gate) * h
        elif self.activation == "gelu":
            h = F.gelu(h)
        else:
            h = squared_relu(h)
        return self.down_proj(h)

    def widen(self, x: Tensor) -> tuple[Tensor | None, Tensor]:
        """(..., D) -> the gate, if there is one, and what it lets through, (..., F) each."""
        return None if self.gate_proj is None else self.gate_proj(x), self.up_proj(x)

    def init_weights(self, generator: InitStreams, std: float, out_std: float) -> None:
        if self.gate_proj is not None:
            generator.normal("gate_proj", self.gate_proj.weight, std)
        generator.normal("up_proj", self.up_proj.weight, std)
        generator.normal("down_proj", self.down_proj.weight, out_std)


class MLPLayer(FeedForward):
    """See the module's text."""

    def __init__(self, cfg: MLPConfig, d_model: int) -> None:
        super().__init__(d_model, cfg.d_ff, cfg.activation)

    def forward(
        self, x: Tensor, ctx: Context, state: Any = None
    ) -> tuple[Tensor, Any, LayerAux | None]:
        return self.mix(x), state, None
