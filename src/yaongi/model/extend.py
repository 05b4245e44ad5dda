"""A model with rows for new tokens: ``grow``, and how those rows may begin.

Old rows stay bit for bit what they were. A rule below makes the new rows of a matrix from its old
ones; the inits name the rule of the embedding and that of the unembedding. To add one, write a
rule and a line in ``INITS``. (Token distillation takes steps: ``train.token_distillation``.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from yaongi.core.errors import ConfigError, ShapeError, did_you_mean
from yaongi.core.seeds import Seed
from yaongi.model.engram import LARGEST
from yaongi.model.lm import LM
from yaongi.text.extension import Extension

__all__ = ["INITS", "Extension", "Init", "grow"]

Rule = Callable[[Tensor, Extension, Seed], Tensor]
"""(old rows (old_size,D) float32, extension, seed) -> the new rows (N,D)."""


def grow(model: LM, extension: Extension, *, init: str = "mean", seed: int = 0) -> LM:
    """A copy of ``model`` with ``extension.padded_size`` rows; ``model`` stays as it is.

    Rows below ``extension.old_size`` and all other weights are the same bits. Rows that no token
    has, before or now, become the mean of the old ones: such a row adds at most its share 1/V to
    the sum under a softmax (Hewitt 2021), and training leaves it out altogether.

    Args:
        init: one of ``INITS``.
        seed: for the inits that draw.
    Raises:
        ConfigError: an unknown init, or one that this model or this extension cannot have.
        ShapeError: the extension is of a larger vocabulary than the model's, or Engram's hash has
            no room for the new tokens.
    """
    _check(model, extension, init)
    cfg = model.cfg.model_copy(
        update={"vocab_size": extension.padded_size, "used_ids": extension.new_size}
    )
    tensors = {name: t.detach().clone() for name, t in model.state_dict().items()}
    streams = Seed(seed).split("extend")
    tables = {"embeddings.weight": INITS[init].embedding, "lm_head.weight": INITS[init].head}
    for name, rule in tables.items():
        if name in tensors:
            tensors[name] = _longer(tensors[name], rule, extension, streams.split(name))
    if model.ngram_ids is not None:
        numbers = _canonical(model, extension)
        tensors["ngram_ids.canonical"] = torch.tensor(numbers, device=model.device)
    with torch.device("meta"):
        grown = LM(cfg, kernels=model.kernel_choices)
    grown.load_state_dict(tensors, assign=True)
    for layer, engram in model.engrams().items():
        grown.engrams()[layer].table.on_host = engram.table.on_host
    return grown.to(model.device).train(model.training)


def random_rows(old: Tensor, extension: Extension, seed: Seed) -> Tensor:
    """Normal numbers with each column's mean and spread: what the others are measured against."""
    generator = torch.Generator().manual_seed(seed.int63)
    noise = torch.randn(len(extension.pieces), old.shape[1], generator=generator)
    return old.mean(0) + noise.to(old.device) * old.std(0)


def mean_of_pieces(old: Tensor, extension: Extension, seed: Seed) -> Tensor:
    """The mean of the old rows that the token was written with.

    Source: Kim et al. 2024 (EEVE), arXiv:2402.14714, section 3.2.
    """
    return torch.stack([old[list(pieces)].mean(0) for pieces in extension.pieces])


def first_piece(old: Tensor, extension: Extension, seed: Seed) -> Tensor:
    """The row of the first old token: where the model would have begun the word, it still does.

    Source: EEVE, as above, for the unembedding.
    """
    return old[[pieces[0] for pieces in extension.pieces]]


def similar_rows(old: Tensor, extension: Extension, seed: Seed) -> Tensor:
    """A mixture of the old tokens that are used alike.

    Source: Dobler & de Melo 2023 (FOCUS), arXiv:2305.14481; ``text.vectors`` has the weights.
    """
    if extension.similar is None:
        raise ConfigError("init: focus needs similar.safetensors, which this extension lacks.")
    similar = extension.similar
    ids = torch.as_tensor(similar.ids, device=old.device)
    weights = torch.as_tensor(similar.weights, device=old.device)
    rows = [w @ old[i] for i, w in zip(ids, weights.to(old.dtype), strict=True)]
    return torch.stack(rows)


class Init(NamedTuple):
    """How the new rows of the two matrices begin; of a tied one, ``embedding`` is the rule."""

    embedding: Rule
    head: Rule


INITS: Mapping[str, Init] = {
    "random": Init(random_rows, random_rows),
    "mean": Init(mean_of_pieces, mean_of_pieces),
    "eeve": Init(mean_of_pieces, first_piece),
    "focus": Init(similar_rows, similar_rows),
}


def _check(model: LM, extension: Extension, init: str) -> None:
    if init not in INITS:
        raise ConfigError(
            "'{name}' is not a known init. {help}", name=init, help=did_you_mean(init, INITS)
        )
    if model.cfg.tied and INITS[init].embedding is not INITS[init].head:
        raise ConfigError(
            "init: {name} begins embedding and unembedding differently, but this model has one "
            "matrix for both (tied). Take mean.",
            name=init,
        )
    if model.cfg.vocab_size < extension.old_size:
        raise ShapeError(
            "The extension goes on from {old} tokens, but the model has rows for {rows} only: it "
            "was made from another model's tokenizer.",
            old=extension.old_size,
            rows=model.cfg.vocab_size,
        )


def _longer(table: Tensor, rule: Rule, extension: Extension, seed: Seed) -> Tensor:
    """(V,D) -> (padded_size,D) in the table's dtype."""
    kept = table[: extension.old_size]
    new = rule(kept.float(), extension, seed)
    pads = extension.padded_size - extension.new_size
    padding = kept.float().mean(0).expand(pads, -1)
    return torch.cat([kept, new.to(table.dtype), padding.to(table.dtype)])


def _canonical(model: LM, extension: Extension) -> list[int]:
    """Engram's number of every id: the old ones keep theirs, and lend them to their like."""
    if extension.canonical is None or model.ngram_ids is None:
        raise ConfigError(
            "This model has Engram memories, which need to know which tokens mean the same; that "
            "is known of yaongi's own tokenizers only."
        )
    old = extension.old_size
    numbers = cast("list[int]", cast(Any, model.ngram_ids.canonical)[:old].tolist())
    known = dict(zip(extension.canonical[:old], numbers, strict=True))
    free = 1 + max(numbers)
    for form in extension.canonical[old:]:
        if form not in known:
            known[form], free = free, free + 1
        numbers.append(known[form])
    numbers += [0] * (extension.padded_size - extension.new_size)  # never read
    largest = max(int(e.multipliers.max()) for e in model.engrams().values())
    if free * largest > LARGEST:  # n-grams count from 1, so the largest number is ``free``
        raise ShapeError(
            "The hash of this model's Engram holds {room} different tokens; with the new ones "
            "there would be {found}. Add fewer.",
            room=LARGEST // largest,
            found=free,
        )
    return numbers
