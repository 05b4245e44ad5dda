"""Number formats of GGUF tensors, and which tensor gets which.

The block formats and their rounding are those of ggml, computed by PyPI ``gguf`` (numpy).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from yaongi.core.errors import ConfigError, NumericsError, did_you_mean
from yaongi.core.install import import_extra
from yaongi.interop.gguf.tensors import Target

CHUNK = 2**22  # numbers converted at a time: 16 MB of float32


@dataclass(frozen=True)
class Quant:
    """A number format: its name in ggml, and of files whose matrices mostly have it."""

    ggml: str
    file: str


QUANTS = {
    "f32": Quant("F32", "ALL_F32"),
    "f16": Quant("F16", "MOSTLY_F16"),
    "bf16": Quant("BF16", "MOSTLY_BF16"),
    "q8_0": Quant("Q8_0", "MOSTLY_Q8_0"),
    "q5_1": Quant("Q5_1", "MOSTLY_Q5_1"),
    "q5_0": Quant("Q5_0", "MOSTLY_Q5_0"),
    "q4_1": Quant("Q4_1", "MOSTLY_Q4_1"),
    "q4_0": Quant("Q4_0", "MOSTLY_Q4_0"),
    "mxfp4": Quant("MXFP4", "MOSTLY_MXFP4_MOE"),
    "tq2_0": Quant("TQ2_0", "MOSTLY_TQ2_0"),
    "tq1_0": Quant("TQ1_0", "MOSTLY_TQ1_0"),
}
"""All that PyPI ``gguf`` can write. ``tq*`` are ternary, for models trained to be."""

_TABLE_LEAST = "q8_0"  # embedding and head: a small share of the bytes, and every token meets them


def library() -> Any:
    """PyPI ``gguf``. Raises CapabilityError when it is not installed."""
    return import_extra("Writing GGUF needs the package 'gguf': {command}", "gguf", "gguf")


def known(quant: str) -> Quant:
    """The format called ``quant``. Raises ConfigError for an unknown name."""
    if quant not in QUANTS:
        raise ConfigError(
            "'{name}' is not a GGUF type. {help}", name=quant, help=did_you_mean(quant, QUANTS)
        )
    return QUANTS[quant]


def choose(target: Target, quant: str, fallback: str | None = None) -> str:
    """The name of the format ``target`` gets when the matrices are to be ``quant``.

    Raises:
        ConfigError: its rows are no multiple of the format's block, nor of ``fallback``'s.
    """
    if target.exact:
        return "f32"
    if target.table and _bits(quant) < _bits(_TABLE_LEAST):
        quant = _TABLE_LEAST
    row = target.shape[-1]
    for choice in (quant, fallback) if fallback else (quant,):
        if row % _size(choice)[0] == 0:
            return choice
    refused = fallback or quant
    raise ConfigError(
        "{tensor} ({source}) has rows of {row} numbers; {quant} packs blocks of {block}, which "
        "does not divide them. Choose another type, or allow --fallback {fix} for such tensors.",
        tensor=target.name,
        source=target.source,
        row=row,
        quant=refused,
        block=_size(refused)[0],
        fix="f16" if row % _size("q8_0")[0] else "q8_0",
    )


def ggml_type(quant: str) -> Any:
    """The format as a member of ``gguf.GGMLQuantizationType``."""
    return library().GGMLQuantizationType[known(quant).ggml]


def _size(quant: str) -> tuple[int, int]:
    """Numbers and bytes of a block."""
    numbers, size = library().GGML_QUANT_SIZES[ggml_type(quant)]
    return numbers, size


def _bits(quant: str) -> float:
    numbers, size = _size(quant)
    return 8 * size / numbers


def packed_shape(target: Target, quant: str) -> tuple[int, ...]:
    """The tensor's shape with its rows counted in bytes."""
    numbers, size = _size(quant)
    return (*target.shape[:-1], target.shape[-1] // numbers * size)


def pack(name: str, weight: Tensor, quant: str) -> Iterator[bytes]:
    """The bytes of ``weight`` in a format, some rows at a time.

    Raises:
        NumericsError: a number that is not finite, or beyond what float16 can hold.
    """
    quantize = library().quants.quantize
    rows = weight.reshape(-1, weight.shape[-1])
    for block in rows.split(max(1, CHUNK // rows.shape[1])):
        numbers = block.float()
        largest = float(numbers.abs().max())
        if not torch.isfinite(numbers).all():
            raise NumericsError("The tensor {name} has a number that is not finite.", name=name)
        if quant == "f16" and largest > torch.finfo(torch.float16).max:
            raise NumericsError(
                "The tensor {name} has a number of size {largest:.3g}, too large for f16; "
                "export as bf16 or f32.",
                name=name,
                largest=largest,
            )
        yield quantize(numbers.numpy(), ggml_type(quant)).tobytes()
