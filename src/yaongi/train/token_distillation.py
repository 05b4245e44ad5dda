"""Token distillation: new rows that let the model understand what it understood before.

Dobler et al. 2025 (arXiv:2505.20133): a text is read twice, by the old model in old tokens and by
the grown one in new tokens, and only the new rows learn, until the hidden states agree wherever
tokens end together. Predicting the next token is asked for as well: the rows of the unembedding,
or the one tied row for both, have to be said too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from yaongi.core.config import Config
from yaongi.core.errors import DataError, NumericsError
from yaongi.core.seeds import Seed
from yaongi.model.extend import Extension
from yaongi.model.lm import LM
from yaongi.text.aligned import Aligned


class DistillConfig(Config):
    """Settings of token distillation.

    Attributes:
        lr: of Adam, falling to zero.
        next_token: weight of predicting the next token beside agreeing (mean squared error).
    """

    steps: int = Field(default=300, ge=1)
    rows: int = Field(default=8, ge=1)
    lr: float = Field(default=1e-3, gt=0)
    next_token: float = Field(default=1.0, ge=0)


def distill_rows(
    grown: LM,
    original: LM,
    extension: Extension,
    texts: Sequence[Aligned],
    cfg: DistillConfig,
    seed: int = 0,
) -> list[float]:
    """Teach the new rows of ``grown``, in place; every other weight stays bit for bit.

    Args:
        grown: ``model.extend.grow(original, extension, ...)``; its rows are where learning begins.
        texts: from ``text.aligned``.
    Returns: the loss of each step.
    Raises:
        DataError: none of the texts has a new token.
        NumericsError: the loss is not finite.
    """
    texts = [text for text in texts if (text.after >= extension.old_size).any()]
    if not texts:
        raise DataError("None of the texts has a new token, so there is nothing to distil from.")
    tables = {name: p.detach() for name, p in grown.named_parameters() if name in _TABLES}
    new = extension.new_rows
    leaves = [p[new].float().requires_grad_() for p in tables.values()]
    optimizer = torch.optim.Adam(leaves, lr=cfg.lr)
    losses: list[float] = []
    for step, batch in enumerate(_batches(texts, cfg, Seed(seed).split("distill"))):
        whole = {
            name: torch.cat([p[: new.start], rows.to(p.dtype), p[new.stop :]])
            for rows, (name, p) in zip(leaves, tables.items(), strict=True)
        }
        loss = _loss(grown, original, whole, batch, cfg)
        if not torch.isfinite(loss):
            raise NumericsError("The loss of token distillation is not finite.")
        optimizer.param_groups[0]["lr"] = cfg.lr * (1 - step / cfg.steps)
        for rows, gradient in zip(leaves, torch.autograd.grad(loss, leaves), strict=True):
            rows.grad = gradient
        optimizer.step()
        losses.append(loss.item())
    with torch.no_grad():
        for rows, p in zip(leaves, tables.values(), strict=True):
            p[new] = rows.to(p.dtype)
    return losses


_TABLES = ("embeddings.weight", "lm_head.weight")


def _loss(
    grown: LM, original: LM, tables: dict[str, Tensor], batch: list[Aligned], cfg: DistillConfig
) -> Tensor:
    device = grown.device
    before, after, ends = (_padded([t[i] for t in batch], device) for i in range(3))
    lengths = torch.tensor([len(text.after) for text in batch], device=device)
    there = torch.arange(after.shape[1], device=device) < lengths[:, None]
    with torch.no_grad():
        wanted = original(before).hidden
    wanted = wanted.gather(1, ends[..., None].expand(-1, -1, wanted.shape[-1]))[there]
    hidden = functional_call(grown, tables, (after,)).hidden
    loss = F.mse_loss(hidden[there], wanted)
    head = tables[_TABLES[0] if grown.lm_head is None else _TABLES[1]][: grown.cfg.used_ids]
    followed = there[:, 1:]
    logits = F.linear(hidden[:, :-1][followed], head)
    return loss + cfg.next_token * F.cross_entropy(logits, after[:, 1:][followed])


def _padded(rows: Sequence[np.ndarray], device: torch.device) -> Tensor:
    """(B,T), zeros behind the shorter rows: nothing looks ahead."""
    found = np.zeros((len(rows), max(map(len, rows))), np.int64)
    for i, row in enumerate(rows):
        found[i, : len(row)] = row
    return torch.from_numpy(found).to(device)


def _batches(texts: Sequence[Aligned], cfg: DistillConfig, seed: Seed) -> Iterator[list[Aligned]]:
    """``cfg.steps`` batches, shuffled anew for each pass."""
    generator = seed.numpy()
    order: list[int] = []
    for _ in range(cfg.steps):
        while len(order) < cfg.rows:
            order += generator.permutation(len(texts)).tolist()
        yield [texts[i] for i in order[: cfg.rows]]
        del order[: cfg.rows]
