"""Decoding states as a whole: how many bytes one takes.

What a state holds (keys and values, convolution window, scan state) belongs to the layers; here
is only what concerns all of them, for any layer kind.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from yaongi.model.lm import LM


def decode_state_bytes(model: LM, context_len: int, *, rows: int = 1) -> int:
    """Bytes ``rows`` sequences of ``context_len`` tokens keep while decoding with this model.

    Measured on the state the layers themselves would allocate (on the meta device, so that asking
    about a long context costs no memory), where ``model.count`` predicts by formula.
    """
    state = model.init_state(rows, context_len, device=torch.device("meta"))
    return sum(t.numel() * t.element_size() for t in tensors(state))


def tensors(state: Any) -> list[Tensor]:
    """Every tensor in a state, whatever dataclasses, lists and dicts the layers built it from."""
    if isinstance(state, Tensor):
        return [state]
    if dataclasses.is_dataclass(state):
        state = [getattr(state, f.name) for f in dataclasses.fields(state)]
    if isinstance(state, dict):
        state = list(state.values())
    if isinstance(state, (list, tuple)):
        return [t for item in state for t in tensors(item)]
    return []
