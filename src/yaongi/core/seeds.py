"""Randomness with names: one run seed splits into independent streams by name.

``Seed(0).split("data", 3)`` is the same number on every machine and does not change when another
part of the program draws more numbers. Idea: JAX's splittable keys, with SHA-256 as the mixer.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass

import numpy as np


def _plain(name: str | int) -> str | int:
    """numpy's integers name the same stream as Python's."""
    return str(name) if isinstance(name, str) else int(name)


@dataclass(frozen=True)
class Seed:
    """A node in the tree of seeds."""

    root: int
    path: tuple[str | int, ...] = ()

    def split(self, *names: str | int) -> Seed:
        """The child stream called ``names``."""
        return Seed(self.root, self.path + tuple(_plain(n) for n in names))

    @property
    def int63(self) -> int:
        """This stream as a non-negative 63-bit integer, e.g. for ``torch.Generator``."""
        text = "\x1f".join([str(self.root), *(f"{type(p).__name__}:{p}" for p in self.path)])
        data = text.encode("utf-8", "surrogatepass")  # file names on disk may be no Unicode
        return int.from_bytes(hashlib.sha256(data).digest()[:8], "big") >> 1

    def numpy(self) -> np.random.Generator:
        """A counter-based numpy generator (Philox: stable across platforms)."""
        return np.random.Generator(np.random.Philox(self.int63))

    def python(self) -> random.Random:
        """A standard-library generator."""
        return random.Random(self.int63)
