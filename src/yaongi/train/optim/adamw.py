"""AdamW with decay on matrices and embeddings only.

Loshchilov & Hutter 2019 (arXiv:1711.05101), through torch's fused kernel.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import nn

from yaongi.train.optim import OptimizerConfig
from yaongi.train.optim.groups import Role, members


class AdamW(OptimizerConfig):
    """``torch.optim.AdamW``; vectors (norms, biases, routers, convolutions) are not decayed."""

    kind: str = "adamw"
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    betas: tuple[float, float] = (0.9, 0.95)

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        found = members(model)
        decayed = [m.param for m in found if m.role is not Role.VECTOR]
        vectors = [m.param for m in found if m.role is Role.VECTOR]
        groups = [
            {"params": params, "weight_decay": decay}
            for params, decay in ((decayed, self.weight_decay), (vectors, 0.0))
            if params
        ]
        return torch.optim.AdamW(groups, lr=self.lr, betas=self.betas, fused=True)
