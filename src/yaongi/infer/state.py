"""Decoding states as a whole: bytes, batches of rows of unequal length, and pieces of one row.

What a state holds (keys and values, convolution window, scan state) belongs to the layers. One
whose tensors have an axis of tokens says so by ``time_axis``; in a batch it is a list of rows, so
that rows come and go without a copy, and any other is one tensor for all rows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from yaongi.core.errors import CapabilityError
from yaongi.model.lm import LM, State


def decode_state_bytes(model: LM, context_len: int, *, rows: int = 1) -> int:
    """Bytes ``rows`` sequences of ``context_len`` tokens keep while decoding with this model.

    Measured on the state the layers themselves would allocate (on the meta device, so that asking
    about a long context costs no memory), where ``model.count`` predicts by formula.
    """
    return size_bytes(model.init_state(rows, context_len, device=torch.device("meta")))


def size_bytes(state: Any) -> int:
    """Bytes of every tensor in a state."""
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


def check_rows(model: LM) -> None:
    """Raise CapabilityError when a layer's state grows with the text without a ``time_axis``."""
    short, long = (model.init_state(1, n, device=torch.device("meta")) for n in (8, 16))
    for i, pair in enumerate(zip(short.layers, long.layers, strict=True)):
        fixed = [[t.shape for t in tensors(_select(_by_row(s), []))] for s in pair]
        if fixed[0] != fixed[1]:
            raise CapabilityError(
                "Layer {index} ('{letter}') keeps a state that grows with the text but does not "
                "say along which axis: give its class a time_axis.",
                index=i,
                letter=model.cfg.layers[i],
            )


def by_row(state: State) -> State:
    """The state of one row as a batch of one, whose rows may come to differ in length."""
    layers = [_by_row(layer) for layer in state.layers]
    return State(layers, state.max_len, state.length, [state.length], numbers=state.numbers)


def single(state: State) -> State:
    """The state of a batch of one row as ``by_row`` found it: no lists, one length."""
    (length,) = state.lengths or [state.length]
    layers = [_single(layer) for layer in state.layers]
    return State(layers, state.max_len, length, numbers=state.numbers)


def join(states: Sequence[State]) -> State:
    """Batches of rows as one batch; of each see ``by_row``."""
    layers = [_map(_cat, parts, _concat) for parts in zip(*(s.layers for s in states), strict=True)]
    lengths = [n for s in states for n in s.lengths or []]
    numbers = _map(_cat, [s.numbers for s in states])
    return State(layers, max(s.max_len for s in states), max(lengths), lengths, numbers=numbers)


def select(state: State, rows: Sequence[int]) -> State:
    """The named rows of a batch, at least one."""
    lengths = [(state.lengths or [])[i] for i in rows]
    layers = [_select(layer, rows) for layer in state.layers]
    numbers = _select(state.numbers, rows)
    return State(layers, state.max_len, max(lengths), lengths, numbers=numbers)


def piece(state: State, start: int) -> State:
    """A copy of what a row's tokens from ``start`` on left: all of what does not grow."""

    def copied(parts: Sequence[Tensor], axis: int | None) -> Tensor:
        whole = parts[0]
        new = whole if axis is None else whole.narrow(axis, start, state.length - start)
        return new.clone(memory_format=torch.contiguous_format)

    layers = [_map(copied, [layer]) for layer in state.layers]
    return State(layers, state.max_len, state.length, numbers=_map(copied, [state.numbers]))


def rebuild(empty: State, pieces: Sequence[State]) -> State:
    """The row whose pieces these are, in the room of an empty state, which is used up."""
    ends = [p.length for p in pieces]

    def filled(parts: Sequence[Tensor], axis: int | None) -> Tensor:
        room, *found = parts
        if axis is None:
            return found[-1].clone()
        for start, end, part in zip([0, *ends], ends, found, strict=False):
            room.narrow(axis, start, end - start).copy_(part)
        return room

    columns = zip(empty.layers, *(p.layers for p in pieces), strict=True)
    layers = [_map(filled, column) for column in columns]
    numbers = _map(filled, [empty.numbers, *(p.numbers for p in pieces)])
    return State(layers, empty.max_len, ends[-1], numbers=numbers)


def each(state: Any, function: Callable[[Tensor, int | None], Tensor]) -> Any:
    """The state with ``function(tensor, its axis of tokens or None)`` in the place of every tensor,
    in the order of ``tensors``."""
    return _map(lambda parts, axis: function(parts[0], axis), [state])


def _map(
    on_tensors: Callable[[Sequence[Tensor], int | None], Tensor],
    states: Sequence[Any],
    on_rows: Callable[[Sequence[list[Any]]], list[Any]] | None = None,
    axis: int | None = None,
) -> Any:
    """States of one form, combined tensor by tensor into one of that form."""
    first = states[0]
    if isinstance(first, Tensor):
        return on_tensors(states, axis)
    if isinstance(first, list) and on_rows is not None:
        return on_rows(states)
    if isinstance(first, tuple):
        return tuple(_map(on_tensors, s, on_rows, axis) for s in zip(*states, strict=True))
    if isinstance(first, dict):
        names: list[Any] = list(cast("dict[Any, Any]", first))
        return {n: _map(on_tensors, [s[n] for s in states], on_rows, axis) for n in names}
    if dataclasses.is_dataclass(first):
        axis = getattr(first, "time_axis", None)
        fields = [f.name for f in dataclasses.fields(first)]
        found = {
            n: _map(on_tensors, [getattr(s, n) for s in states], on_rows, axis) for n in fields
        }
        return type(first)(**found)  # type: ignore[operator]
    return first


def _by_row(state: Any) -> Any:
    if hasattr(state, "time_axis"):
        return [state]
    if isinstance(state, tuple):
        return tuple(_by_row(item) for item in state)
    return state


def _single(state: Any) -> Any:
    if isinstance(state, list):
        return state[0]
    if isinstance(state, tuple):
        return tuple(_single(item) for item in state)
    return state


def _cat(parts: Sequence[Tensor], _axis: int | None) -> Tensor:
    return torch.cat(list(parts))


def _concat(rows: Sequence[list[Any]]) -> list[Any]:
    return [row for part in rows for row in part]


def _select(state: Any, rows: Sequence[int]) -> Any:
    at = list(rows)
    return _map(lambda parts, _: parts[0][at], [state], lambda parts: [parts[0][i] for i in at])
