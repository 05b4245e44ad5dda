"""Numbers scattered over 64 bits, the same ones on every machine, without a loop in Python."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

Hashes = np.ndarray[Any, np.dtype[np.uint64]]

ODD = 0x9E3779B97F4A7C15
"""2^64 / golden ratio; odd, so that it has an inverse modulo 2^64."""


def mix(x: Hashes) -> Hashes:
    """The finalizer of splitmix64 (Steele, Lea & Flood 2014): every bit depends on every bit."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def scatter(x: np.ndarray) -> Hashes:
    """splitmix64: neighbouring numbers become unrelated ones, and 0 is no longer 0."""
    return mix(x + np.uint64(ODD))


class Sums:
    """Hashes of any stretches of a sequence, each by one subtraction (Karp & Rabin 1987).

    The hash of a stretch is the sum of x_j B^j over it, divided by B^start, modulo 2^64.

    Args:
        hashes: (n,) uint64 x_j; scattered, where they are small or regular numbers.
    """

    def __init__(self, hashes: Hashes) -> None:
        terms = hashes * _powers(ODD, len(hashes))
        self.sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(terms)])

    def __call__(self, start: Any, end: Any) -> Hashes:
        """Of the stretches from ``start`` to ``end``, numbers or arrays."""
        if len(self.sums) == 1:
            return np.zeros(np.shape(start), np.uint64)
        return (self.sums[end] - self.sums[start]) * _powers(_INVERSE, len(self.sums))[start]


_INVERSE = pow(ODD, -1, 2**64)


def _powers(base: int, n: int) -> Hashes:
    """(n,) of the exponents 0, 1, 2, ..."""
    return _powers_of_size(base, 1 << max(10, n.bit_length()))[:n]


@lru_cache(maxsize=8)
def _powers_of_size(base: int, n: int) -> Hashes:
    powers = np.full(n, base, np.uint64)
    powers[0] = 1
    return np.cumprod(powers)
