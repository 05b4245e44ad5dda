"""Shares of domains, and the order of rows that keeps them at every moment.

A mix is what the batches contain: row by row, each domain is never more than one row away from
its share (Tijdeman's chairman assignment problem, 1980; solved by earliest deadline first). The
order repeats after a short cycle, so the domain of any row is a table look-up.
"""

from __future__ import annotations

import functools
import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from yaongi.core.errors import DataError, did_you_mean, nearest
from yaongi.core.i18n import translate

DEFAULT_MIX = {"ko": 0.40, "en": 0.20, "code": 0.25, "math": 0.15}
"""Shares by tokens."""

_FINEST = 10_000  # shares are kept to one part in so many, the longest cycle


def check_mix(
    mix: Mapping[str, float], available: Iterable[str], *, where: object = "the corpus"
) -> None:
    """Check a mix before anything is trained on it.

    Raises:
        DataError: naming the domains without data and what there is, or a share that is no share.
    """
    there = sorted(available)
    for domain, share in mix.items():
        if not (math.isfinite(share) and share >= 0):
            raise DataError(
                "The share of '{domain}' in the mix is {share}; it must be a number >= 0.",
                domain=domain,
                share=share,
            )
    missing = [domain for domain, share in mix.items() if share > 0 and domain not in there]
    if missing:
        raise DataError(
            "The mix asks for domains of which there is no data in {where}: {domains}. "
            "There is: {there}. {help}",
            domains=", ".join(f"'{domain}'" for domain in missing),
            where=where,
            there=", ".join(there) or translate("nothing"),
            help=next((did_you_mean(d, there) for d in missing if nearest(d, there)), ""),
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


class ChangingSchedule:
    """A ``Schedule`` whose shares change at given rows, each domain going on where it stood.

    What stands at a row depends on the shares and the changes before it alone, not on when they
    were made known: a resumed run that knows of the same changes sees the same rows.

    Args:
        shares: of the rows before the first change. Only their domains can have a share later.
    """

    def __init__(self, shares: Mapping[str, float]) -> None:
        self.domains = Schedule(shares).domains
        self._parts: list[_Part] = []
        self.change(0, shares)

    def change(self, row: int, shares: Mapping[str, float]) -> None:
        """Other shares from ``row`` on, where the last change was or behind it.

        Raises:
            DataError: a share of a domain that had none at first.
            ValueError: ``row`` lies before a change already made.
        """
        if self._parts and row < self._parts[-1].start:
            raise ValueError(f"row {row} lies before the change at {self._parts[-1].start}")
        check_mix(shares, self.domains, where="the first mix")
        schedule = Schedule(shares)
        numbers = np.asarray([self.domains.index(domain) for domain in schedule.domains])
        before = self.counts(row)
        if self._parts and row == self._parts[-1].start:
            self._parts.pop()
        self._parts.append(_Part(row, schedule, numbers, before))

    def counts(self, rows: int) -> np.ndarray:
        """(n_domains,) int64: how many of the first ``rows`` rows are of each domain."""
        counts = np.zeros(len(self.domains), dtype=np.int64)
        if self._parts:
            part = self._part(rows)
            counts += part.before
            counts[part.numbers] += part.schedule.counts(rows - part.start)
        return counts

    def place(self, row: int) -> tuple[int, int]:
        """(domain number, which row of that domain) of ``row``."""
        part = self._part(row)
        number, k = part.schedule.place(row - part.start)
        domain = int(part.numbers[number])
        return domain, int(part.before[domain]) + k

    def _part(self, row: int) -> _Part:
        return self._parts[bisect_right(self._parts, row, key=lambda part: part.start) - 1]


class _Part(NamedTuple):
    """Rows from ``start`` on: their schedule, its domains' numbers, and the rows dealt before."""

    start: int
    schedule: Schedule
    numbers: np.ndarray
    before: np.ndarray


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
