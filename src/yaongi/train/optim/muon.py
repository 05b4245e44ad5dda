"""Muon: momentum whose matrices are orthogonalised; AdamW for everything that is no matrix.

Jordan 2024 with the Polar Express iteration (arXiv:2505.16932), the RMS-matching scale of
Moonlight (arXiv:2502.16982), so one learning rate serves both halves, cautious weight decay
(arXiv:2510.12402), and a momentum that warms up as in modded-nanogpt. Matrices of one shape,
experts included, go through one batched product.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
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

FIRST_MOMENTUM = 0.85
"""Where momentum starts: early gradients turn quickly. It is full when the schedule's warmup is."""


class Muon(OptimizerConfig):
    """Settings of ``MuonOptimizer``."""

    kind: str = "muon"
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.95
    betas: tuple[float, float] = (0.9, 0.95)

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        return MuonOptimizer(members(model), **self.settings())

    def settings(self) -> dict[str, Any]:
        """What ``MuonOptimizer`` takes."""
        return {
            "lr": self.lr,
            "weight_decay": self.weight_decay,
            "momentum": self.momentum,
            "betas": self.betas,
        }


class Block(NamedTuple):
    """One matrix, or one bank of expert matrices, inside a parameter: views (..., m, n)."""

    name: str
    weight: Tensor
    grad: Tensor
    momentum: Tensor


Joint = list[Block]
"""Blocks orthogonalised side by side, as one matrix [M1 | ... | MK]. Muon's hold one block."""


class MuonOptimizer(torch.optim.Optimizer):
    """One optimizer, three groups: matrices (Muon), embeddings and head, vectors (AdamW).

    Args:
        members: parameters with roles; the blocks of a fused matrix are orthogonalised apart and
            its ``vector_rows`` follow AdamW without decay.
        adamw_lr: learning rate of what AdamW updates; None takes ``lr``.
        ns_dtype: format of the iteration; by default bfloat16 where the device has it.
    """

    def __init__(
        self,
        members: Sequence[Member],
        *,
        lr: float,
        adamw_lr: float | None = None,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.95),
        iteration: Iteration = POLAR_EXPRESS,
        ns_dtype: torch.dtype | None = None,
    ) -> None:
        self.layout = {id(m.param): m for m in members}
        self.iteration = iteration
        self.ns_dtype = ns_dtype
        self.adamw_share = 1.0 if adamw_lr is None else adamw_lr / lr
        matrices = [m.param for m in members if m.role is Role.MATRIX]
        tables = [m.param for m in members if m.role in (Role.EMBEDDING, Role.HEAD)]
        vectors = [m.param for m in members if m.role is Role.VECTOR]
        adamw = {"method": "adamw", "lr": lr * self.adamw_share}
        groups = [
            {"params": matrices, "method": "muon", "momentum": momentum, "warmup": 1.0},
            {"params": tables, **adamw},
            {"params": vectors, **adamw, "weight_decay": 0.0},
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
        vectors = {"lr": group["lr"] * self.adamw_share, "weight_decay": 0.0}
        self._step_adamw({**group, **vectors}, split, rows)
        first = min(FIRST_MOMENTUM, group["momentum"])
        momentum = first + (group["momentum"] - first) * group["warmup"]
        for stack in _stacks(self.joints(self._blocks(params, momentum))):
            self._step_stack(stack, momentum, group)

    def _blocks(self, params: Sequence[Tensor], momentum: float) -> Iterator[Block]:
        """Update the momentum of each parameter and yield its blocks."""
        for p in params:
            assert p.grad is not None
            state, member = self.state[p], self.layout[id(p)]
            if "momentum" not in state:
                state["momentum"] = torch.zeros_like(p)
            state["momentum"].lerp_(p.grad, 1 - momentum)
            for name, rows in member.blocks.items():
                parts = (t[..., rows, :] for t in (p, p.grad, state["momentum"]))
                yield Block(block_name(member, name), *parts)

    def joints(self, blocks: Iterable[Block]) -> list[Joint]:
        """Which blocks are orthogonalised together: in Muon, each alone."""
        return [[block] for block in blocks]

    def _step_stack(self, stack: Sequence[Joint], momentum: float, group: dict[str, Any]) -> None:
        """Orthogonalise joints of one shape together and apply each block its part."""
        first, k = stack[0][0].weight, len(stack[0])
        m, n = first.shape[-2:]
        counts = [joint[0].weight.numel() // (m * n) for joint in stack]
        together = first.new_empty(sum(counts), m, k * n)
        for joint, rows in zip(stack, together.split(counts), strict=True):
            for block, part in zip(joint, rows.split(n, -1), strict=True):
                part.copy_(
                    block.grad.lerp(block.momentum, momentum).reshape(part.shape)
                )  # Nesterov
        updates = self.updates(together, k)
        for joint, rows in zip(stack, updates.split(counts), strict=True):
            for block, part in zip(joint, rows.split(n, -1), strict=True):
                _apply(block.weight, part.reshape(block.weight.shape), group)

    def updates(self, momenta: Tensor, k: int) -> Tensor:
        """Orthogonalise and scale: momenta (batch, m, k n) -> updates for a learning rate of 1.

        The one step that needs whole matrices; all others go element by element. So this is
        where an optimizer of sharded parameters gathers rows, and keeps its own afterwards.
        """
        m, n = momenta.shape[-2], momenta.shape[-1] // k
        dtype = self.ns_dtype or fast_matmul_dtype(momenta.device)
        return orthogonalize(momenta, self.iteration, dtype).mul_(self.scale(m, n, k))

    def scale(self, m: int, n: int, k: int) -> float:
        """What multiplies the orthogonal update of ``k`` joint matrices (m, n)."""
        return rms_scale(m, k * n)

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


def block_name(member: Member, block: str) -> str:
    """``layers.0.mixer.in_proj.weight/x``, or the parameter's name when nothing is fused."""
    return f"{member.name}/{block}" if block else member.name


def _apply(weight: Tensor, update: Tensor, group: dict[str, Any]) -> None:
    """Step, with cautious decay: a weight shrinks only where the update shrinks it too."""
    shrinks = (update * weight >= 0).to(weight.dtype)
    weight.sub_(update.addcmul(weight, shrinks, value=group["weight_decay"]), alpha=group["lr"])


def _stacks(joints: Iterable[Joint]) -> Iterator[list[Joint]]:
    """Group joints of one shape, at most STACK_ELEMENTS together unless one matrix has more."""
    by_shape: dict[tuple[int, ...], list[Joint]] = {}
    for joint in joints:
        shape = (len(joint), *joint[0].weight.shape[-2:])
        by_shape.setdefault(shape, []).extend(_pieces(joint))
    for same in by_shape.values():
        stack: list[Joint] = []
        for joint in same:
            if stack and sum(map(_size, [*stack, joint])) > STACK_ELEMENTS:
                yield stack
                stack = []
            stack.append(joint)
        yield stack


def _pieces(joint: Joint) -> Iterator[Joint]:
    """A bank of experts larger than STACK_ELEMENTS as several banks; anything else as it is."""
    if joint[0].weight.ndim == 2 or _size(joint) <= STACK_ELEMENTS:
        yield joint
        return
    experts = len(joint[0].weight)
    at_once = max(1, STACK_ELEMENTS // (_size(joint) // experts))
    for start in range(0, experts, at_once):
        part = slice(start, start + at_once)
        yield [Block(b.name, b.weight[part], b.grad[part], b.momentum[part]) for b in joint]


def _size(joint: Joint) -> int:
    return sum(block.weight.numel() for block in joint)
