"""What kind of thing each parameter is, so that an optimizer can treat like alike.

Roles follow Muon's practice (Jordan 2024; Moonlight, arXiv:2502.16982): hidden matrices are
orthogonalised, while embeddings, the head and everything one-dimensional are not. A layer that
fuses several matrices into one parameter says so in ``row_splits``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from torch import nn

from yaongi.core.errors import ShapeError


class Role(StrEnum):
    """How a parameter is used."""

    EMBEDDING = "embedding"
    HEAD = "head"
    MATRIX = "matrix"
    VECTOR = "vector"
    """Norms, biases, per-head scalars, convolutions and routers: never decayed, never Muon."""
    TABLE = "table"
    """Looked up by hash, with sparse gradients; ``optim.build`` takes them out of every optimizer
    and gives them row-wise Adam."""


@dataclass(frozen=True)
class Member:
    """A parameter with its role, and the row blocks of a fused matrix.

    Attributes:
        blocks: name -> rows that form a matrix of their own; all rows, named "", when nothing is
            fused.
        vector_rows: rows of a fused matrix that act as per-head scalars (Mamba's dt), or None.
    """

    name: str
    param: nn.Parameter
    role: Role
    blocks: Mapping[str, slice] = field(default_factory=lambda: {"": slice(None)})
    vector_rows: slice | None = None


VECTOR_MODULES = (nn.Conv1d, nn.Conv2d, nn.LayerNorm, nn.RMSNorm)
VECTOR_NAMES = ("router", "conv", "norm")
HEAD_NAMES = ("head", "lm_head", "unembed")
SCALAR_BLOCKS = ("dt",)


def members(model: nn.Module) -> list[Member]:
    """Every trainable parameter of ``model`` once, in registration order.

    A module overrides what its type and names suggest with ``parameter_roles() -> {name: role}``
    and names the blocks of a fused matrix with ``row_splits() -> {name: {block: rows}}``.

    Raises:
        ShapeError: a declared split does not cover its parameter.
    """
    found: list[Member] = []
    seen: set[int] = set()
    for prefix, module in model.named_modules():
        for local, param in module.named_parameters(prefix="", recurse=False):
            if id(param) in seen or not param.requires_grad:
                continue
            seen.add(id(param))
            name = f"{prefix}.{local}" if prefix else local
            blocks, vector_rows = _splits(module, local, param, name)
            found.append(
                Member(name, param, _role(module, local, name, param), blocks, vector_rows)
            )
    return found


def _role(module: nn.Module, local: str, name: str, param: nn.Parameter) -> Role:
    declared = _declared(module, "parameter_roles")
    if local in declared:
        return Role(declared[local])
    if isinstance(module, nn.Embedding):
        return Role.EMBEDDING
    parts = name.lower().split(".")
    if any(part in HEAD_NAMES for part in parts):
        return Role.HEAD
    narrow = param.ndim < 2 or min(param.shape[-2:]) == 1
    named = any(word in part for part in parts[-2:] for word in VECTOR_NAMES)
    if narrow or named or isinstance(module, VECTOR_MODULES):
        return Role.VECTOR
    return Role.MATRIX


def _splits(
    module: nn.Module, local: str, param: nn.Parameter, name: str
) -> tuple[dict[str, slice], slice | None]:
    rows = _declared(module, "row_splits").get(local)
    if not rows:
        return {"": slice(None)}, None
    if sum(rows.values()) != param.shape[-2]:
        raise ShapeError(
            "{name} has {found} rows, but its declared blocks {rows} add up to {total}.",
            name=name,
            found=param.shape[-2],
            rows=rows,
            total=sum(rows.values()),
        )
    blocks: dict[str, slice] = {}
    vector_rows: slice | None = None
    start = 0
    for block, size in rows.items():
        here = slice(start, start + size)
        if block in SCALAR_BLOCKS:
            vector_rows = here
        else:
            blocks[block] = here
        start += size
    return blocks, vector_rows


def _declared(module: nn.Module, method: str) -> dict:
    declare = getattr(module, method, None)
    return dict(declare()) if declare is not None else {}
