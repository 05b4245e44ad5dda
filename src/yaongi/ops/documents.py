"""Documents of a packed row as kernels want them: numbered in order of appearance."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def document_starts(doc_ids: Tensor) -> Tensor:
    """(B,T) bool: True at each row's first token and wherever the document changes."""
    return F.pad(doc_ids[:, 1:] != doc_ids[:, :-1], (1, 0), value=True)


def sequence_index(doc_ids: Tensor) -> Tensor:
    """(B,T) int32: 0 in each row's first document, one more in every following one.

    Kernels read a negative index as padding and give the initial state to sequence 0, so the ids
    themselves (any integers, -1 before time 0) must not reach them.
    """
    return document_starts(doc_ids).cumsum(1, dtype=torch.int32) - 1
