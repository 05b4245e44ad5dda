"""Which old tokens are used like a new one: static vectors from the text the new ones came from.

Tokens near each other are counted, turned into positive pointwise mutual information with the
commonest tokens, and brought down to a few dimensions (Levy & Goldberg 2014; Bullinaria & Levy
2012). FOCUS (Dobler & de Melo 2023, arXiv:2305.14481) takes fastText's vectors for this; these
need nothing but numpy.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

WINDOW = 5  # tokens on either side
CONTEXTS = 1000  # the commonest tokens, that all are described by
DIMENSIONS = 128
LEAST_SEEN = 5  # times; fewer say nothing
KEPT = 32  # similar tokens of each new one
_BATCH_TOKENS = 1_000_000
_SMOOTHING = 0.75  # of the contexts' frequencies, against rare ones


class Similar(NamedTuple):
    """For each of N new tokens: ids (N,K) int64 of old ones, weights (N,K) float32 of sum 1."""

    ids: np.ndarray
    weights: np.ndarray


def similar_tokens(
    documents: Iterable[Sequence[int]], old_size: int, pieces: Sequence[Sequence[int]]
) -> Similar:
    """The old tokens to mix each new one from, and how much of each.

    An old token is described by the places where it stands now, and by those where it stood as a
    part of a new one. A new token that was not seen gets its pieces in equal parts.

    Args:
        documents: texts in the ids of the extended tokenizer.
        pieces: the old ids of each new id.
    """
    stream = [np.asarray(ids, dtype=np.int64) for ids in documents]
    flat = np.concatenate([np.asarray(parts, dtype=np.int64) for parts in pieces])
    new_ids = np.arange(old_size, old_size + len(pieces))
    used = np.unique(np.concatenate([*stream, flat, new_ids]))  # a foreign vocabulary is large
    local_parts = [np.searchsorted(used, parts) for parts in pieces]
    n_old = int(np.searchsorted(used, old_size))
    vectors, seen = _describe([np.searchsorted(used, ids) for ids in stream], local_parts, n_old)
    known = np.flatnonzero((seen[:n_old] >= LEAST_SEEN) & vectors[:n_old].any(1))
    ids = np.zeros((len(pieces), KEPT), np.int64)
    weights = np.zeros((len(pieces), KEPT), np.float32)
    for row, parts in enumerate(local_parts):
        found, shares = _mixture(vectors[known] @ vectors[n_old + row], known, parts)
        ids[row, : len(found)] = used[found]
        weights[row, : len(found)] = shares / shares.sum()
    return Similar(ids, weights)


def _mixture(
    closeness: np.ndarray, known: np.ndarray, parts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    if not closeness.any():
        return parts[:KEPT], np.ones(len(parts[:KEPT]), np.float32)
    shares = sparsemax(closeness)
    best = np.argsort(-shares, kind="stable")[:KEPT]
    return known[best], shares[best]


def _describe(
    stream: Sequence[np.ndarray], parts: Sequence[np.ndarray], n_old: int
) -> tuple[np.ndarray, np.ndarray]:
    """Vectors (V,DIMENSIONS) of the tokens used, and how often each was seen."""
    size = n_old + len(parts)
    seen = sum((np.bincount(ids, minlength=size) for ids in stream), np.zeros(size, np.int64))
    counts = _counts(stream, seen)
    for new, old in enumerate(parts, n_old):
        for part in old:  # which may come twice
            counts[part] += counts[new]
            seen[part] += seen[new]
    return _vectors(counts), seen


def sparsemax(scores: np.ndarray) -> np.ndarray:
    """The nearest point of the simplex: weights of sum 1, most of them 0.

    Source: Martins & Astudillo 2016, arXiv:1602.02068, algorithm 1.
    """
    falling = np.sort(scores)[::-1]
    sums = np.cumsum(falling) - 1
    support = np.flatnonzero(falling * np.arange(1, len(scores) + 1) > sums)[-1]
    return np.maximum(scores - sums[support] / (support + 1), 0)


def _counts(stream: Sequence[np.ndarray], seen: np.ndarray) -> np.ndarray:
    """(V,CONTEXTS) float32: how often each common token was near each token."""
    common = np.argsort(-seen, kind="stable")[:CONTEXTS]
    column = np.full(len(seen) + 1, -1)  # the last for what stands between documents
    column[common] = np.arange(len(common))
    counts = np.zeros((len(seen), len(common)), np.float32)
    gap = np.full(WINDOW, len(seen), np.int64)
    for batch in _batches(stream):
        ids = np.concatenate([part for document in batch for part in (document, gap)])
        for away in range(1, WINDOW + 1):
            for here, there in ((ids[:-away], ids[away:]), (ids[away:], ids[:-away])):
                kept = (here < len(seen)) & (column[there] >= 0)
                np.add.at(counts, (here[kept], column[there[kept]]), 1)
    return counts


def _batches(stream: Sequence[np.ndarray]) -> Iterable[list[np.ndarray]]:
    batch: list[np.ndarray] = []
    tokens = 0
    for document in stream:
        batch.append(document)
        tokens += len(document)
        if tokens >= _BATCH_TOKENS:
            yield batch
            batch, tokens = [], 0
    if batch:
        yield batch


def _vectors(counts: np.ndarray) -> np.ndarray:
    """(V,C) counts -> (V,DIMENSIONS) rows of length 1, or of zeros where nothing was counted."""
    total = counts.sum(1, keepdims=True)
    share = counts.sum(0) ** _SMOOTHING
    share /= max(share.sum(), 1e-9)
    with np.errstate(divide="ignore", invalid="ignore"):
        information = np.log(counts / (total * share))
    information = np.nan_to_num(np.maximum(information, 0), posinf=0.0).astype(np.float32)
    _, directions = np.linalg.eigh(information.T @ information)
    vectors = information @ directions[:, ::-1][:, :DIMENSIONS]
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(length, 1e-9)
