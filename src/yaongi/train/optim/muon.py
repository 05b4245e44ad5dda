"""Muon: momentum whose matrices are orthogonalised; AdamW for everything that is no matrix.

Jordan 2024 with the Polar Express iteration (arXiv:2505.16932), the RMS-matching scale of
Moonlight (arXiv:2502.16982), so one learning rate serves both halves, and cautious weight decay
(arXiv:2510.12402). Matrices of one shape, experts included, go through one batched product.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.optim.adamw import adamw

from yaongi.train.optim import OptimizerConfig
from yaongi.train.optim.groups import Member, Role, members
from yaongi.train.precision import fast_matmul_dtype


@dataclass(frozen=True)
class Iteration:
    """Polynomials ``aX + (bXX' + c(XX')^2)X`` applied in turn to ``X / (safety |X|)``."""

    coefficients: tuple[tuple[float, float, float], ...]
    safety: float = 1.0


JORDAN = Iteration(((3.4445, -4.7750, 2.0315),) * 5)
"""The original coefficients, which ``torch.optim.Muon`` uses."""

POLAR_EXPRESS = Iteration(
    # Optimal for singular values in [1e-3, 1] and already divided for the safety factor, which
    # keeps rounding from pushing values past 1 (the set nanochat and modded-nanogpt use).
    (
        (8.156554524902461, -22.48329292557795, 15.878769915207462),
        (4.042929935166739, -2.808917465908714, 0.5000178451051316),
        (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
        (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
        (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
    ),
    safety=1.02,
)
STACK_ELEMENTS = 1 << 26
"""Elements orthogonalised at once: bounds the scratch memory of models with many experts."""


class Muon(OptimizerConfig):
    """Settings of ``MuonOptimizer``."""

    kind: str = "muon"
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.95
    betas: tuple[float, float] = (0.9, 0.95)

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        return MuonOptimizer(
            members(model),
            lr=self.lr,
            weight_decay=self.weight_decay,
            momentum=self.momentum,
            betas=self.betas,
        )


class Block(NamedTuple):
    """One matrix, or one batch of expert matrices, inside a parameter: views (..., m, n)."""

    weight: Tensor
    grad: Tensor
    momentum: Tensor


class MuonOptimizer(torch.optim.Optimizer):
    """One optimizer, three groups: matrices (Muon), embeddings and head, vectors (AdamW).

    Args:
        members: parameters with roles; the blocks of a fused matrix are orthogonalised apart and
            its ``vector_rows`` follow AdamW without decay.
        ns_dtype: format of the iteration; by default bfloat16 where the device has it.
    """

    def __init__(
        self,
        members: Sequence[Member],
        *,
        lr: float,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.95),
        iteration: Iteration = POLAR_EXPRESS,
        ns_dtype: torch.dtype | None = None,
    ) -> None:
        self.layout = {id(m.param): m for m in members}
        self.iteration = iteration
        self.ns_dtype = ns_dtype
        matrices = [m.param for m in members if m.role is Role.MATRIX]
        tables = [m.param for m in members if m.role in (Role.EMBEDDING, Role.HEAD)]
        vectors = [m.param for m in members if m.role is Role.VECTOR]
        groups = [
            {"params": matrices, "method": "muon", "momentum": momentum},
            {"params": tables, "method": "adamw"},
            {"params": vectors, "method": "adamw", "weight_decay": 0.0},
        ]
        defaults = {"lr": lr, "weight_decay": weight_decay, "betas": betas, "eps": 1e-8}
        super().__init__([g for g in groups if g["params"]], defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if group["method"] == "muon":
                self._step_matrices(group, params)
            else:
                self._step_adamw(group, params, [slice(None)] * len(params))
        return loss

    def _step_matrices(self, group: dict[str, Any], params: Sequence[Tensor]) -> None:
        split = [p for p in params if self.layout[id(p)].vector_rows is not None]
        rows = [self.layout[id(p)].vector_rows or slice(None) for p in split]
        self._step_adamw({**group, "weight_decay": 0.0}, split, rows)
        for block in _stacks(self._blocks(params, group["momentum"])):
            self._step_stack(block, group)

    def _blocks(self, params: Sequence[Tensor], momentum: float) -> Iterator[Block]:
        """Update the momentum of each parameter and yield its blocks."""
        for p in params:
            assert p.grad is not None
            state = self.state[p]
            if "momentum" not in state:
                state["momentum"] = torch.zeros_like(p)
            state["momentum"].lerp_(p.grad, 1 - momentum)
            for rows in self.layout[id(p)].blocks:
                yield Block(p[..., rows, :], p.grad[..., rows, :], state["momentum"][..., rows, :])

    def _step_stack(self, blocks: Sequence[Block], group: dict[str, Any]) -> None:
        """Orthogonalise blocks of one shape together and apply each its part."""
        m, n = blocks[0].weight.shape[-2:]
        nesterov = torch.cat(
            [b.grad.lerp(b.momentum, group["momentum"]).reshape(-1, m, n) for b in blocks]
        )
        dtype = self.ns_dtype or fast_matmul_dtype(nesterov.device)
        updates = orthogonalize(nesterov, self.iteration, dtype).mul_(rms_scale(m, n))
        counts = [b.weight.numel() // (m * n) for b in blocks]
        for block, part in zip(blocks, updates.split(counts), strict=True):
            weight, update = block.weight, part.reshape(block.weight.shape)
            shrinks = (update * weight >= 0).to(weight.dtype)  # cautious: decay where both agree
            weight.sub_(
                update.addcmul(weight, shrinks, value=group["weight_decay"]), alpha=group["lr"]
            )

    def _step_adamw(
        self, group: dict[str, Any], params: Sequence[Tensor], rows: Sequence[slice]
    ) -> None:
        if not params:
            return
        parts = [p[r] for p, r in zip(params, rows, strict=True)]
        states = [self.state[p] for p in params]
        for state, part in zip(states, parts, strict=True):
            if "step" not in state:
                state["step"] = torch.zeros((), dtype=torch.float32, device=part.device)
                state["exp_avg"] = torch.zeros_like(part)
                state["exp_avg_sq"] = torch.zeros_like(part)
        adamw(
            parts,
            [p.grad[r] for p, r in zip(params, rows, strict=True) if p.grad is not None],
            [s["exp_avg"] for s in states],
            [s["exp_avg_sq"] for s in states],
            [],
            [s["step"] for s in states],
            fused=True,
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )


def orthogonalize(x: Tensor, iteration: Iteration, dtype: torch.dtype) -> Tensor:
    """The nearest (semi-)orthogonal matrix to each matrix of ``x``, approximately.

    Args:
        x: (batch, m, n).
        dtype: format of the products.
    Returns: (batch, m, n) in x's dtype, singular values near 1.
    Source: Polar Express, arXiv:2505.16932, Algorithm 1.
    """
    tall = x.size(-2) > x.size(-1)
    y = x.mT if tall else x
    y = (y / (y.norm(dim=(-2, -1), keepdim=True) * iteration.safety + 1e-7)).to(dtype)
    for a, b, c in iteration.coefficients:
        gram = y @ y.mT
        y = torch.baddbmm(y, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), y, beta=a)
    return (y.mT if tall else y).to(x.dtype)


def rms_scale(m: int, n: int) -> float:
    """Gives an orthogonal (m, n) update the RMS that AdamW's updates typically have, 0.2."""
    return 0.2 * math.sqrt(max(m, n))


def _stacks(blocks: Iterator[Block]) -> Iterator[list[Block]]:
    """Group blocks of one shape, at most STACK_ELEMENTS together unless one alone is larger."""
    by_shape: dict[tuple[int, ...], list[Block]] = {}
    for block in blocks:
        by_shape.setdefault(tuple(block.weight.shape[-2:]), []).append(block)
    for same in by_shape.values():
        stack: list[Block] = []
        for block in same:
            if stack and sum(b.weight.numel() for b in [*stack, block]) > STACK_ELEMENTS:
                yield stack
                stack = []
            stack.append(block)
        yield stack
