"""Which token comes next: pure functions from logits (B,V) to ids (B,), and their settings.

The rules and their order (repetition penalty, temperature, top-k, top-p, min-p) are those of
transformers' ``generate``; each function names the paper it comes from.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from yaongi.core.config import Config
from yaongi.core.seeds import Seed

NEVER = float("-inf")
SHORTLIST = 256  # ids; what the filters leave of a trained model's choice is nearly always fewer
BLOCK = 128  # ids of a block of ``draw``
ALMOST_ONE = 1 - 2**-50
COLDEST = 1e-5  # below it logits divided by the temperature leave float32


class Sampling(Config):
    """How the next token is chosen. The defaults are greedy: always the most likely token."""

    temperature: float = Field(default=0.0, ge=0)
    top_k: int = Field(default=0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    min_p: float = Field(default=0.0, ge=0, le=1)
    repetition_penalty: float = Field(default=1.0, gt=0)
    seed: int = 0


def choose(
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
    if rules.temperature < COLDEST:
        return likeliest(logits)
    logits = apply_temperature(logits, rules.temperature)
    u = torch.tensor(points, dtype=torch.float64, device=logits.device)[:, None]
    if rules.top_k == 0 and rules.top_p == 1 and rules.min_p == 0:
        return draw(logits, u)
    values, ids, whole = shortlist(logits, rules)
    chosen = ids.gather(1, draw(values, u)[:, None])[:, 0]
    if not whole.all():
        chosen[~whole] = draw(filtered(logits[~whole], rules), u[~whole])
    return chosen


def likeliest(logits: Tensor) -> Tensor:
    """The first of the largest of each row of (B,V) float32: (B,) ids."""
    if logits.device.type != "cpu":
        return logits.argmax(-1)
    return torch.from_numpy(
        logits.detach().numpy().argmax(-1)
    )  # sixteen times as fast as PyTorch's


def filtered(logits: Tensor, rules: Sampling) -> Tensor:
    """(B,V) with ``-inf`` at the ids the rules leave out."""
    return keep_min_p(keep_top_p(keep_top_k(logits, rules.top_k), rules.top_p), rules.min_p)


def shortlist(logits: Tensor, rules: Sampling) -> tuple[Tensor, Tensor, Tensor]:
    """``filtered`` of the likeliest ids alone: sorting a whole vocabulary takes milliseconds.

    Returns: (B,C) logits and their ids, which rise; and (B,) whether no id beyond them stays.
    """
    values, ids = logits.topk(min(rules.top_k or SHORTLIST, logits.shape[-1]))
    if rules.top_k:
        whole = (logits >= values[:, -1:]).sum(-1) == values.shape[-1]  # no ties beyond
        probs = values.softmax(-1)
    else:
        probs = (values - logits.logsumexp(-1, keepdim=True)).exp()
        whole = probs[:, -1] < rules.min_p * probs[:, 0]
    before = probs.cumsum(-1) - probs
    if rules.top_k == 0:
        whole = whole | (before[:, -1] >= rules.top_p)
    beyond = (before >= rules.top_p) & (before > 0)  # p may be 0 in float32
    out = beyond & (rules.top_p < 1) | (probs < rules.min_p * probs[:, :1])
    order = ids.argsort(-1)
    return values.masked_fill(out, NEVER).gather(1, order), ids.gather(1, order), whole


def uniform(seed: int, step: int) -> float:
    """The number in [0,1) that decides token ``step`` of a generation with ``seed``."""
    return (Seed(seed).split("sample", step).int63 >> 10) / 2**53


def draw(logits: Tensor, u: float | Tensor) -> Tensor:
    """Sample by inverting the cumulative distribution at ``u``; ids of ``-inf`` never come.

    One number per token makes a draw a pure function of (logits, seed, step). Sums are in
    float64, of blocks first and then inside the block that was hit.
    Args: logits (B,V), u in [0,1), one or (B,1). Returns: (B,) ids.
    Source: Devroye 1986, "Non-Uniform Random Variate Generation", section III.2.
    """
    weights = (logits - logits.amax(-1, keepdim=True)).exp()
    blocks = F.pad(weights, (0, -weights.shape[-1] % BLOCK)).unflatten(-1, (-1, BLOCK))
    ends = blocks.sum(-1, dtype=torch.float64).cumsum(-1)
    # products with u < 1 may round up to the total, where no id is left
    point = (u * ends[:, -1:]).minimum(ends[:, -1:] * ALMOST_ONE)
    block = torch.searchsorted(ends, point, right=True)
    inside = blocks.gather(1, block[..., None].expand(-1, -1, BLOCK))[:, 0].double().cumsum(-1)
    start = F.pad(ends, (1, 0)).gather(1, block)
    at = torch.searchsorted(
        inside, (point - start).minimum(inside[:, -1:] * ALMOST_ONE), right=True
    )
    return (block * BLOCK + at)[:, 0]


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
    out = (before >= p) & (before > 0)  # p may be 0 in float32
    return logits.masked_fill(out.scatter(-1, ids, out), NEVER)


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
