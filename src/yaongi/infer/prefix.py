"""Prompts begun before: what the layers kept of them, so that they need not be read again.

A tree of chunks as in SGLang's RadixAttention (Zheng et al. 2023, arXiv:2312.07104), with the
states of convolution and scan beside keys and values: each chunk holds a copy of the state at its
end, and of what grows only its own tokens. What was used longest ago goes first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from yaongi.infer.state import piece, rebuild, size_bytes
from yaongi.model.lm import State


@dataclass(eq=False)
class _Chunk:
    """Some ids behind a parent's; ``logits`` (1,V) behind the last where a prompt ended."""

    parent: _Chunk | None
    ids: tuple[int, ...]
    piece: State
    logits: Tensor | None
    children: dict[tuple[int, ...], _Chunk] = field(default_factory=lambda: {})

    @property
    def bytes(self) -> int:
        """Of its tensors."""
        return size_bytes(self.piece) + size_bytes(self.logits)


class PrefixCache:
    """Chunks of prompts, in at most ``max_bytes`` of tensors.

    A chunk is found again only behind the same ids cut in the same places, so a row built from
    here has the bits of one that was read.

    Attributes:
        bytes: held now.
        read, reused: ids stored, and ids found instead of being read.
    """

    def __init__(self, chunk: int, max_bytes: int) -> None:
        self.chunk = chunk
        self.max_bytes = max_bytes
        self.bytes = 0
        self.read = 0
        self.reused = 0
        self._roots: dict[tuple[int, ...], _Chunk] = {}
        self._by_use: OrderedDict[_Chunk, None] = OrderedDict()  # the oldest first

    def clear(self) -> None:
        """Forget everything."""
        self._roots.clear()
        self._by_use.clear()
        self.bytes = 0

    def find(self, prompt: Sequence[int], empty: State) -> tuple[State, Tensor | None]:
        """The row as far as it is known, and its logits (1,V) where that is all of the prompt.

        Args:
            empty: a state with room for the row, used up.
        """
        path = self._path(prompt)
        if path and path[-1].logits is None and _length(path) == len(prompt):
            path.pop()
        if not path:
            return empty, None
        self._use(path[-1])
        self.reused += _length(path)
        logits = path[-1].logits if _length(path) == len(prompt) else None
        return rebuild(empty, [c.piece for c in path]), None if logits is None else logits.clone()

    def add(self, prompt: Sequence[int], state: State, logits: Tensor | None) -> None:
        """Remember the chunk that was just read: the state's last ids of the prompt."""
        start = (state.length - 1) // self.chunk * self.chunk
        self.read += state.length - start
        path = self._path(prompt[:start])
        if _length(path) != start:  # what was before has been forgotten
            return
        parent = path[-1] if path else None
        siblings = self._roots if parent is None else parent.children
        ids = tuple(prompt[start : state.length])
        if ids in siblings:
            self._forget_size(siblings[ids])
            siblings[ids].logits = siblings[ids].logits if logits is None else logits.clone()
        else:
            kept = None if logits is None else logits.clone()
            siblings[ids] = _Chunk(parent, ids, piece(state, start), kept)
        self.bytes += siblings[ids].bytes
        self._use(siblings[ids])
        while self.bytes > self.max_bytes:
            self._drop_oldest()

    def _path(self, prompt: Sequence[int]) -> list[_Chunk]:
        """The known chunks the prompt begins with."""
        found: list[_Chunk] = []
        level = self._roots
        for start in range(0, len(prompt), self.chunk):
            chunk = level.get(tuple(prompt[start : start + self.chunk]))
            if chunk is None:
                break
            found.append(chunk)
            level = chunk.children
        return found

    def _use(self, chunk: _Chunk) -> None:
        """Its parents are used after it, so the oldest of all never has children."""
        at: _Chunk | None = chunk
        while at is not None:
            self._by_use[at] = None
            self._by_use.move_to_end(at)
            at = at.parent

    def _drop_oldest(self) -> None:
        chunk, _ = self._by_use.popitem(last=False)
        siblings = self._roots if chunk.parent is None else chunk.parent.children
        del siblings[chunk.ids]
        self._forget_size(chunk)

    def _forget_size(self, chunk: _Chunk) -> None:
        self.bytes -= chunk.bytes


def _length(path: Sequence[_Chunk]) -> int:
    return path[-1].piece.length if path else 0
