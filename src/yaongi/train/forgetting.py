"""The forgetting controller: what a model forgets while it learns something new is replayed more.

Replay keeps what was learnt before (Ibrahim et al. 2024, arXiv:2403.08763, section 6.2), but how
much is needed depends on how far the new text is from the old, and every token replayed is one less
to learn from. So the shares follow what is measured: held-out bits per byte of each replayed
domain, against those before the first step.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field, model_validator

from yaongi.core.config import Config
from yaongi.core.errors import ConfigError
from yaongi.data.batches import MixedBatches
from yaongi.train.loop import Step

log = logging.getLogger(__name__)

PROBE = "val_bpb/"
"""How the evaluations of a domain are named, as ``evals`` does."""


class Forgetting(Config):
    """When a domain counts as forgotten, and what is done about it.

    Attributes:
        tolerance: how much worse than before the first step is still well, relative.
        recovered: below this the share falls back towards the one asked for. Between the two
            nothing changes, so that a share does not swing.
        factor: what multiplies the share of a domain that is worse, and divides one recovered.
        most: share of all replayed domains together that is never exceeded.
    """

    tolerance: Annotated[float, Field(gt=0)] = 0.01
    recovered: float = 0.005
    factor: Annotated[float, Field(gt=1)] = 1.5
    most: Annotated[float, Field(gt=0, lt=1)] = 0.75

    @model_validator(mode="after")
    def _hysteresis(self) -> Forgetting:
        if self.recovered >= self.tolerance:
            raise ConfigError(
                "recovered ({recovered:g}) must be less than tolerance ({tolerance:g})",
                recovered=self.recovered,
                tolerance=self.tolerance,
            )
        return self


def next_shares(
    shares: Mapping[str, float],
    asked: Mapping[str, float],
    worse: Mapping[str, float],
    rule: Forgetting,
) -> dict[str, float]:
    """The shares after an evaluation: the whole rule.

    Args:
        shares: of every domain now, summing to 1.
        asked: what they were at first; a replayed domain never gets less.
        worse: replayed domain -> its bits per byte over those before the first step, less 1.
    Returns: shares summing to 1. The replayed domains' come first: each times ``factor`` where it
        is worse than ``tolerance``, divided by it where it has recovered. Together they stay
        below ``most``, for which what they have above the shares asked for is cut in proportion.
        The others divide the rest as they did at first.
    """
    wanted = {d: _wanted(shares[d], asked[d], change, rule) for d, change in worse.items()}
    replay = sum(asked[d] for d in worse)
    raised = sum(wanted.values()) - replay
    if raised > (room := rule.most - replay):
        wanted = {d: asked[d] + (share - asked[d]) * room / raised for d, share in wanted.items()}
    rest = (1 - sum(wanted.values())) / (1 - replay)
    return {d: round(wanted[d] if d in wanted else asked[d] * rest, 4) for d in asked}


def _wanted(share: float, asked: float, worse: float, rule: Forgetting) -> float:
    if worse > rule.tolerance:
        return share * rule.factor
    return max(asked, share / rule.factor) if worse < rule.recovered else share


class Controller:
    """Follows a run's evaluations and sets the shares of its batches; a ``train.run.Watch``.

    Everything it decides is a function of the evaluations, and its state is part of every
    checkpoint, so a resumed run sees the same rows as one nobody stopped.

    Args:
        mix: domain -> share; brought to sum 1.
        replay: which of them the model knows already.
        rule: None only watches.
    Raises:
        ConfigError: a replayed domain has no share, none is left to learn, or the shares asked
            for are more than ``rule.most``.
    """

    def __init__(
        self,
        batches: MixedBatches,
        mix: Mapping[str, float],
        replay: Sequence[str],
        rule: Forgetting | None,
    ) -> None:
        check_replay(mix, replay, rule)
        total = sum(mix.values())
        self.batches, self.rule, self.replay = batches, rule, tuple(replay)
        self.asked = {d: share / total for d, share in mix.items() if share > 0}
        self.shares = self.asked
        self.baseline: dict[str, float] = {}
        self.decisions: list[dict[str, Any]] = []

    def begin(self, probed: Mapping[str, float]) -> dict[str, Any]:
        """Take the values before the first step as what must not get worse."""
        self.baseline = dict(probed)
        missing = [d for d in self.replay if PROBE + d not in probed]
        if self.rule is not None and missing:
            raise ConfigError(
                "Nothing measures how well the model knows '{domain}': the controller needs its "
                "held-out bits per byte.",
                domain=missing[0],
            )
        return self._told({})

    def observe(self, step: Step, probed: Mapping[str, float]) -> dict[str, Any]:
        """Compare with the start, and change the shares of the steps to come where needed.

        Returns: what to log: ``share/DOMAIN`` from here on, ``worse/DOMAIN`` relative to the
            start, and ``decision`` with the shares' changes when there are any.
        """
        worse = {
            d: probed[PROBE + d] / self.baseline[PROBE + d] - 1
            for d in self.replay
            if PROBE + d in probed
        }
        if self.rule is None or step.last:
            return self._told(worse)
        shares = next_shares(self.shares, self.asked, worse, self.rule)
        if all(abs(shares[d] - self.shares[d]) < _SAME for d in worse):
            return self._told(worse)
        before, self.shares = self.shares, shares
        changes = {d: [round(before[d], 4), shares[d]] for d in worse if shares[d] != before[d]}
        self.decisions.append({"step": step.index, "shares": shares, "worse": worse})
        self.batches.change(step.index, shares)
        for d, (old, new) in changes.items():
            log.info(
                "%s is %+.1f %%: its share goes from %.3f to %.3f", d, 100 * worse[d], old, new
            )
        return {**self._told(worse), "decision": changes}

    def _told(self, worse: Mapping[str, float]) -> dict[str, Any]:
        told = {f"share/{d}": share for d, share in self.shares.items()}
        return told | {f"worse/{d}": round(change, 6) for d, change in worse.items()}

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, as JSON."""
        return {"baseline": self.baseline, "decisions": self.decisions}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state`` with batches that know of no change yet."""
        self.baseline, self.decisions = dict(state["baseline"]), list(state["decisions"])
        for decision in self.decisions:
            self.shares = decision["shares"]
            self.batches.change(decision["step"], self.shares)


_SAME = 5e-4
"""Shares closer than this are one: rounding is no decision."""


def check_replay(
    mix: Mapping[str, float], replay: Sequence[str], rule: Forgetting | None = None
) -> None:
    """Check which domains are replayed before anything is trained; see ``Controller``."""
    shares = {d: share / sum(mix.values()) for d, share in mix.items() if share > 0}
    for domain in replay:
        if domain not in shares:
            raise ConfigError(
                "replay names '{domain}', which has no share in the mix ({mix}): give it one.",
                domain=domain,
                mix=", ".join(shares),
            )
    asked = sum(shares[d] for d in replay)
    if len(set(replay)) == len(shares):
        raise ConfigError(
            "Every domain of the mix is replayed, so there is nothing to learn: leave out of "
            "replay what is new."
        )
    if rule is not None and asked > rule.most:
        raise ConfigError(
            "The replayed domains have {asked:.2f} of the mix, more than forgetting.most "
            "({most:g}) allows them.",
            asked=asked,
            most=rule.most,
        )
