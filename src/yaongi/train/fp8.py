"""Which matrices of a model train in fp8, and why not the others: decided once, logged once.

Routers, norms, embeddings, the head and the layers at both ends stay in bf16, as in Nemotron-H's
FP8 training (arXiv:2504.03624, its first and last two layers); of the rest, those that can win.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from dataclasses import dataclass

import torch
from torch import nn

from yaongi.core.errors import CapabilityError
from yaongi.core.i18n import translate
from yaongi.model.layer import Linear
from yaongi.model.lm import LM
from yaongi.ops.quant import fp8
from yaongi.train.optim.groups import Member, Role, members

log = logging.getLogger(__name__)

EDGE_LAYERS = 2
"""Layers at each end that stay in bf16: their errors pass through, or come from, everything."""


@dataclass(frozen=True)
class Matrix:
    """The decision about one matrix: ``reason`` is None when it trains in fp8."""

    name: str
    shape: tuple[int, ...]
    reason: str | None


def use_fp8(model: LM, device: torch.device) -> list[Matrix]:
    """Let the matrices of ``model`` that can win multiply in fp8 while it trains.

    Nothing about the weights changes: they stay float32, evaluation and checkpoints see those.

    Raises:
        CapabilityError: the device has no fp8, or no matrix of the model can win.
    """
    if reason := fp8.fp8_unavailable(device):
        raise CapabilityError("fp8 cannot be used here: {reason}. Remove fp8.", reason=reason)
    matrices = decide(model)
    for line in summary(matrices):
        log.info("%s", line)
    if all(m.reason for m in matrices):
        raise CapabilityError(
            "fp8 would win nothing on this model. {why}. Remove fp8; bf16 is faster here.",
            why="; ".join(summary(matrices)),
        )
    for matrix in matrices:
        linear = _owner(model, matrix.name)
        if matrix.reason is None and isinstance(linear, Linear):
            linear.training_product = fp8.fp8_linear
    return matrices


def decide(model: LM) -> list[Matrix]:
    """The decision about every trained matrix, in the model's order."""
    return [
        Matrix(m.name, tuple(m.param.shape), _refusal(model, m))
        for m in members(model)
        if m.role in (Role.MATRIX, Role.HEAD)
    ]


def _refusal(model: LM, member: Member) -> str | None:
    if member.role is Role.HEAD:
        return translate("the head stays in bf16")
    layer = re.match(r"layers\.(\d+)\.", member.name)
    if layer and not EDGE_LAYERS <= int(layer[1]) < len(model.layers) - EDGE_LAYERS:
        return translate("the first and last {n} layers stay in bf16", n=EDGE_LAYERS)
    if not isinstance(_owner(model, member.name), Linear):
        return translate("experts have no fp8 product")
    return fp8.loses(*member.param.shape)


def _owner(model: nn.Module, name: str) -> nn.Module:
    return model.get_submodule(name.rpartition(".")[0])


def summary(matrices: list[Matrix]) -> list[str]:
    """One line for each kind of decision: ``fp8: in_proj 5152x1024 (19)``."""
    kinds = Counter((m.reason, re.sub(r"^layers\.\d+\.(mixer\.)?|\.weight$", "", m.name), m.shape)
                    for m in matrices)  # fmt: skip
    lines: dict[str | None, list[str]] = {}
    for (reason, name, shape), count in kinds.items():
        size = "x".join(str(n) for n in shape)
        lines.setdefault(reason, []).append(f"{name} {size} ({count})")
    return [
        f"fp8: {', '.join(names)}" if reason is None else f"bf16, {reason}: {', '.join(names)}"
        for reason, names in sorted(lines.items(), key=lambda item: item[0] or "")
    ]
