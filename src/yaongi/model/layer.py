"""What a layer is: (x, ctx, state) -> (y, new state, aux), one contract for every letter.

A pattern string such as ``MEM*E`` names the layers in order (the letters of Nemotron-H,
arXiv:2504.03624); adding a kind of layer is one file with a settings class and a module.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yaongi.core.config import Config, Registry
from yaongi.core.errors import CapabilityError, ConfigError, did_you_mean
from yaongi.core.seeds import Seed
from yaongi.model.rope import RopeScaling, frequencies
from yaongi.ops.attention import ATTENTION, Attention
from yaongi.ops.backend import Op, named_kernels
from yaongi.ops.conv1d import CONV1D, Conv1d
from yaongi.ops.moe import EXPERTS, Experts
from yaongi.ops.norm import GATED_RMS_NORM, RMS_NORM, GatedNormFunction, NormFunction
from yaongi.ops.ssd import SSD, SSD_OP

OPS: tuple[Op[Any], ...] = (SSD_OP, CONV1D, ATTENTION, EXPERTS, RMS_NORM, GATED_RMS_NORM)


@dataclass(frozen=True)
class Kernels:
    """The implementation of each op a model runs with, picked once for its device."""

    ssd: SSD
    conv1d: Conv1d
    attention: Attention
    experts: Experts
    rms_norm: NormFunction
    gated_rms_norm: GatedNormFunction


def pick_kernels(device: torch.device, choices: dict[str, str] | None = None) -> Kernels:
    """The backends for ``device``; ``choices`` (or the user, in ``YAONGI_KERNELS``) names some by
    op, the rest are picked.

    Raises:
        CapabilityError: a named op or backend is unknown, or cannot run there.
    """
    wanted = named_kernels(device) | (choices or {})
    names = [op.name for op in OPS]
    for name in wanted:
        if name not in names:
            raise CapabilityError(
                "There is no op '{name}'. {help}",
                name=name,
                help=did_you_mean(name, names),
            )
    return Kernels(**{op.name: op.pick(device, wanted.get(op.name, "auto")) for op in OPS})


@dataclass
class Context:
    """What the layers of one forward pass share.

    Attributes:
        offset: tokens already in the state; the first new token has this position.
        lengths: the same for each row, where rows of unequal length take one step together;
            ``offset`` is then the longest, and a state with a ``time_axis`` a list of its rows.
        doc_ids: (B,T) of the new tokens, or None when each row is one document so far.
        history: (B,offset) document ids of the tokens in the state, or None as above.
        mask: (B,1,T,S) bool for attention, or None when causal says it all.
    """

    kernels: Kernels
    offset: int = 0
    lengths: Sequence[int] | None = None
    doc_ids: Tensor | None = None
    history: Tensor | None = None
    mask: Tensor | None = None
    ropes: dict[Any, tuple[Tensor, Tensor]] = field(default_factory=lambda: {})

    def docs_from(self, back: int) -> Tensor | None:
        """(B,back+T) document ids beginning ``back`` tokens before the block; -1 before time 0."""
        if self.doc_ids is None:
            return None
        if self.history is None:
            return F.pad(self.doc_ids, (back, 0), value=-1) if back else self.doc_ids
        known = self.history[:, max(0, self.history.shape[1] - back) :]
        known = F.pad(known, (back - known.shape[1], 0), value=-1)
        return torch.cat([known, self.doc_ids], 1)

    def rope(
        self, x: Tensor, theta: float, scaling: RopeScaling | None = None
    ) -> tuple[Tensor, Tensor]:
        """cos and sin (T,K) float32 for the new tokens of ``x`` (B,H,T,K), computed once.

        With ``lengths``, (B,1,T,K).
        """
        key = (theta, x.shape[-1], scaling)
        if key not in self.ropes:
            positions = torch.arange(x.shape[-2], device=x.device, dtype=torch.float32)
            turning = frequencies(x.shape[-1], theta, scaling, x.device)
            start: Tensor | int = self.offset
            if self.lengths is not None:
                start = torch.tensor(self.lengths, device=x.device)[:, None, None]
            angles = (positions + start)[..., None] * turning
            angles = torch.cat([angles, angles], -1)
            self.ropes[key] = (angles.cos(), angles.sin())
        return self.ropes[key]


@dataclass(frozen=True)
class LayerAux:
    """What a layer reports besides its output; returned, never stored, so that recomputing a
    layer in the backward pass counts nothing twice.
    """

    loss: Tensor | None = None
    expert_counts: Tensor | None = None


@dataclass(frozen=True)
class LayerCount:
    """A layer's size by formula.

    Attributes:
        total: parameters, the layer's norm excluded.
        inactive: parameters one token does not multiply (experts not chosen).
        state_bytes: bytes of decoding state of one sequence.
        mixing_flops: forward FLOPs per token beyond 2 per active parameter (attention scores,
            scan), averaged over the positions of a sequence.
    """

    total: int
    inactive: int
    mixing_flops: float
    state_bytes: int


@dataclass(frozen=True)
class Workload:
    """One forward and backward pass, as the memory formulas see it.

    Attributes:
        width: bytes of a number of the stream: 2 under autocast to bf16 or fp16, else 4.
        blocked: with the kernels of the CPU, which work in cache-sized blocks and recompute;
            elsewhere plain PyTorch keeps more.
    """

    rows: int
    seq_len: int
    width: int = 4
    blocked: bool = True

    @property
    def tokens(self) -> int:
        """Tokens of the pass."""
        return self.rows * self.seq_len

    def copies(self, weights: int) -> int:
        """Bytes of the narrow copies autocast makes of so many weights and keeps."""
        return self.width * weights if self.width < 4 else 0


@dataclass(frozen=True)
class LayerMemory:
    """Bytes of activations of a layer in training, its norm and residual excluded.

    Attributes:
        kept: from the forward pass to the backward pass.
        scratch: further bytes in use at the backward pass's worst moment, the gradients of
            weights excluded.
    """

    kept: int
    scratch: int


class Exact(nn.Module):
    """A module some of whose own tensors stay float32 whatever the model is converted to."""

    exact: ClassVar[tuple[str, ...]] = ()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Exact:
        kept = {name: getattr(self, name).detach() for name in self.exact}
        super()._apply(fn, recurse)  # pyright: ignore[reportUnknownMemberType]
        for name, value in kept.items():
            moved: Tensor = getattr(self, name)
            if moved.dtype != value.dtype:
                moved.data = value.to(moved.device)
        return self


class Layer(Exact):
    """The contract. Subclasses implement ``forward``, ``init_state`` and ``init_weights``."""

    def forward(
        self, x: Tensor, ctx: Context, state: Any = None
    ) -> tuple[Tensor, Any, LayerAux | None]:
        """Mix: x (B,T,D), already normalised -> y (B,T,D), the new state, aux.

        ``state`` None means a start from nothing and returns None. Weights are float32 while x
        may be narrower: cast them to x's dtype, as ``Linear`` does, and keep x's dtype in y.
        """
        raise NotImplementedError

    def init_state(self, batch: int, max_len: int, dtype: torch.dtype, device: torch.device) -> Any:
        """The state before the first token, or None if the layer keeps none."""
        return None

    def init_weights(self, generator: InitStreams, std: float, out_std: float) -> None:
        """Fill the parameters: matrices N(0, std), those that write to the residual out_std."""
        raise NotImplementedError

    def after_step(self, expert_counts: Tensor) -> None:
        """Adjust to the expert counts of a whole optimizer step."""


class LayerConfig(Config):
    """Settings of one letter; also its factory and its arithmetic."""

    kind: str = "attention"

    def check(self, d_model: int) -> None:
        """Raise ValueError when the settings do not fit the width."""

    def check_multiple(self, name: str, of: str) -> None:
        """Raise ConfigError unless the setting ``name`` is a multiple of the setting ``of``."""
        value, n = getattr(self, name), getattr(self, of)
        if value % n:
            raise ConfigError(
                "{name} ({value}) must be a multiple of {of} ({n})",
                name=name,
                value=value,
                of=of,
                n=n,
            )

    def build(self, d_model: int, norm_eps: float) -> Layer:
        """The module."""
        raise NotImplementedError

    def count(self, d_model: int, context: int, cache_bytes: int = 2) -> LayerCount:
        """The arithmetic for ``context`` tokens, ``cache_bytes`` per cached number."""
        raise NotImplementedError

    def memory(self, d_model: int, work: Workload) -> LayerMemory:
        """Activations in training; what each forward keeps is told by its autograd graph."""
        raise NotImplementedError


LAYER_KINDS: Registry[LayerConfig] = Registry(
    "layer kind",
    LayerConfig,
    {
        "attention": "yaongi.model.attention:AttentionConfig",
        "mamba2": "yaongi.model.mamba2:MambaConfig",
        "mlp": "yaongi.model.feedforward:MLPConfig",
        "moe": "yaongi.model.moe:MoEConfig",
    },
)


class InitStreams:
    """Random numbers for initialisation, one stream per parameter, the same on every device."""

    def __init__(self, seed: int, path: str = "") -> None:
        self.seed = seed
        self.path = path

    def child(self, name: str) -> InitStreams:
        """The streams of a submodule."""
        return InitStreams(self.seed, f"{self.path}.{name}" if self.path else name)

    def _generator(self, name: str) -> torch.Generator:
        return torch.Generator().manual_seed(Seed(self.seed).split("init", self.path, name).int63)

    def normal(self, name: str, weight: Tensor, std: float) -> None:
        """Fill with N(0, std)."""
        draw = torch.randn(weight.shape, generator=self._generator(name))
        _fill(weight, draw.mul_(std))

    def uniform(self, name: str, weight: Tensor, low: float, high: float) -> Tensor:
        """Fill with U(low, high)."""
        draw = torch.rand(weight.shape, generator=self._generator(name))
        return _fill(weight, low + (high - low) * draw)


def _fill(weight: Tensor, value: Tensor) -> Tensor:
    with torch.no_grad():
        return weight.copy_(value)


class Linear(nn.Module):
    """``x @ weight.T``, the weight cast to the input's dtype.

    Args:
        rows: the projections stacked in the weight, name -> rows; None when it is only one.
        bias: add a learnt vector, zero at first.

    Attributes:
        training_product: multiplies (x, weight) while training, in place of the plain product.
    """

    training_product: Callable[[Tensor, Tensor], Tensor] | None

    def __init__(
        self, n_in: int, n_out: int, rows: dict[str, int] | None = None, *, bias: bool = False
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_out, n_in))
        self.bias = nn.Parameter(torch.zeros(n_out)) if bias else None
        self.rows = rows
        self.training_product = None

    def row_splits(self) -> dict[str, dict[str, int]]:
        """Parameter -> its stacked projections, for optimizers that treat matrices apart."""
        return {"weight": self.rows} if self.rows else {}

    def matrix(self) -> Tensor:
        """The weight (out,in) as it multiplies; wrappers give theirs."""
        return self.weight

    def forward(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.to(x.dtype)
        if self.training and self.training_product is not None:
            y = self.training_product(x, self.weight)
            return y if bias is None else y + bias
        return F.linear(x, self.weight.to(x.dtype), bias)


class Embedding(nn.Embedding):
    """Rows (V,D) by token id, which also unembed where no other matrix does."""

    def __init__(self, size: int, width: int) -> None:
        # made beforehand: nn.Embedding would draw numbers that init_weights then replaces
        super().__init__(size, width, _weight=torch.empty(size, width))  # pyright: ignore[reportUnknownMemberType]

    def matrix(self) -> Tensor:
        """The rows as they are looked up; wrappers give theirs."""
        return self.weight

    def unembed(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., V) in x's dtype."""
        return F.linear(x, self.weight.to(x.dtype))


class RMSNorm(nn.Module):
    """RMSNorm with a learnt scale, statistics in fp32."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor, kernels: Kernels) -> Tensor:
        return kernels.rms_norm(x, self.weight, self.eps)
