"""Rotary angles: how fast each pair of a head's dimensions turns.

RoPE is Su et al. 2021, arXiv:2104.09864; Llama 3.1's stretch to longer texts (arXiv:2407.21783)
slows the slow pairs only.
"""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor

from yaongi.core.config import Config


class RopeScaling(Config):
    """Llama 3's scaling of the frequencies.

    Attributes:
        factor: pairs that turn less than ``low_freq_factor`` times in ``original_context`` tokens
            are slowed by this much; those above ``high_freq_factor`` stay; between, in proportion.
        original_context: tokens the unscaled angles were trained on.
    """

    factor: float = Field(ge=1)
    low_freq_factor: float = Field(default=1.0, gt=0)
    high_freq_factor: float = Field(default=4.0, gt=0)
    original_context: int = Field(gt=0)


def frequencies(
    width: int, theta: float, scaling: RopeScaling | None, device: torch.device | None = None
) -> Tensor:
    """Radians per token of each pair of a head of ``width``: (width/2,) float32."""
    index = torch.arange(0, width, 2, device=device, dtype=torch.float32)
    turning = theta ** (-index / width)
    if scaling is None:
        return turning
    turns = scaling.original_context * turning / (2 * math.pi)
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    kept = ((turns - low) / (high - low)).clamp(0, 1)
    return turning * (kept + (1 - kept) / scaling.factor)
