"""Decoding states as a whole: how many bytes one takes.

What a state holds (keys and values, convolution window, scan state) belongs to the layers; here
is only what concerns all of them, for any layer kind.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from yaongi.model.lm import LM, State


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


def by_row(state: State) -> State:
    """The state of one row as the first of a batch whose rows may differ in length."""
    layers = [_by_row(layer) for layer in state.layers]
    return State(layers, state.max_len, state.length, [state.length], numbers=state.numbers)


def join(states: Sequence[State]) -> State:
    """Batches of rows as one batch; of each see ``by_row``."""
    layers = [_join(parts) for parts in zip(*(s.layers for s in states), strict=True)]
    lengths = [n for s in states for n in s.lengths or []]
    return State(
        layers,
        max(s.max_len for s in states),
        max(lengths),
        lengths,
        numbers=_join([s.numbers for s in states]),
    )


def select(state: State, rows: Sequence[int]) -> State:
    """The named rows of a batch of at least one."""
    lengths = [(state.lengths or [])[i] for i in rows]
    layers = [_select(layer, rows) for layer in state.layers]
    numbers = _select(state.numbers, rows)
    return State(layers, state.max_len, max(lengths), lengths, numbers=numbers)


def _by_row(state: Any) -> Any:
    if hasattr(state, "time_axis"):
        return [state]
    if isinstance(state, tuple):
        return tuple(_by_row(item) for item in state)
    return state


def _join(parts: Sequence[Any]) -> Any:
    first = parts[0]
    if isinstance(first, Tensor):
        return torch.cat(list(parts))
    if isinstance(first, list):
        return [row for rows in parts for row in rows]
    if isinstance(first, tuple):
        return tuple(_join(items) for items in zip(*parts, strict=True))
    if dataclasses.is_dataclass(first):
        names = [f.name for f in dataclasses.fields(first)]
        return type(first)(**{n: _join([getattr(p, n) for p in parts]) for n in names})
    return first


def _select(state: Any, rows: Sequence[int]) -> Any:
    if isinstance(state, Tensor):
        return state[list(rows)]
    if isinstance(state, list):
        return [state[i] for i in rows]
    if isinstance(state, tuple):
        return tuple(_select(item, rows) for item in state)
    if dataclasses.is_dataclass(state) and not isinstance(state, type):
        names = [f.name for f in dataclasses.fields(state)]
        return type(state)(**{n: _select(getattr(state, n), rows) for n in names})
    return state
