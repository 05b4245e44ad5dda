"""Shares of domains, and the order of rows that keeps them at every moment.

A mix is what the batches contain: row by row, each domain is never more than one row away from
its share (Tijdeman's chairman assignment problem, 1980; solved by earliest deadline first). The
order repeats after a short cycle, so the domain of any row is a table look-up.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping
from fractions import Fraction

import numpy as np

from yaongi.core.errors import DataError, did_you_mean, nearest

DEFAULT_MIX = {"ko": 0.40, "en": 0.20, "code": 0.25, "math": 0.15}
"""Shares by tokens."""

_FINEST = 10_000  # shares are kept to one part in so many, the longest cycle


def check_mix(
    mix: Mapping[str, float], available: Iterable[str], *, where: object = "the corpus"
) -> None:
    """Check a mix before anything is trained on it.

    Raises:
        DataError: naming a domain without data and what there is, or a share that is no share.
    """
    there = sorted(available)
    for domain, share in mix.items():
        if not (math.isfinite(share) and share >= 0):
            raise DataError(
                "The share of '{domain}' in the mix is {share}; it must be a number >= 0.",
                domain=domain,
                share=share,
            )
        if share > 0 and domain not in there:
            raise DataError(
                "The mix asks for the domain '{domain}', but there is no data of it in {where}. "
                "There is: {there}. {help}",
                domain=domain,
                where=where,
                there=", ".join(there) or "nothing",
                help=did_you_mean(domain, there) if nearest(domain, there) else "",
            )
    if not mix or not any(share > 0 for share in mix.values()):
        raise DataError("The mix asks for nothing: {mix}.", mix=dict(mix))


class Schedule:
    """Which domain each row is of.

    Args:
        shares: domain -> share, in any unit; brought to sum 1. Zero shares are left out.
    """

    def __init__(self, shares: Mapping[str, float]) -> None:
        self.domains = tuple(sorted(d for d, share in shares.items() if share > 0))
        counts = _whole_rows([shares[d] for d in self.domains])
        self.cycle = _earliest_deadline_first(counts)
        self.per_cycle = np.asarray(counts, dtype=np.int64)
        one_hot = self.cycle[:, None] == np.arange(len(self.domains))
        self._before = np.concatenate(
            [np.zeros((1, len(self.domains)), np.int64), np.cumsum(one_hot, axis=0)]
        )

    @property
    def shares(self) -> dict[str, float]:
        """The shares kept, summing to 1."""
        total = len(self.cycle)
        return {d: int(n) / total for d, n in zip(self.domains, self.per_cycle, strict=True)}

    def counts(self, rows: int) -> np.ndarray:
        """(n_domains,) int64: how many of the first ``rows`` rows are of each domain."""
        cycles, rest = divmod(rows, len(self.cycle))
        return cycles * self.per_cycle + self._before[rest]

    def place(self, row: int) -> tuple[int, int]:
        """(domain number, which row of that domain) of ``row``."""
        domain = int(self.cycle[row % len(self.cycle)])
        return domain, int(self.counts(row)[domain])


def _whole_rows(shares: list[float]) -> tuple[int, ...]:
    """Rows of each domain in the shortest cycle that has these shares."""
    exact = [Fraction(str(share)) for share in shares]
    exact = [share / sum(exact) for share in exact]
    cycle = math.lcm(*(share.denominator for share in exact))
    if cycle > _FINEST:  # largest remainder
        cycle = _FINEST
        rows = [max(1, int(share * cycle)) for share in exact]
        by_rest = sorted(range(len(rows)), key=lambda i: rows[i] - exact[i] * cycle)
        for i in by_rest[: max(0, cycle - sum(rows))]:
            rows[i] += 1
        return tuple(rows)
    return tuple(int(share * cycle) for share in exact)


@functools.lru_cache(maxsize=8)
def _earliest_deadline_first(counts: tuple[int, ...]) -> np.ndarray:
    """A cycle in which every prefix is within one row of every domain's share.

    The j-th row of a domain with share s may stand at place k (from 1) when k > (j-1)/s and must
    not stand later than ceil(j/s): outside, the domain is a whole row ahead or behind. Such an
    order always exists (Tijdeman 1980), and serving the earliest deadline finds it.
    """
    cycle = sum(counts)
    done = [0] * len(counts)
    order = np.empty(cycle, dtype=np.int64)
    for k in range(1, cycle + 1):
        ready = [i for i, n in enumerate(counts) if done[i] < n and k * n > done[i] * cycle]
        chosen = min(ready, key=lambda i: (-(-(done[i] + 1) * cycle // counts[i]), i))
        order[k - 1] = chosen
        done[chosen] += 1
    return order
