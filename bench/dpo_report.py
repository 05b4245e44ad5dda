"""From log-probabilities of held-out pairs to accuracies, margins and their intervals.

Intervals are 95 % of 4,000 bootstrap draws that take seeds and pairs anew, both with replacement;
differences between two arms are taken pair by pair and seed by seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from yaongi.core.intervals import wilson

DRAWS = 4000
Runs = Sequence[Mapping[str, Any]]


def summary(
    start: Mapping[str, Any],
    runs: Mapping[str, Runs],
    lengths: Mapping[str, Sequence[Sequence[int]]],
    beta: float,
) -> dict[str, Any]:
    """By domain and for both together: what each arm prefers, and how they differ."""
    parts = {**{d: [d] for d in lengths}, "all": list(lengths)}
    return {
        name: {
            **_domain(start, runs, lengths, domains, beta),
            "reward_model": _reward(runs["reward"], domains),
        }
        for name, domains in parts.items()
    } | {"bpb": _bpb(start, runs)}


def _domain(
    start: Mapping[str, Any],
    runs: Mapping[str, Runs],
    lengths: Mapping[str, Sequence[Sequence[int]]],
    domains: Sequence[str],
    beta: float,
) -> dict[str, Any]:
    def table(run: Mapping[str, Any]) -> np.ndarray:
        return np.concatenate([np.asarray(run["log_probs"][d]) for d in domains])

    tokens = np.concatenate([np.asarray(lengths[d]) for d in domains])
    ref = table(start)
    found: dict[str, Any] = {
        "pairs": len(tokens),
        "longer_is_chosen": _half_for_equal(tokens),
        "start": {"likelier_per_token": _share(_side(ref / tokens))},
    }
    measured: dict[str, dict[str, np.ndarray]] = {}
    for arm in ("dpo", "control"):
        tables = np.stack([table(run) for run in runs[arm]])
        margin = (tables - ref)[..., 0] - (tables - ref)[..., 1]
        measured[arm] = {
            "accuracy": (margin > 0).astype(float),
            "margin_nats": margin,
            "margin_per_token": (per_token := (tables - ref) / tokens @ [1.0, -1.0]),
            "accuracy_per_token": (per_token > 0).astype(float),
            "loss": np.logaddexp(0, -beta * margin),
            "likelier_per_token": _side(tables / tokens).astype(float),
            "chosen_nats_per_token": -(tables / tokens)[..., 0],
        }
        found[arm] = {name: _with_interval(values) for name, values in measured[arm].items()}
    found["dpo_minus_control"] = {
        name: _with_interval(values - measured["control"][name])
        for name, values in measured["dpo"].items()
    }
    return found


def _side(values: np.ndarray) -> np.ndarray:
    """Whether the chosen answer has more: (..., 2) -> (...)."""
    return values[..., 0] > values[..., 1]


def _half_for_equal(tokens: np.ndarray) -> float:
    """How often always taking the longer answer is right, equal lengths (both cut) by a coin."""
    return float((_side(tokens) + 0.5 * (tokens[:, 0] == tokens[:, 1])).mean())


def _share(right: np.ndarray) -> dict[str, float]:
    low, high = wilson(int(right.sum()), len(right))
    return {"mean": float(right.mean()), "low": low, "high": high}


def _with_interval(values: np.ndarray) -> dict[str, float]:
    """The mean of (seeds, pairs) with its interval."""
    draw = np.random.default_rng(0)
    seeds, pairs = values.shape
    means = [
        values[draw.integers(seeds, size=seeds)][:, draw.integers(pairs, size=pairs)].mean()
        for _ in range(DRAWS)
    ]
    low, high = np.quantile(means, [0.025, 0.975])
    return {"mean": float(values.mean()), "low": float(low), "high": float(high)}


def _reward(runs: Runs, domains: Sequence[str]) -> dict[str, Any]:
    """Accuracy over the pairs of all seeds; the interval counts every pair once."""
    right, pairs = [], 0
    for run in runs:
        found = [run["reward"][d] for d in domains]
        pairs = int(sum(one["pairs"] for one in found))
        right.append(sum(one["accuracy"] * one["pairs"] for one in found) / pairs)
    low, high = wilson(round(float(np.mean(right)) * pairs), pairs)
    return {"accuracy": float(np.mean(right)), "low": low, "high": high, "by_seed": right}


def _bpb(start: Mapping[str, Any], runs: Mapping[str, Runs]) -> dict[str, Any]:
    """Held-out text before and after."""
    after = {
        arm: {k: float(np.mean([run["bpb"][k] for run in runs[arm]])) for k in start["bpb"]}
        for arm in ("dpo", "control")
    }
    return {"start": start["bpb"], **after}
