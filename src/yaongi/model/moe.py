"""Letter ``E``: a mixture of experts beside one shared expert.

Sigmoid router with a selection bias updated by sign (DeepSeek-V3, arXiv:2412.19437, and Nemotron 3
Nano, arXiv:2512.20848), or a softmax router (Qwen3-MoE); a small balance loss per sequence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from yaongi.core.errors import ConfigError
from yaongi.model.feedforward import FeedForward, feed_forward_memory
from yaongi.model.layer import (
    Context,
    Exact,
    InitStreams,
    Layer,
    LayerAux,
    LayerConfig,
    LayerCount,
    LayerMemory,
    Workload,
)
from yaongi.ops.activation import steady
from yaongi.ops.moe import Experts


class MoEConfig(LayerConfig):
    """Settings of ``E``.

    Attributes:
        d_ff: width of each routed expert; d_shared of the shared one, 0 for none.
        router: how scores come from logits.
        normalize: divide the chosen scores by their sum.
        scale: multiplies the chosen weights.
        bias_rate: step of the selection bias after each optimizer step; 0 turns it off.
        balance: coefficient of the balance loss.
    """

    kind: str = "moe"
    n_experts: int = Field(gt=0)
    top_k: int = Field(gt=0)
    d_ff: int = Field(gt=0)
    d_shared: int = Field(default=0, ge=0)
    activation: Literal["relu2", "swiglu"] = "relu2"
    router: Literal["sigmoid", "softmax"] = "sigmoid"
    normalize: bool = True
    scale: float = Field(default=1.0, gt=0)
    bias_rate: float = Field(default=1e-3, ge=0)
    balance: float = Field(default=1e-4, ge=0)

    def check(self, d_model: int) -> None:
        if self.top_k > self.n_experts:
            raise ConfigError(
                "top_k ({top_k}) cannot be more than n_experts ({n_experts})",
                top_k=self.top_k,
                n_experts=self.n_experts,
            )

    def build(self, d_model: int, norm_eps: float) -> MoELayer:
        return MoELayer(self, d_model)

    def count(self, d_model: int, context: int, cache_bytes: int = 2) -> LayerCount:
        matrices = 3 if self.activation == "swiglu" else 2
        expert = matrices * d_model * self.d_ff
        total = d_model * self.n_experts + self.n_experts * expert
        total += matrices * d_model * self.d_shared
        return LayerCount(total, (self.n_experts - self.top_k) * expert, 0.0, 0)

    def memory(self, d_model: int, work: Workload) -> LayerMemory:
        shared = LayerMemory(0, 0)
        if self.d_shared:
            shared = feed_forward_memory(d_model, self.d_shared, self.activation, work)
        wide = (2 if self.activation == "swiglu" else 1) * self.d_ff
        routed = self.top_k * work.width * (d_model + wide)  # sorted rows, before the activation
        own_input = work.width < 4 or not self.d_shared  # in float32, or the shared expert's
        router = 4 * self.n_experts + (4 * d_model if own_input else 0)
        route = self.top_k * (3 * 8 + 2 * 4)  # three indices and two weights of each choice
        kept = shared.kept + work.tokens * (routed + router + route)
        # gradients of the sorted rows, out and in; the shared expert's turn comes before
        scratch = max(shared.scratch, work.tokens * 2 * self.top_k * work.width * d_model)
        return LayerMemory(kept, scratch)


class MoELayer(Layer):
    """See the module's text."""

    def __init__(self, cfg: MoEConfig, d_model: int) -> None:
        super().__init__()
        self.cfg = cfg
        self.gate = Router(cfg, d_model)
        gated = cfg.activation == "swiglu"
        self.experts = ExpertWeights(cfg.n_experts, d_model, cfg.d_ff, gated=gated)
        self.shared_experts = (
            FeedForward(d_model, cfg.d_shared, cfg.activation) if cfg.d_shared else None
        )

    def forward(
        self, x: Tensor, ctx: Context, state: Any = None
    ) -> tuple[Tensor, Any, LayerAux | None]:
        scores = self.gate(x)
        chosen, weights = self.gate.choose(scores)
        y = self.experts(ctx.kernels.experts, x, chosen, weights)
        if self.shared_experts is not None:
            y = y + self.shared_experts.mix(x)
        return y, state, self._aux(scores, chosen, ctx.doc_ids)

    def _aux(self, scores: Tensor, chosen: Tensor, doc_ids: Tensor | None) -> LayerAux:
        """Counts (E,), and the balance loss E * sum_e f_e p_e of each row, averaged over rows.

        A mean over rows, not over the batch, so that splitting a batch changes nothing. Padding
        (document -1) does not count: it is one token over and over, and would turn the balance
        against the experts that it happens to choose.
        """
        real = torch.ones_like(scores[..., 0])  # (B,T)
        if doc_ids is not None:
            real = (doc_ids >= 0).to(scores)
        marks = real[..., None].expand_as(chosen)
        hits = torch.zeros_like(scores).scatter_(-1, chosen, marks).sum(1)  # (B,E)
        loss = None
        if self.cfg.balance and self.training:
            tokens = real.sum(1, keepdim=True)
            share = hits / (tokens * self.cfg.top_k)
            shares = scores / (scores.sum(-1, keepdim=True) + 1e-20)
            mean = torch.einsum("bte,bt->be", shares, real) / tokens
            loss = self.cfg.balance * self.cfg.n_experts * (share * mean).sum(-1).mean()
        return LayerAux(loss, hits.sum(0))

    def init_weights(self, generator: InitStreams, std: float, out_std: float) -> None:
        generator.normal("gate", self.gate.weight, std)
        with torch.no_grad():
            self.gate.e_score_correction_bias.zero_()
        bank = self.experts
        generator.normal("experts.up_proj", bank.up_proj, std)
        generator.normal("experts.down_proj", bank.down_proj, out_std)
        if bank.gate_proj is not None:
            generator.normal("experts.gate_proj", bank.gate_proj, std)
        if self.shared_experts is not None:
            self.shared_experts.init_weights(generator.child("shared_experts"), std, out_std)

    @torch.no_grad()
    def after_step(self, expert_counts: Tensor) -> None:
        """Raise the bias of experts below the mean load, lower it above: ``rate * sign``.

        A router that is frozen keeps its bias as it is.
        """
        if not self.gate.weight.requires_grad:
            return
        bias = self.gate.e_score_correction_bias
        load = expert_counts.to(bias)
        bias.add_(torch.sign(load.mean() - load), alpha=self.cfg.bias_rate)


class Router(Exact):
    """Scores in fp32: weight (E,D), and the bias (E,) that only takes part in choosing."""

    exact = ("e_score_correction_bias",)
    e_score_correction_bias: Tensor

    def __init__(self, cfg: MoEConfig, d_model: int) -> None:
        super().__init__()
        self.cfg = cfg
        self.weight = nn.Parameter(torch.empty(cfg.n_experts, d_model))
        self.register_buffer("e_score_correction_bias", torch.zeros(cfg.n_experts))

    def parameter_roles(self) -> dict[str, str]:
        """A router is no hidden matrix to an optimizer: its rows are scores' directions."""
        return {"weight": "vector"}

    def forward(self, x: Tensor) -> Tensor:
        """(B,T,D) -> scores (B,T,E) float32."""
        logits = self.logits(x.float())
        return steady(torch.sigmoid, logits) if self.cfg.router == "sigmoid" else logits.softmax(-1)

    def logits(self, x: Tensor) -> Tensor:
        """(B,T,D) float32 -> (B,T,E)."""
        return F.linear(x, self.weight.float())

    def choose(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """The top_k experts of each token and their weights, (B,T,k) each."""
        biased = scores.detach() + self.e_score_correction_bias
        chosen = biased.topk(self.cfg.top_k, -1, sorted=False).indices
        weights = scores.gather(-1, chosen)
        if self.cfg.normalize:
            weights = weights / (weights.sum(-1, keepdim=True) + 1e-20)
        return chosen, weights * self.cfg.scale


class ExpertWeights(nn.Module):
    """The experts' matrices, stacked: up (E,F,D), down (E,D,F), and for SwiGLU gate (E,F,D)."""

    def __init__(self, n_experts: int, d_model: int, d_ff: int, *, gated: bool) -> None:
        super().__init__()
        wide, narrow = (n_experts, d_ff, d_model), (n_experts, d_model, d_ff)
        self.up_proj = nn.Parameter(torch.empty(wide))
        self.down_proj = nn.Parameter(torch.empty(narrow))
        self.gate_proj = nn.Parameter(torch.empty(wide)) if gated else None

    def matrices(self) -> dict[str, Tensor]:
        """The matrices as they multiply, by name."""
        return dict(self.named_parameters())

    def forward(self, kernel: Experts, x: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
        """x (B,T,D) through the experts chosen, (B,T,k) with their weights -> (B,T,D)."""
        return run_experts(kernel, x, chosen, weights, self.matrices())


def run_experts(
    kernel: Experts, x: Tensor, chosen: Tensor, weights: Tensor, matrices: Mapping[str, Tensor]
) -> Tensor:
    """The kernel over tokens in rows, with the matrices of a bank by name."""
    up, down, gate = (matrices.get(name) for name in ("up_proj", "down_proj", "gate_proj"))
    assert up is not None and down is not None
    tokens = x.flatten(0, 1), chosen.flatten(0, 1), weights.flatten(0, 1)
    return kernel(*tokens, up, down, gate).view_as(x)
