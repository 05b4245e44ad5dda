"""TEON: Muon that orthogonalises the same projection of neighbouring layers as one wide matrix.

For K consecutive layers the momenta of one projection are set side by side, [M1 | ... | MK]
(the mode-1 unfolding of their stack), orthogonalised together, and cut apart again: Q with Q, K
with K, V with V (arXiv:2601.23261, which finds K = 2 best). Everything else is plain Muon.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from yaongi.core.errors import ConfigError
from yaongi.model.lm import LM, LMConfig
from yaongi.train.optim.groups import Member, Role, members
from yaongi.train.optim.muon import Block, Joint, Muon, MuonOptimizer, block_name

Target = Literal["attn.qkv", "mamba.xBC"]
PROJECTIONS: dict[Target, tuple[str, ...]] = {
    "attn.qkv": ("q_proj.weight", "k_proj.weight", "v_proj.weight"),
    # by analogy: the scan's C reads like a query, B writes like a key, x is the value
    "mamba.xBC": ("in_proj.weight/x", "in_proj.weight/b", "in_proj.weight/c"),
}
"""Which blocks of a layer each target stacks, every one with its own kind only."""

POWER_STEPS = 20
"""Two products of a matrix with a vector each: next to a step of training nothing."""

TINY = torch.finfo(torch.float32).tiny


class Teon(Muon):
    """Settings of ``TeonOptimizer``.

    Attributes:
        targets: what is stacked.
        stack: consecutive layers stacked (K); the layers left over follow Muon.
        scale: ``match_rms`` gives every update AdamW's usual RMS. ``paper`` multiplies the
            orthogonal factor of all matrices by sqrt(rows / columns) of one layer's, whose
            learning rate (0.02 in the paper) is of another size than AdamW's.
        adamw_lr: peak for embeddings, head and vectors, needed with ``paper``; None takes ``lr``.
    """

    kind: str = "teon"
    targets: Annotated[tuple[Target, ...], Field(min_length=1)] = ("attn.qkv",)
    stack: Annotated[int, Field(ge=1)] = 2
    scale: Literal["match_rms", "paper"] = "match_rms"
    adamw_lr: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _units_agree(self) -> Teon:
        if self.scale == "paper" and self.adamw_lr is None:
            raise ConfigError(
                "with scale=paper, lr is in the paper's unit (about 0.02) and does not fit what "
                "AdamW updates: set adamw_lr too, for example 4e-4"
            )
        return self

    def check(self, model: LMConfig) -> None:
        with torch.device("meta"):
            self.partners(members(LM(model)))

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        found = members(model)
        return TeonOptimizer(found, self.partners(found), scale=self.scale, **self.settings())

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "adamw_lr": self.adamw_lr}

    def partners(self, found: Sequence[Member]) -> dict[str, str]:
        """Block -> the first block of its stack, for every stacked block of a model.

        Raises:
            ConfigError: a target has too few layers to stack; names one that has enough, or Muon.
        """
        by_target = {t: _stacked(found, PROJECTIONS[t], self.stack) for t in PROJECTIONS}
        for target in self.targets:
            if not by_target[target]:
                others = [t for t, stacked in by_target.items() if stacked]
                raise ConfigError(
                    "optimizer.targets: {target} stacks {stack} layers that have it, and this "
                    "model has {layers}. Use {fix}.",
                    target=target,
                    stack=self.stack,
                    layers=_layers(found, PROJECTIONS[target]),
                    fix=f"optimizer.targets=[{others[0]}]" if others else "optimizer.kind=muon",
                )
        return {k: v for target in self.targets for k, v in by_target[target].items()}


class TeonOptimizer(MuonOptimizer):
    """Muon whose blocks are joined by ``partners``: block -> the first of its stack."""

    def __init__(
        self, members: Sequence[Member], partners: dict[str, str], *, scale: str, **settings: Any
    ) -> None:
        super().__init__(members, **settings)
        self.partners = partners
        self.paper = scale == "paper"

    def joints(self, blocks: Iterable[Block]) -> list[Joint]:
        joined: dict[str, Joint] = {}
        for block in blocks:
            joined.setdefault(self.partners.get(block.name, block.name), []).append(block)
        return list(joined.values())

    @torch.no_grad()
    def metrics(self) -> dict[str, float]:
        """How well the stacked momenta fit each other: what joining them relies on.

        Per projection the mean |cosine| between the first singular vectors of neighbours in a
        stack: ``teon_cos_right/q_proj`` of the right ones (in R^n, the inputs), of which the paper
        says that they align in Q, K and V, and ``teon_cos_left/q_proj`` of the left ones (in R^m):
        where those are equal, the joint matrix has one direction for both layers. Chance is about
        sqrt(2 / (pi n)). Reads the momenta and changes nothing; empty before the first step.
        """
        tops: dict[str, list[tuple[Tensor, Tensor]]] = {}
        for p, member in ((p, self.layout[id(p)]) for g in self.param_groups for p in g["params"]):
            for name, rows in member.blocks.items():
                first = self.partners.get(block_name(member, name))
                momentum = self.state.get(p, {}).get("momentum")
                if first is not None and momentum is not None:
                    tops.setdefault(first, []).append(top_singular_vectors(momentum[rows]))
        found: dict[str, list[float]] = {}
        for first, vectors in tops.items():
            kind = first.partition(".mixer.")[2].replace(".weight", "")
            for one, other in itertools.pairwise(vectors):
                for side, a, b in zip(("left", "right"), one, other, strict=True):
                    found.setdefault(f"teon_cos_{side}/{kind}", []).append(float((a @ b).abs()))
        return {name: statistics.fmean(values) for name, values in found.items()}

    def scale(self, m: int, n: int, k: int) -> float:
        # match_rms counts all k n columns: joint orthogonalisation makes each slice's entries
        # smaller, by sqrt(k) where m <= n, which the paper's scale leaves so
        return math.sqrt(m / n) if self.paper else super().scale(m, n, k)


def top_singular_vectors(matrix: Tensor, steps: int = POWER_STEPS) -> tuple[Tensor, Tensor]:
    """(left (m,), right (n,)) of the largest singular value, by power iteration on ``M'M``.

    Args:
        matrix: (m, n); of zeros the vectors are zeros.
        steps: the rest of the second vector shrinks by (s2 / s1)^2 in each; where both values
            are nearly equal the first vector is as much a matter of chance as in the matrix.
    """
    m = matrix.float()
    m = m / m.abs().amax().clamp_min(TINY)  # the squares of momenta would vanish
    # a generator of its own: measuring must not move the numbers that training draws
    start = torch.randn(m.shape[1], generator=torch.Generator().manual_seed(0))
    right = functional.normalize(start.to(m.device), dim=0)
    for _ in range(steps):
        right = functional.normalize(m.mT @ (m @ right), dim=0)
    return functional.normalize(m @ right, dim=0), right


def _stacked(found: Sequence[Member], projections: Sequence[str], size: int) -> dict[str, str]:
    """Block -> first of its stack, for whole stacks of ``size`` blocks of one kind and shape."""
    partners: dict[str, str] = {}
    for names in _by_kind(found, projections).values():
        for start in range(0, len(names) - size + 1, size):
            stack = names[start : start + size]
            partners |= dict.fromkeys(stack, stack[0])
    return partners


def _layers(found: Sequence[Member], projections: Sequence[str]) -> int:
    """Most layers that could be stacked."""
    return max(map(len, _by_kind(found, projections).values()), default=0)


def _by_kind(found: Sequence[Member], projections: Sequence[str]) -> dict[Any, list[str]]:
    """(projection, rows, columns) -> its blocks in the order of the layers."""
    kinds: dict[Any, list[str]] = {}
    for member in found:
        for block, rows in member.blocks.items():
            name = block_name(member, block)
            ends = [p for p in projections if name.endswith(f".mixer.{p}")]
            if ends and member.role is Role.MATRIX:
                shape = member.param[..., rows, :].shape
                kinds.setdefault((ends[0], *shape), []).append(name)
    return kinds
