"""Which token comes next: pure functions from logits (B,V) to ids (B,), and their settings.

The rules and their order (repetition penalty, temperature, top-k, top-p, min-p) are those of
transformers' ``generate``; each function names the paper it comes from.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor

from yaongi.core.config import Config
from yaongi.core.seeds import Seed

NEVER = float("-inf")


class Sampling(Config):
    """How the next token is chosen. The defaults are greedy: always the most likely token."""

    temperature: float = Field(default=0.0, ge=0)
    top_k: int = Field(default=0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    min_p: float = Field(default=0.0, ge=0, le=1)
    repetition_penalty: float = Field(default=1.0, gt=0)
    seed: int = 0


def choose(
    logits: Tensor, rules: Sampling, *, step: int, seen: Sequence[Sequence[int]] = ()
) -> Tensor:
    """The next id of every row.

    Args:
        logits: (B,V) or (V,); ids that must not come are ``-inf``.
        step: how many tokens were chosen before. With ``rules.seed`` it decides the random
            number, so a row's choice depends neither on its neighbours nor on what was drawn
            elsewhere.
        seen: per row, the ids the repetition penalty applies to.
    Returns: (B,) int64, or () for logits (V,).
    """
    if logits.dim() == 1:
        return choose(logits[None], rules, step=step, seen=seen)[0]
    return pick(logits, rules, [uniform(rules.seed, step)] * len(logits), seen)


def pick(
    logits: Tensor, rules: Sampling, points: Sequence[float], seen: Sequence[Sequence[int]] = ()
) -> Tensor:
    """The next id of every row; a row's choice depends on nothing but its own arguments.

    Args:
        logits: (B,V); ids that must not come are ``-inf``.
        rules: of all rows; its seed is not looked at.
        points: per row, the number in [0,1) that decides; see ``uniform``.
        seen: per row, the ids the repetition penalty applies to.
    Returns: (B,) int64.
    """
    logits = logits.float()
    if rules.repetition_penalty != 1:
        rows = [
            penalise_repetition(x, s, rules.repetition_penalty)
            for x, s in zip(logits, seen, strict=True)
        ]
        logits = torch.stack(rows)
    if rules.temperature == 0:
        return logits.argmax(-1)
    logits = apply_temperature(logits, rules.temperature)
    logits = keep_min_p(keep_top_p(keep_top_k(logits, rules.top_k), rules.top_p), rules.min_p)
    return draw(logits, torch.tensor(points, dtype=torch.float64, device=logits.device)[:, None])


def uniform(seed: int, step: int) -> float:
    """The number in [0,1) that decides token ``step`` of a generation with ``seed``."""
    return (Seed(seed).split("sample", step).int63 >> 10) / 2**53


def draw(logits: Tensor, u: float | Tensor) -> Tensor:
    """Sample by inverting the cumulative distribution at ``u``, in float64.

    One number per token makes a draw a pure function of (logits, seed, step).
    Args: logits (B,V), u in [0,1), one or (B,1). Returns: (B,) ids.
    Source: Devroye 1986, "Non-Uniform Random Variate Generation", section III.2.
    """
    cumulative = logits.double().softmax(-1).cumsum(-1)
    point = u * cumulative[:, -1:]  # the last entry is 1 up to rounding
    return torch.searchsorted(cumulative, point, right=True).squeeze(-1)


def apply_temperature(logits: Tensor, temperature: float) -> Tensor:
    """Divide by ``temperature`` > 0: below 1 sharpens, above 1 flattens.

    Source: Ackley, Hinton & Sejnowski 1985, "A Learning Algorithm for Boltzmann Machines".
    """
    return logits / temperature


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """Keep the ``k`` most likely ids of (...,V); ties with the k-th stay; 0 keeps all.

    Source: Fan, Lewis & Dauphin 2018, arXiv:1805.04833, section 5.4.
    """
    if k == 0 or k >= logits.shape[-1]:
        return logits
    kth = logits.topk(k, dim=-1).values[..., -1:]
    return logits.masked_fill(logits < kth, NEVER)


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """Keep the smallest set of ids of (...,V) whose probabilities reach ``p``; 1 keeps all.

    Source: Holtzman et al. 2020, arXiv:1904.09751, section 3.1 (nucleus sampling).
    """
    if p >= 1:
        return logits
    ordered, ids = logits.sort(dim=-1, descending=True, stable=True)
    probs = ordered.softmax(-1)
    before = probs.cumsum(-1) - probs  # mass above an id; the first is always kept
    return logits.masked_fill((before >= p).scatter(-1, ids, before >= p), NEVER)


def keep_min_p(logits: Tensor, share: float) -> Tensor:
    """Keep ids of (...,V) at least ``share`` as likely as the likeliest; 0 keeps all.

    Source: Nguyen et al. 2024, arXiv:2407.01082, section 3.
    """
    if share == 0:
        return logits
    probs = logits.softmax(-1)
    return logits.masked_fill(probs < share * probs.amax(-1, keepdim=True), NEVER)


def penalise_repetition(logits: Tensor, seen: Sequence[int], penalty: float) -> Tensor:
    """Divide positive and multiply negative logits (V,) of the ids in ``seen`` by ``penalty``.

    Source: Keskar et al. 2019, arXiv:1909.05858, section 4.1, with transformers' sign rule.
    """
    if penalty == 1 or not seen:
        return logits
    ids = torch.tensor(sorted(set(seen)), device=logits.device)
    chosen = logits[ids]
    return logits.index_copy(0, ids, torch.where(chosen > 0, chosen / penalty, chosen * penalty))
