"""A model in 8 or 4 bits for inference: which tensors become integers, and the modules of them.

Matrices of ``Linear`` and experts are quantized; embeddings, an untied head and n-gram tables take
8 bits in both schemes, because errors there cost most (docs/quantize.md). Norms, routers,
convolutions, biases and the numbers of the scan stay as they are, bit for bit.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from yaongi.core.config import Config
from yaongi.model.int8 import Int8Matrix, replace_modules
from yaongi.model.layer import Embedding, Exact, Linear
from yaongi.model.lm import LM
from yaongi.model.moe import ExpertWeights
from yaongi.model.tables import NgramTable
from yaongi.ops.moe import Experts
from yaongi.ops.moe.in_int8 import experts_int8
from yaongi.ops.moe.packed import experts_packed
from yaongi.ops.quant import INT4, INT8
from yaongi.ops.quant.from_int4 import int8_from_int4
from yaongi.ops.quant.int4 import dequantize_groups, quantize_groups
from yaongi.ops.quant.int4pack import MULTIPLE
from yaongi.ops.quant.int8 import quantize_rows
from yaongi.ops.quant.int_mm import product_int_mm
from yaongi.ops.quant.layouts import pack, unpack


class Scheme(Config):
    """How a model is quantized.

    Attributes:
        to: ``int8``, one scale a row; or ``int4``, one scale and zero point a group, where a
            matrix can be divided into groups, and int8 elsewhere.
        groups: sizes a group may have in int4; the first that divides a row is taken.
    """

    to: Literal["int8", "int4"]
    groups: tuple[Literal[32, 64, 128, 256], ...] = Field(default=(64, 32), min_length=1)

    def group(self, n_in: int) -> int | None:
        """For rows of ``n_in`` numbers; None means int8."""
        if self.to == "int8":
            return None
        return next((g for g in self.groups if n_in % g == 0), None)


class Int8Weight(Int8Matrix):
    """A matrix or a stack of them that multiplies in few bits."""

    def __init__(self, shape: torch.Size) -> None:
        super().__init__(torch.zeros(shape))
        self.product = INT8.pick(self.ints.device)

    def quantized(self, weight: Tensor) -> dict[str, Tensor]:
        """What would hold ``weight`` here, by name."""
        return dict(zip(("ints", "scale"), quantize_rows(weight), strict=True))

    def rows(self, ids: Tensor) -> Tensor:
        """ids (...) -> (...,K) float32."""
        return self.ints[ids].float() * self.scale[ids][..., None]

    def forward(self, x: Tensor) -> Tensor:
        """x (...,K) -> (...,N)."""
        return self.product(x, self.ints, self.scale)

    def __len__(self) -> int:
        return len(self.ints)

    def __getitem__(self, i: int) -> Callable[[Tensor], Tensor]:
        """The product with one matrix of a stack."""
        return functools.partial(self.product, ints=self.ints[i], scale=self.scale[i])

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Int8Weight:
        super()._apply(fn, recurse)
        self.product = INT8.pick(self.ints.device)
        return self


class Int4Weight(Exact):
    """A matrix or a stack of them in groups: packed (...,N,K/2) uint8 in the kernel's layout,
    scales (...,K/group,N,2) bfloat16; N is filled up with rows of zeros to ``MULTIPLE``.
    """

    exact = ("scales",)
    packed: Tensor
    scales: Tensor

    def __init__(self, shape: torch.Size, group: int) -> None:
        super().__init__()
        *lead, self.n_out, n_in = shape
        self.group = group
        rows = self.n_out + -self.n_out % MULTIPLE
        packed = torch.empty(*lead, rows, n_in // 2, dtype=torch.uint8)
        scales = torch.empty(*lead, n_in // group, rows, 2, dtype=torch.bfloat16)
        self.register_buffer("packed", packed)
        self.register_buffer("scales", scales)
        self.kernel = INT4.pick(packed.device)

    def quantized(self, weight: Tensor) -> dict[str, Tensor]:
        """What would hold ``weight`` here, by name."""
        filled = nn.functional.pad(weight, (0, 0, 0, -weight.shape[-2] % MULTIPLE))
        ints, scales = quantize_groups(filled, self.group)
        return {"packed": pack(ints, self.kernel.layout), "scales": scales}

    def matrix(self) -> Tensor:
        """(...,N,K) float32, as it multiplies."""
        ints = unpack(self.packed, self.kernel.layout)
        return dequantize_groups(ints, self.scales)[..., : self.n_out, :]

    def in_int8(self) -> Int8Weight:
        """The same in 8 bits with one scale a row, see ``int8_from_int4``."""
        *lead, _, half = self.packed.shape
        place = self.packed.device
        with torch.device("meta"):
            found = Int8Weight(torch.Size((*lead, self.n_out, 2 * half)))
        found.product = INT8.pick(place)
        found.ints = torch.empty(*lead, self.n_out, 2 * half, dtype=torch.int8, device=place)
        found.scale = torch.empty(*lead, self.n_out, device=place)
        for i in itertools.product(*map(range, lead)):
            matrix = int8_from_int4(self.packed[i], self.scales[i], self.kernel.layout)
            for part, own in zip(matrix, (found.ints, found.scale), strict=True):
                own[i].copy_(part[: self.n_out])
        return found

    def forward(self, x: Tensor) -> Tensor:
        """x (...,K) -> (...,N)."""
        return self._cut(self.kernel(x, self.packed, self.scales))

    def __len__(self) -> int:
        return len(self.packed)

    def __getitem__(self, i: int) -> Callable[[Tensor], Tensor]:
        """The product with one matrix of a stack."""
        packed, scales = self.packed[i], self.scales[i]
        return lambda x: self._cut(self.kernel(x, packed, scales))

    def _cut(self, y: Tensor) -> Tensor:
        return y if y.shape[-1] == self.n_out else y[..., : self.n_out].contiguous()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Int4Weight:
        super()._apply(fn, recurse)
        kernel = INT4.pick(self.packed.device)
        self.packed = repacked(self.packed, self.kernel.layout, kernel.layout)
        self.kernel = kernel
        return self


AnyWeight = Int8Weight | Int4Weight


def _holder(shape: torch.Size, scheme: Scheme) -> AnyWeight:
    group = scheme.group(shape[-1])
    return Int8Weight(shape) if group is None else Int4Weight(shape, group)


def repacked(packed: Tensor, layout: str, wanted: str) -> Tensor:
    """From one layout to another; the same tensor where they are the same."""
    if layout == wanted or packed.is_meta:
        return packed
    return pack(unpack(packed, layout), wanted)


class QuantLinear(nn.Module):
    """``Linear`` in few bits."""

    def __init__(self, linear: Linear, scheme: Scheme) -> None:
        super().__init__()
        self.weight = _holder(linear.weight.shape, scheme)
        self.bias, self.rows = linear.bias, linear.rows

    def matrix(self) -> Tensor:
        """The weight (out,in) as it multiplies, float32."""
        return self.weight.matrix()

    def forward(self, x: Tensor) -> Tensor:
        y = self.weight(x)
        return y if self.bias is None else y + self.bias.to(y.dtype)


class QuantExperts(nn.Module):
    """``ExpertWeights`` in few bits."""

    def __init__(self, bank: ExpertWeights, scheme: Scheme) -> None:
        super().__init__()
        for name, weight in bank.matrices().items():
            setattr(self, name, _holder(weight.shape, scheme))

    def matrices(self) -> dict[str, Tensor]:
        """The matrices as they multiply, float32, by name."""
        return {name: cast(AnyWeight, m).matrix() for name, m in self.named_children()}

    def forward(self, kernel: Experts, x: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
        """As ``ExpertWeights``; the kernel is of plain matrices and not asked."""
        tokens = x.flatten(0, 1), chosen.flatten(0, 1), weights.flatten(0, 1)
        banks = self.banks()
        if all(isinstance(b, Int8Weight) and b.product is product_int_mm for b in banks if b):
            banks = [b and (b.ints, b.scale) for b in banks]
            return experts_int8(*tokens, *banks).view_as(x)
        return experts_packed(*tokens, *banks, product=_multiply).view_as(x)

    def banks(self) -> Any:
        """The stacks up, down, and gate or None; indexed by expert they give its product."""
        return [getattr(self, name, None) for name in ("up_proj", "down_proj", "gate_proj")]


def _multiply(x: Tensor, product: Callable[[Tensor], Tensor]) -> Tensor:
    return product(x)


class QuantEmbedding(nn.Module):
    """``Embedding`` in 8 bits; unembeds too."""

    weight: Tensor

    def __init__(self, table: Embedding) -> None:
        super().__init__()
        self.table = Int8Weight(table.weight.shape)
        # without numbers: a model asks its embedding for dtype and device
        self.register_buffer("weight", _empty(table.weight), persistent=False)

    def matrix(self) -> Tensor:
        """The rows (V,D) as they are looked up, float32."""
        return self.table.matrix()

    def forward(self, ids: Tensor) -> Tensor:
        """ids (...) -> (...,D)."""
        return self.table.rows(ids).to(self.weight.dtype)

    def unembed(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., V) in x's dtype."""
        return self.table(x)


def _empty(like: Tensor) -> Tensor:
    return torch.empty(0, like.shape[-1], dtype=like.dtype, device="cpu")


class QuantTable(nn.Module):
    """``NgramTable`` in 8 bits; where the model is, never in host memory alone."""

    on_host = False
    weight: Tensor

    def __init__(self, table: NgramTable) -> None:
        super().__init__()
        self.table = Int8Weight(table.weight.shape)
        self.register_buffer("weight", _empty(table.weight), persistent=False)

    def __len__(self) -> int:
        return len(self.table)

    def read(self, unique: Tensor) -> Tensor:
        """Rows by number, (n,) -> (n,W) float32."""
        return self.table.rows(unique)


def narrow(model: LM, scheme: Scheme) -> None:
    """Put modules of the scheme, with nothing in them yet, in the places of the model's, in place.

    Every quantized parameter P becomes ``P.ints`` and ``P.scale``, or ``P.packed`` and
    ``P.scales``; of embeddings and tables, ``table`` stands in P for ``weight``.
    """
    replace_modules(model.layers, Linear, functools.partial(QuantLinear, scheme=scheme))
    replace_modules(model.layers, ExpertWeights, functools.partial(QuantExperts, scheme=scheme))
    replace_modules(model.layers, NgramTable, QuantTable)
    model.embeddings = cast(Any, QuantEmbedding(model.embeddings))
    if model.lm_head is not None:
        model.lm_head = cast(Any, QuantLinear(model.lm_head, Scheme(to="int8")))


def quantized_weights(model: LM) -> Iterator[tuple[str, AnyWeight]]:
    """Path and holder of each quantized parameter, see ``parameter_name``."""
    named = cast("Iterator[tuple[str, nn.Module]]", model.named_modules())
    return ((path, m) for path, m in named if isinstance(m, (Int8Weight, Int4Weight)))


def parameter_name(path: str) -> str:
    """What the parameter is called in a model that is not quantized."""
    table = path.removesuffix(".table")
    return path if table == path else f"{table}.weight"
