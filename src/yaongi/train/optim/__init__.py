"""Optimizers by name: a Config with ``build(model) -> torch.optim.Optimizer``.

A plug-in is such a class in any module: ``optimizer: {kind: "my_module:Lion", lr: 1e-4}``. The
loop only needs ``param_groups`` with an ``lr`` and a ``state_dict`` of tensors and numbers; before
each step it writes into every group ``lr`` and ``warmup``, which rises from 0 to 1 with the
schedule's warmup. With ``metrics() -> {name: number}`` it also has numbers logged.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import nn

from yaongi.core.config import Config, Registry
from yaongi.model.lm import LMConfig


class OptimizerConfig(Config):
    """Settings of an optimizer; ``lr`` is the peak, which the schedule multiplies."""

    kind: str = "muon"
    lr: Annotated[float, Field(gt=0)] = 1e-3

    def check(self, model: LMConfig) -> None:
        """Raise ConfigError when the settings do not fit a model of this shape."""

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        """The optimizer over all trainable parameters of ``model``."""
        raise NotImplementedError


OPTIMIZERS = Registry(
    "optimizer",
    OptimizerConfig,
    {
        "adamw": "yaongi.train.optim.adamw:AdamW",
        "muon": "yaongi.train.optim.muon:Muon",
        "teon": "yaongi.train.optim.teon:Teon",
    },
)
OptimizerChoice = Annotated[OptimizerConfig, OPTIMIZERS.field()]
