"""The network that reads prompts: the twin, except that int4 matrices multiply many rows in 8 bits.

The int4 operator widens its matrix anew for every few rows. Where a chunk has many, it is cheaper
to bring the whole matrix to 8 bits once, for that chunk or, with ``int8`` prompt weights, for all
to come. How a chunk is read depends on nothing but the chunk, so an answer remains that of the
request alone.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from yaongi.core.errors import CapabilityError, ConfigError
from yaongi.core.i18n import translate
from yaongi.core.units import human_bytes
from yaongi.infer.packed import unpacked
from yaongi.model.int8 import replace_modules
from yaongi.model.lm import LM
from yaongi.model.quantized import Int4Weight
from yaongi.ops.quant import INT8
from yaongi.ops.quant.from_int4 import int8_from_int4
from yaongi.ops.quant.int_mm import int_mm_unavailable

PromptWeights = Literal["int8"]
Product = Callable[[Tensor], Tensor]

MANY = 64
"""Rows from which on a matrix is brought to 8 bits for a single product; measured, see
docs/quantize.md. An expert seldom sees as many of a chunk's tokens."""

log = logging.getLogger(__name__)

_resident: weakref.WeakKeyDictionary[LM, LM] = weakref.WeakKeyDictionary()


def reader(twin: LM, weights: PromptWeights | None) -> LM:
    """The network for the chunks of prompts beside ``twin``, which decodes; their states are alike.

    Args:
        twin: see ``infer.packed``.
        weights: ``int8`` keeps every int4 matrix in 8 bits as well, made once for a twin.
    Raises:
        CapabilityError: ``int8``, and the model is not in int4, or not on a CPU with VNNI.
        ConfigError: there are no such weights.
    """
    if weights is not None:
        check_prompt_weights(twin, weights)
        if twin not in _resident:
            _resident[twin] = _in_int8(twin)
        return _resident[twin]
    if not _int4(twin) or int_mm_unavailable(twin.device):
        return twin
    found = unpacked(twin)
    replace_modules(found, Int4Weight, _ForManyRows)
    return found


def check_prompt_weights(model: LM, weights: str) -> None:
    """Raise where ``reader`` would, and make nothing."""
    if weights not in get_args(PromptWeights):
        raise ConfigError(
            "prompt_weights is '{name}'; expected one of {known}.",
            name=weights,
            known=", ".join(get_args(PromptWeights)),
        )
    reason = int_mm_unavailable(model.device)
    if not _int4(model):
        reason = translate("the model is not in int4 (yaongi quantize --to int4)")
    if reason:
        raise CapabilityError("Prompts cannot be read with int8 weights: {reason}", reason=reason)


def _int4(model: LM) -> list[Int4Weight]:
    return [m for m in model.modules() if isinstance(m, Int4Weight)]


def _in_int8(twin: LM) -> LM:
    start = time.perf_counter()
    found = unpacked(twin)
    holders = _int4(found)
    with _one_thread_each() as workers, ThreadPoolExecutor(workers) as pool:
        made = dict(zip(holders, pool.map(Int4Weight.in_int8, holders), strict=True))
    replace_modules(found, Int4Weight, made.__getitem__)
    size = sum(m.ints.nbytes + m.scale.nbytes for m in made.values())
    log.warning(
        translate(
            "Prompts are read with int8 weights: {size} more memory, made in {seconds:.1f} s.",
            size=human_bytes(size),
            seconds=time.perf_counter() - start,
        )
    )
    return found


@contextlib.contextmanager
def _one_thread_each() -> Iterator[int]:
    """Operators on one thread, and how many they had: matrices are many and each operator short.

    Shared among two busy cores, conversion took eight times as much of the processor.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield before
    finally:
        torch.set_num_threads(before)


class _ForManyRows(nn.Module):
    """``Int4Weight`` that brings a matrix to 8 bits for ``MANY`` rows and more, and forgets it."""

    def __init__(self, weight: Int4Weight) -> None:
        super().__init__()
        self.weight = weight
        self.product = INT8.pick(weight.packed.device)

    def forward(self, x: Tensor) -> Tensor:
        """x (...,K) -> (...,N)."""
        held = self.weight
        return self._product(x, held, held.packed, held.scales)

    def __len__(self) -> int:
        return len(self.weight)

    def __getitem__(self, i: int) -> Product:
        """The product with one matrix of a stack."""
        held = self.weight
        matrix = {"packed": held.packed[i], "scales": held.scales[i]}
        return functools.partial(self._product, few=held[i], **matrix)

    def _product(self, x: Tensor, few: Product, packed: Tensor, scales: Tensor) -> Tensor:
        if x.shape[:-1].numel() < MANY:
            return few(x)
        y = self.product(x, *int8_from_int4(packed, scales, self.weight.kernel.layout))
        return y[..., : self.weight.n_out].contiguous()
