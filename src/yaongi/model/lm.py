"""The language model: embed, a pattern of layers on one residual stream, unembed.

Pre-norm residual layers spelled by a pattern string as in Nemotron-H (arXiv:2504.03624); the same
class spells Llama, Qwen3, Mamba-2 and Nemotron 3 Nano.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, cast

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.utils import checkpoint as checkpointing

from yaongi.core.config import Config
from yaongi.core.errors import ConfigError, ShapeError
from yaongi.model.attention import AttentionConfig
from yaongi.model.engram import Engram, EngramConfig, NgramIds, recall
from yaongi.model.feedforward import MLPConfig
from yaongi.model.layer import (
    LAYER_KINDS,
    Context,
    Embedding,
    InitStreams,
    Layer,
    LayerAux,
    LayerConfig,
    Linear,
    RMSNorm,
    pick_kernels,
)
from yaongi.model.mamba2 import MambaConfig
from yaongi.model.moe import MoEConfig
from yaongi.model.pattern import expand
from yaongi.model.tables import Recall

AnyLayer = Annotated[LayerConfig, LAYER_KINDS.field()]
BUILT_IN = {"M": "mamba", "*": "attention", "-": "mlp", "E": "moe"}


class LMConfig(Config):
    """A model's shape.

    Attributes:
        pattern: one letter per layer, ``M * - E`` or one of ``letters``; ``(*-)x8`` repeats.
        used_ids: ids that a token has, where the vocabulary is padded beyond; a loss leaves the
            padding out. None: all.
        tied: the unembedding is the embedding.
        init_std: of matrices; those writing to the residual get init_std / sqrt(2 layers).
        letters: further letters, each with a kind: ``{R: {kind: "my_module:MyLayer", ...}}``.
        engram: memories of n-grams before some of the layers; None for none.
    """

    vocab_size: int = Field(gt=0)
    d_model: int = Field(gt=0)
    pattern: str
    used_ids: int | None = Field(default=None, gt=0)
    tied: bool = True
    norm_eps: float = Field(default=1e-5, gt=0)
    init_std: float = Field(default=0.02, gt=0)
    attention: AttentionConfig | None = None
    mamba: MambaConfig | None = None
    mlp: MLPConfig | None = None
    moe: MoEConfig | None = None
    letters: dict[str, AnyLayer] = Field(default_factory=dict)
    engram: EngramConfig | None = None

    @model_validator(mode="after")
    def _fits(self) -> LMConfig:
        if self.used_ids is not None and self.used_ids > self.vocab_size:
            raise ConfigError(
                "used_ids ({used}) cannot be more than vocab_size ({size})",
                used=self.used_ids,
                size=self.vocab_size,
            )
        try:
            used = set(self.layers)
        except ConfigError as error:
            raise ValueError(f"pattern: {error}") from error
        for letter in self.letters:
            if len(letter) != 1 or letter in "()x0123456789" or letter in BUILT_IN:
                raise ConfigError(
                    "letters: '{letter}' cannot name a layer; take a free letter", letter=letter
                )
        for letter in sorted(used):
            settings = self.letters.get(letter) or getattr(self, BUILT_IN.get(letter, ""), None)
            if settings is None:
                raise ConfigError(
                    "the pattern uses '{letter}', so the settings of {name} are needed",
                    letter=letter,
                    name=BUILT_IN[letter],
                )
            try:
                settings.check(self.d_model)
            except ValueError as error:
                raise ValueError(f"{BUILT_IN.get(letter, f'letters.{letter}')}: {error}") from error
        if self.engram is not None and max(self.engram.layers) >= self.n_layers:
            raise ConfigError(
                "engram.layers: there is no layer {layer}; the pattern has 0 to {last}",
                layer=max(self.engram.layers),
                last=self.n_layers - 1,
            )
        return self

    @property
    def layers(self) -> str:
        """The pattern written out, one letter per layer."""
        return expand(self.pattern, [*BUILT_IN, *self.letters])

    @property
    def n_layers(self) -> int:
        """Letters of the pattern."""
        return len(self.layers)

    def settings(self, letter: str) -> LayerConfig:
        """The settings of a letter the pattern uses."""
        if letter in self.letters:
            return self.letters[letter]
        found: LayerConfig = getattr(self, BUILT_IN[letter])
        return found


@dataclass
class Aux:
    """What a forward pass reports besides its output.

    Attributes:
        loss: float32 scalar to add to the loss: the layers' balance losses, mean over rows.
        expert_counts: layer index -> (E,) tokens sent to each expert.
    """

    loss: Tensor
    expert_counts: dict[int, Tensor] = field(default_factory=lambda: {})


@dataclass
class State:
    """Everything decoding remembers: each layer's own state, and how many tokens are in it.

    Attributes:
        length: tokens so far, the same for every row. Rows of unequal length are padded on the
            left, the padding as a document of its own (``doc_ids``), which no layer looks into.
        lengths: tokens of each row, where they differ; ``length`` is then the longest. Such rows
            take single steps only, see ``layer.Context``.
        doc_ids: (B,length) when documents were given, else None.
        numbers: (B,tail) of the last tokens, see ``engram.NgramIds``; None without Engram.
    """

    layers: list[Any]
    max_len: int
    length: int = 0
    lengths: list[int] | None = None
    doc_ids: Tensor | None = None
    numbers: Tensor | None = None


@dataclass
class Output:
    """hidden (B,T,D) after the final norm; the state after the last token, or None; aux."""

    hidden: Tensor
    state: State | None
    aux: Aux


class Block(nn.Module):
    """``x + mixer(norm(x))``, and before it ``x + engram(x)`` where there is one.

    The state of a block with Engram is the pair (convolution window, state of the mixer).
    """

    def __init__(
        self, mixer: Layer, d_model: int, norm_eps: float, engram: Engram | None = None
    ) -> None:
        super().__init__()
        self.engram = engram
        self.norm = RMSNorm(d_model, norm_eps)
        self.mixer = mixer

    def forward(
        self, x: Tensor, ctx: Context, state: Any, memory: Tensor | None
    ) -> tuple[Tensor, Any, LayerAux | None]:
        if self.engram is None or memory is None:
            y, state, aux = self.mixer(self.norm(x, ctx.kernels), ctx, state)
            return x + y, state, aux
        window, state = (None, None) if state is None else state
        found, window = self.engram(x, memory, ctx, window)
        x = x + found
        y, state, aux = self.mixer(self.norm(x, ctx.kernels), ctx, state)
        return x + y, None if window is None else (window, state), aux

    def init_state(self, batch: int, max_len: int, dtype: torch.dtype, device: torch.device) -> Any:
        """The state before the first token."""
        state = self.mixer.init_state(batch, max_len, dtype, device)
        if self.engram is None:
            return state
        return self.engram.init_window(batch, dtype, device), state


class LM(nn.Module):
    """The model. Weights are float32 and initialised from seed 0; see ``init_weights``.

    Under ``torch.autocast`` the stream and the matrix products are in autocast's dtype, while
    scan, norms' statistics, router and step sizes stay in float32.

    Args:
        kernels: op name -> backend name, to override the automatic choice.
    """

    def __init__(self, cfg: LMConfig, *, kernels: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self.cfg = cfg
        self.kernel_choices = dict(kernels or {})
        self.embeddings = Embedding(cfg.vocab_size, cfg.d_model)
        engrams = _engrams(cfg)
        self.layers = nn.ModuleList(
            Block(
                cfg.settings(k).build(cfg.d_model, cfg.norm_eps),
                cfg.d_model,
                cfg.norm_eps,
                engrams.get(i),
            )
            for i, k in enumerate(cfg.layers)
        )
        self.ngram_ids = NgramIds(cfg.vocab_size, cfg.engram.tail) if cfg.engram else None
        self.norm_f = RMSNorm(cfg.d_model, cfg.norm_eps)
        self.lm_head = None if cfg.tied else Linear(cfg.d_model, cfg.vocab_size)
        self.kernels = pick_kernels(self.device, self.kernel_choices)
        if self.device.type != "meta":
            self.init_weights(0)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.embeddings.weight.device

    @property
    def head_weight(self) -> Tensor:
        """The unembedding (V,D); the embedding itself when tied."""
        holder = self.embeddings if self.lm_head is None else self.lm_head
        return holder.matrix()

    @property
    def used_head(self) -> Tensor:
        """The unembedding without padding (used_ids,D): what a loss chooses among."""
        return self.head_weight[: self.cfg.used_ids] if self.cfg.used_ids else self.head_weight

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> LM:
        before = self.device
        super()._apply(fn, recurse)  # pyright: ignore[reportUnknownMemberType]
        if self.device.type != before.type:
            self.kernels = pick_kernels(self.device, self.kernel_choices)
        return self

    def forward(
        self,
        ids: Tensor,
        *,
        doc_ids: Tensor | None = None,
        state: State | None = None,
        checkpoint: bool | Container[int] = False,
    ) -> Output:
        """Run the layers.

        Args:
            ids: (B,T) int64.
            doc_ids: (B,T) int; nothing flows between tokens of different ids, which must be
                contiguous along a row. None: each row is one document.
            state: continue after the tokens in it; it is consumed, use the one returned.
            checkpoint: recompute layers in the backward pass instead of keeping their
                activations: all, none, or those whose index is contained.
        """
        device_type = ids.device.type
        dtype = self.embeddings.weight.dtype
        guard: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
        if torch.is_autocast_enabled(device_type):
            dtype = torch.get_autocast_dtype(device_type)
            guard = torch.autocast(device_type, enabled=False)
        ctx, after = self._context(ids, doc_ids, state)
        memories = self._begin_recall(ids, ctx, state, after, dtype)
        with guard:
            return self._run(ids, ctx, state, after, memories, checkpoint, dtype)

    def _begin_recall(
        self,
        ids: Tensor,
        ctx: Context,
        state: State | None,
        after: State | None,
        dtype: torch.dtype,
    ) -> Mapping[int, Recall | Tensor]:
        """Begin reading the n-gram tables, by layer; the ids say all that is needed."""
        if self.ngram_ids is None:
            return {}
        tail = self.ngram_ids.tail
        numbers = self.ngram_ids(ids, None if state is None else state.numbers)
        if after is not None:
            after.numbers = numbers[:, numbers.shape[1] - tail :]
        compiling = torch.compiler.is_compiling()
        return recall(self.engrams(), numbers, ctx.docs_from(tail), tail, dtype, wait=compiling)

    def _run(
        self,
        ids: Tensor,
        ctx: Context,
        state: State | None,
        after: State | None,
        memories: Mapping[int, Recall | Tensor],
        checkpoint: bool | Container[int],
        dtype: torch.dtype,
    ) -> Output:
        x = self.embeddings(ids).to(dtype)
        losses: list[Tensor] = []
        aux = Aux(torch.zeros((), device=ids.device))
        for i, block in enumerate(self.layers):
            own = None if state is None else state.layers[i]
            again = checkpoint is True or (checkpoint is not False and i in checkpoint)
            memory = memories.get(i)
            memory = memory.wait() if isinstance(memory, Recall) else memory
            x, own, extra = (_recomputed if again else _kept)(block, x, ctx, own, memory)
            if after is not None:
                after.layers[i] = own
            if extra is not None and extra.loss is not None:
                losses.append(extra.loss)
            if extra is not None and extra.expert_counts is not None:
                aux.expert_counts[i] = extra.expert_counts
        if losses:
            aux.loss = torch.stack(losses).sum()
        return Output(self.norm_f(x, self.kernels), after, aux)

    def _context(
        self, ids: Tensor, doc_ids: Tensor | None, state: State | None
    ) -> tuple[Context, State | None]:
        length = ids.shape[1]
        if doc_ids is not None and doc_ids.shape != ids.shape:
            raise ShapeError(
                "doc_ids is {found}, ids is {expected}; they must be equal.",
                found=tuple(doc_ids.shape),
                expected=tuple(ids.shape),
            )
        if state is None:
            if doc_ids is not None and _one_document(doc_ids):
                doc_ids = None
            mask = None if doc_ids is None else _mask(doc_ids, doc_ids, 0)
            return Context(self.kernels, doc_ids=doc_ids, mask=mask), None
        if state.length + length > state.max_len:
            raise ShapeError(
                "The state has room for {max} tokens; {have} are in it and {new} more came.",
                max=state.max_len,
                have=state.length,
                new=length,
            )
        if state.lengths is not None:
            return self._ragged(ids, doc_ids, state, state.lengths)
        history = state.doc_ids
        if history is None and doc_ids is not None:
            history = doc_ids[:, :1].expand(-1, state.length)  # one document so far: this one
        if history is not None and doc_ids is None:
            doc_ids = history[:, -1:].expand(-1, length)
        ctx = Context(self.kernels, state.length, doc_ids=doc_ids, history=history)
        seen = None
        if doc_ids is not None and history is not None:
            seen = torch.cat([history, doc_ids], 1)
            ctx.mask = _mask(doc_ids, seen, state.length)
        elif state.length and length > 1:
            keys = torch.arange(state.length + length, device=ids.device)
            ctx.mask = (keys <= keys[state.length :, None])[None, None]
        after = State([None] * len(self.layers), state.max_len, state.length + length, doc_ids=seen)
        return ctx, after

    def _ragged(
        self, ids: Tensor, doc_ids: Tensor | None, state: State, lengths: list[int]
    ) -> tuple[Context, State]:
        if ids.shape != (len(lengths), 1) or doc_ids is not None:
            raise ShapeError(
                "Rows of unequal length take one token each and no documents: ids must be "
                "{expected}, not {found}.",
                expected=(len(lengths), 1),
                found=tuple(ids.shape),
            )
        ctx = Context(self.kernels, state.length, lengths)
        longer = [n + 1 for n in lengths]
        return ctx, State([None] * len(self.layers), state.max_len, max(longer), longer)

    def logits(self, hidden: Tensor) -> Tensor:
        """(B,T,D) -> (B,T,V) in hidden's dtype."""
        return self.embeddings.unembed(hidden) if self.lm_head is None else self.lm_head(hidden)

    def init_state(
        self,
        batch: int,
        max_len: int,
        dtype: torch.dtype | None = None,
        device: torch.device | None = None,
    ) -> State:
        """The state before the first token, with room for ``max_len`` tokens."""
        dtype, device = dtype or self.embeddings.weight.dtype, device or self.device
        layers = [block.init_state(batch, max_len, dtype, device) for block in self._blocks()]
        numbers = self.ngram_ids.start(batch, device) if self.ngram_ids is not None else None
        return State(layers, max_len, numbers=numbers)

    def mixers(self) -> list[Layer]:
        """The layers, without their norms and residuals."""
        return [block.mixer for block in self._blocks()]

    def engrams(self) -> dict[int, Engram]:
        """layer -> the Engram before it, where there is one."""
        return {i: b.engram for i, b in enumerate(self._blocks()) if b.engram is not None}

    def _blocks(self) -> list[Block]:
        return cast(list[Block], list(self.layers))

    def set_canonical_ids(self, numbers: Sequence[int]) -> None:
        """Tell Engram which ids mean the same: one number per id, see ``text.canonical``.

        Raises:
            ShapeError: there is no Engram, or not one number below V for every id.
        """
        if self.ngram_ids is None:
            raise ShapeError("This model has no engram, so it needs no canonical ids.")
        size = self.cfg.vocab_size
        if len(numbers) != size or not all(0 <= n < size for n in numbers):
            raise ShapeError(
                "canonical ids must be {size} numbers from 0 to {last}; {found} came, from {low} "
                "to {high}.",
                size=size,
                last=size - 1,
                found=len(numbers),
                low=min(numbers, default="none"),
                high=max(numbers, default="none"),
            )
        self.ngram_ids.canonical.copy_(torch.tensor(numbers))

    def keep_tables_on_host(self) -> None:
        """Leave the n-gram tables in host memory when the model moves to a GPU.

        Raises:
            ConfigError: there are none.
        """
        if not self.engrams():
            raise ConfigError(
                "tables_on_host is about the tables of Engram, and this model has none: remove it."
            )
        for engram in self.engrams().values():
            engram.table.keep_on_host()

    def init_weights(self, seed: int) -> None:
        """Fill every weight from ``seed``: the same numbers on every device."""
        streams = InitStreams(seed)
        if self.ngram_ids is not None:
            self.ngram_ids.reset()
        std = self.cfg.init_std
        streams.normal("embeddings", self.embeddings.weight, std)
        if self.lm_head is not None:
            streams.normal("lm_head", self.lm_head.weight, std)
        out_std = std / (2 * self.cfg.n_layers) ** 0.5
        for i, block in enumerate(self._blocks()):
            block.mixer.init_weights(streams.child(f"layers.{i}"), std, out_std)
            if block.engram is not None:
                block.engram.init_weights(streams.child(f"layers.{i}.engram"), std, out_std)

    def after_step(self, expert_counts: Mapping[int, Tensor]) -> None:
        """Let the routers adjust to the counts of a whole optimizer step (all micro-batches)."""
        for i, counts in expert_counts.items():
            self.mixers()[i].after_step(counts)


def _engrams(cfg: LMConfig) -> dict[int, Engram]:
    if cfg.engram is None:
        return {}
    sizes: dict[str, Any] = {
        "vocab_size": cfg.vocab_size,
        "d_model": cfg.d_model,
        "norm_eps": cfg.norm_eps,
    }
    rows = cfg.engram.table_rows()
    return {i: Engram(cfg.engram.at(i), i, rows[i], **sizes) for i in cfg.engram.layers}


def _kept(
    block: nn.Module, x: Tensor, ctx: Context, state: Any, memory: Tensor | None
) -> tuple[Tensor, Any, LayerAux | None]:
    return block(x, ctx, state, memory)


_checkpoint: Any = cast(Any, checkpointing).checkpoint


def _recomputed(
    block: nn.Module, x: Tensor, ctx: Context, state: Any, memory: Tensor | None
) -> tuple[Tensor, Any, LayerAux | None]:
    """The same, its activations recomputed in the backward pass instead of kept."""
    return _checkpoint(block, x, ctx, state, memory, use_reentrant=False)


def _one_document(doc_ids: Tensor) -> bool:
    """Whether every row is a single document; unknown (False) where looking would be slow."""
    if torch.compiler.is_compiling() or doc_ids.device.type != "cpu":
        return False
    return bool((doc_ids[:, 0] == doc_ids[:, -1]).all())


def _mask(queries: Tensor, keys: Tensor, offset: int) -> Tensor:
    """(B,1,T,S): key not after the query, and in its document. Document ids (B,T), (B,S)."""
    at = torch.arange(keys.shape[1], device=keys.device)
    causal = at <= at[offset:, None]
    return (causal & (queries[:, :, None] == keys[:, None]))[:, None]
