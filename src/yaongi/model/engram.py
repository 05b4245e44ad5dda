"""Engram: a memory of n-grams beside the layers, looked up by hash and let in by a gate.

Cheng et al. 2026 (arXiv:2601.07372): the last 2..N tokens are hashed to rows of large tables, and
what is found there is added to the residual before chosen layers. A token reads a few rows of
millions, so tables cost memory but hardly any computation, and their gradients are sparse.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from math import expm1, isqrt
from typing import Annotated

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from yaongi.core.config import Config
from yaongi.core.errors import CheckpointError, ConfigError
from yaongi.core.seeds import Seed
from yaongi.core.units import Count
from yaongi.model.layer import (
    Context,
    InitStreams,
    LayerCount,
    LayerMemory,
    Linear,
    RMSNorm,
    Workload,
)
from yaongi.model.tables import NgramTable, Recall
from yaongi.ops.activation import steady
from yaongi.ops.backend import opaque

TAPS = 4  # of the convolution, as in the paper
LARGEST = 2**63 - 1


class NgramSettings(Config):
    """Settings of one module.

    Attributes:
        orders: lengths of the n-grams, the present token included.
        heads: independent hashes of each order, against collisions.
        head_dim: width of a row.
        rows: of each head's table, rounded up to a prime no other head has.
    """

    orders: tuple[Annotated[int, Field(ge=2)], ...] = (2, 3)
    heads: int = Field(default=8, gt=0)
    head_dim: int = Field(gt=0)
    rows: Annotated[Count, Field(gt=1)]

    @model_validator(mode="after")
    def _ordered(self) -> NgramSettings:
        if not self.orders or list(self.orders) != sorted(set(self.orders)):
            raise _unordered("orders", "[2, 3]", self.orders)
        return self

    @property
    def lookups(self) -> int:
        """Rows one token reads."""
        return len(self.orders) * self.heads

    @property
    def d_memory(self) -> int:
        """Width of all rows one token reads."""
        return self.lookups * self.head_dim

    @property
    def back(self) -> int:
        """Tokens before the present one that the convolution sees."""
        return (TAPS - 1) * max(self.orders)


class NgramChanges(Config):
    """What one module has otherwise than the rest."""

    orders: tuple[int, ...] | None = None
    heads: int | None = None
    head_dim: int | None = None
    rows: Count | None = None


class EngramConfig(NgramSettings):
    """Settings of ``engram``: those of its modules, and where they are.

    Attributes:
        layers: a module adds to the residual before each of these layers, counted from 0.
        modules: layer -> what its module has otherwise:
            ``{layers: [2, 26], head_dim: 64, rows: 200000, modules: {26: {rows: 500000}}}``.
    """

    layers: tuple[Annotated[int, Field(ge=0)], ...]
    modules: dict[int, NgramChanges] = Field(default_factory=lambda: {})

    @model_validator(mode="after")
    def _fits(self) -> EngramConfig:
        if not self.layers or list(self.layers) != sorted(set(self.layers)):
            raise _unordered("layers", "[2, 26]", self.layers)
        for layer in self.modules:
            if layer not in self.layers:
                raise ConfigError(
                    "modules: {layer} is not one of the layers {layers}; "
                    "add it there or remove it here",
                    layer=layer,
                    layers=list(self.layers),
                )
            self.at(layer)
        return self

    def at(self, layer: int) -> NgramSettings:
        """The settings of the module before ``layer``."""
        own = self.modules.get(layer, NgramChanges()).model_dump(exclude_none=True)
        shared = {name: getattr(self, name) for name in NgramSettings.model_fields}
        return NgramSettings.model_validate({**shared, **own})

    @property
    def tail(self) -> int:
        """Past tokens that the longest n-gram of any module needs."""
        return max(max(self.at(layer).orders) for layer in self.layers) - 1

    def table_rows(self) -> dict[int, tuple[int, ...]]:
        """layer -> rows of each head's table: distinct primes over all modules."""
        wanted = [(self.at(layer).rows, self.at(layer).lookups) for layer in self.layers]
        return dict(zip(self.layers, _distinct_primes(tuple(wanted)), strict=True))

    def counts(self, d_model: int, cache_bytes: int = 2) -> list[LayerCount]:
        """The arithmetic of each module, see ``model.count``; the table's rows are inactive."""
        rows = self.table_rows()
        return [_count(self.at(i), sum(rows[i]), d_model, cache_bytes) for i in self.layers]

    def memory(self, d_model: int, work: Workload) -> dict[int, LayerMemory]:
        """Activations of each module in training, by layer; see ``layer.LayerMemory``."""
        return {i: _memory(self.at(i), d_model, work) for i in self.layers}

    def gradient_bytes(self, tokens: int) -> int:
        """Of the tables' sparse gradients after so many tokens, were no n-gram to occur twice.

        A head with R rows has R (1 - e^(-tokens/R)) of them hit, each with its index and values.
        """
        return round(
            sum(
                -expm1(-tokens / rows) * rows * (4 * self.at(layer).head_dim + 8)
                for layer, tables in self.table_rows().items()
                for rows in tables
            )
        )


def _count(cfg: NgramSettings, rows: int, d_model: int, cache_bytes: int) -> LayerCount:
    table = rows * cfg.head_dim
    dense = 2 * cfg.d_memory * d_model + (3 + TAPS) * d_model
    return LayerCount(table + dense, table, 2.0 * d_model, cache_bytes * cfg.back * d_model)


def _memory(cfg: NgramSettings, d_model: int, work: Workload) -> LayerMemory:
    """What was read, and where; the stream; key, query and value on their way to it."""
    each = cfg.lookups * 16 + work.width * cfg.d_memory + (6 * work.width + 8) * d_model
    copies = work.copies(2 * cfg.d_memory * d_model)
    rows = 4 * cfg.d_memory + (3 * work.width + 8) * d_model  # gradients
    return LayerMemory(work.tokens * each + copies, work.tokens * rows)


@functools.cache
def _distinct_primes(wanted: tuple[tuple[int, int], ...]) -> list[tuple[int, ...]]:
    """For each (least, how many), the next primes from ``least`` on that nobody had before."""
    taken: set[int] = set()
    found: list[tuple[int, ...]] = []
    for least, count in wanted:
        own: list[int] = []
        at = least
        while len(own) < count:
            if at not in taken and _is_prime(at):
                own.append(at)
            at += 1
        taken.update(own)
        found.append(tuple(own))
    return found


def _is_prime(n: int) -> bool:
    """By trial division: a table has at most some ten million rows, so a few thousand trials."""
    return n == 2 or (n % 2 == 1 and n > 1 and all(n % d for d in range(3, isqrt(n) + 1, 2)))


class NgramIds(nn.Module):
    """The token numbers n-grams are made of, with those of the last few tokens before.

    ``canonical`` (V,) int64 maps token ids to numbers, tokens that mean the same to one (see
    ``text.canonical``). It is the identity until ``LM.set_canonical_ids`` brings a tokenizer's,
    and is saved with the model: the tables are worthless with another. N-grams count from 1;
    0 stands before a document's start, also after the vocabulary has grown.
    """

    canonical: Tensor

    def __init__(self, vocab_size: int, tail: int) -> None:
        super().__init__()
        self.tail = tail
        self.register_buffer("canonical", torch.arange(vocab_size))

    def reset(self) -> None:
        """Every id is its own number."""
        self.canonical.copy_(torch.arange(len(self.canonical)))

    def forward(self, ids: Tensor, before: Tensor | None) -> Tensor:
        """ids (B,T), and the numbers (B,tail) before them or None at a start -> (B,tail+T)."""
        if before is None:
            before = self.start(ids.shape[0], ids.device)
        return torch.cat([before, self.canonical[ids] + 1], 1)

    def start(self, batch: int, device: torch.device) -> Tensor:
        """(B,tail): what stands before the first token."""
        return torch.zeros(batch, self.tail, dtype=torch.long, device=device)


class Engram(nn.Module):
    """One module: tables, hash, gate and convolution.

    Args:
        layer: its place, which decides the multipliers of its hash.
        rows: of each head's table, primes.
    """

    multipliers: Tensor
    primes: Tensor

    def __init__(
        self,
        cfg: NgramSettings,
        layer: int,
        rows: tuple[int, ...],
        *,
        vocab_size: int,
        d_model: int,
        norm_eps: float,
    ) -> None:
        super().__init__()
        self.cfg = cfg
        self._hash = _multipliers(layer, max(cfg.orders), vocab_size), rows
        self.register_buffer("multipliers", torch.tensor(self._hash[0]))
        self.register_buffer("primes", torch.tensor(self._hash[1]))
        self.table = NgramTable(sum(rows), cfg.head_dim)
        self.k_proj = Linear(cfg.d_memory, d_model)
        self.v_proj = Linear(cfg.d_memory, d_model)
        self.norm_k = RMSNorm(d_model, norm_eps)
        self.norm_q = RMSNorm(d_model, norm_eps)
        self.norm_conv = RMSNorm(d_model, norm_eps)
        self.conv = nn.Parameter(torch.empty(d_model, TAPS))

    def rows(self, numbers: Tensor, docs: Tensor | None, tail: int) -> Tensor:
        """Where to look: numbers and document ids (B,tail+T) -> rows of the table (B,T,lookups).

        Order n hashes to the XOR over k < n of x_{t-k} m_k, modulo the prime of each head; no
        product overflows, see ``_multipliers``. A predecessor in another document counts as none.
        """
        length = numbers.shape[1] - tail
        mix = numbers[:, tail:] * self.multipliers[0]
        mixes: list[Tensor] = []
        for k in range(1, max(self.cfg.orders)):
            past = numbers[:, tail - k : tail - k + length]
            if docs is not None:
                past = past.where(docs[:, tail - k : tail - k + length] == docs[:, tail:], 0)
            mix = mix ^ (past * self.multipliers[k])
            if k + 1 in self.cfg.orders:
                mixes.append(mix)
        hashes = torch.stack(mixes, -1).repeat_interleave(self.cfg.heads, -1)
        return hashes % self.primes + (self.primes.cumsum(0) - self.primes)

    def forward(
        self, x: Tensor, memory: Tensor, ctx: Context, window: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """What to add to the residual x (B,T,D), given the rows read, (B,T,d_memory).

        ``window`` (B,back,D) holds the convolution's inputs before the block, None at a start;
        the new one is returned.
        """
        k = self.norm_k(self.k_proj(memory), ctx.kernels).float()
        q = self.norm_q(x, ctx.kernels).float()
        gate = steady(torch.sigmoid, (k * q).sum(-1, keepdim=True) * x.shape[-1] ** -0.5)
        v = gate.to(x.dtype) * self.v_proj(memory)
        seen, back = self.norm_conv(v, ctx.kernels), self.cfg.back
        seen = (
            F.pad(seen, (0, 0, back, 0))
            if window is None
            else torch.cat([window.to(seen.dtype), seen], 1)
        )
        y = v + steady(F.silu, self._convolve(seen, ctx.docs_from(back)))
        return y, None if window is None else seen[:, -back:].to(window.dtype)

    def _convolve(self, seen: Tensor, docs: Tensor | None) -> Tensor:
        """(B,back+T,D) -> (B,T,D): each channel's taps, as far apart as the longest n-gram."""
        step, length = max(self.cfg.orders), seen.shape[1] - self.cfg.back
        w = self.conv.to(seen.dtype)
        y = seen[:, self.cfg.back :] * w[:, -1]
        for j in range(TAPS - 1):
            part = seen[:, j * step : j * step + length] * w[:, j]
            if docs is not None:
                same = docs[:, j * step : j * step + length] == docs[:, self.cfg.back :]
                part = part * same[..., None].to(part.dtype)
            y = y + part
        return y

    def init_window(self, batch: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        """The convolution's window before the first token."""
        return torch.zeros(batch, self.cfg.back, self.conv.shape[0], dtype=dtype, device=device)

    def init_weights(self, generator: InitStreams, std: float, out_std: float) -> None:
        """A convolution of zeros passes everything, so it starts by changing nothing."""
        generator.normal("table", self.table.weight, std)
        generator.normal("k_proj", self.k_proj.weight, std)
        generator.normal("v_proj", self.v_proj.weight, out_std)
        multipliers, primes = self._hash
        with torch.no_grad():
            self.conv.zero_()
            self.multipliers.copy_(torch.tensor(multipliers))
            self.primes.copy_(torch.tensor(primes))

    def check(self, name: str) -> None:
        """Raise CheckpointError when the loaded hash reads outside the loaded table."""
        rows = len(self.table)
        if int(self.primes.sum()) != rows or int(self.primes.min()) < 1:
            raise CheckpointError(
                "{name}.primes add up to {found}, but the table has {rows} rows: the two do not "
                "belong together.",
                name=name,
                found=int(self.primes.sum()),
                rows=rows,
            )


def _unordered(name: str, example: str, value: tuple[int, ...]) -> ConfigError:
    return ConfigError(
        "{name} must rise, for example {example}, not {value}",
        name=name,
        example=example,
        value=list(value),
    )


def _multipliers(layer: int, count: int, vocab_size: int) -> list[int]:
    """The odd factors of a layer's hash, so small that a product with V still fits int64.

    Drawn by name, so that they are the same everywhere; a checkpoint holds them all the same.
    """
    bound = LARGEST // vocab_size // 2
    seed = Seed(0).split("engram", layer)
    return [2 * (seed.split(k).int63 % bound) + 1 for k in range(count)]


@opaque
def recall(
    modules: Mapping[int, Engram],
    numbers: Tensor,
    docs: Tensor | None,
    tail: int,
    dtype: torch.dtype,
    *,
    wait: bool,
) -> dict[int, Recall | Tensor]:
    """Begin the lookups of a forward pass: layer -> (B,T,d_memory), or what will become it.

    Runs eagerly also in a compiled model, before its layers: how many rows are read is not known
    to a compiler, and it knows no sparse gradients.

    Args:
        numbers, docs, tail: as in ``Engram.rows``.
        wait: finish them too; also done wherever there is nothing to wait for.
    """
    found: dict[int, Recall | Tensor] = {}
    for layer, module in modules.items():
        lookup = Recall(module.table, module.rows(numbers, docs, tail), dtype)
        found[layer] = lookup.wait() if wait or not module.table.on_host else lookup
    return found
