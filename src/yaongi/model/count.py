"""Sizes by formula: parameters, FLOPs per token, bytes of activations and of decoding state.

Nothing is built, so a plan for a machine one does not have costs nothing; tests hold the formulas
against the built modules.
"""

from __future__ import annotations

from dataclasses import dataclass

from yaongi.model.layer import LayerCount, LayerMemory, Workload
from yaongi.model.lm import LMConfig


@dataclass(frozen=True)
class Counts:
    """What ``count`` returns.

    Attributes:
        params_total: every parameter once.
        params_active: what one token multiplies: all but the input embedding's lookup, the rows
            of Engram's tables and the experts not chosen. A tied head counts once, as the head.
        params_active_with_embedding: the same and the input embedding.
    """

    cfg: LMConfig
    params_total: int
    params_active: int
    params_active_with_embedding: int

    def flops_per_token(self, seq_len: int) -> float:
        """Training FLOPs per token, forward and backward.

        6 per active parameter (2 forward, 4 backward), plus three times the forward FLOPs of what
        has no parameters: causal attention scores at half the square, and the scan as the
        recurrence (Kaplan et al. 2020, arXiv:2001.08361, appendix; recomputation not counted).
        """
        mixing = sum(c.mixing_flops for c in [*_layers(self.cfg, seq_len), *_engrams(self.cfg)])
        return 6.0 * self.params_active + 3.0 * mixing

    def state_bytes(self, context: int, batch: int = 1, cache_bytes: int = 2) -> int:
        """Bytes a decoder keeps for ``batch`` sequences of ``context`` tokens.

        Args:
            cache_bytes: of each number in the KV cache and convolution windows; the scan's state
                is always float32.
        """
        parts = [*_layers(self.cfg, context, cache_bytes), *_engrams(self.cfg, cache_bytes)]
        tokens = 8 * self.cfg.engram.tail if self.cfg.engram else 0  # past token numbers, int64
        return batch * (sum(c.state_bytes for c in parts) + tokens)


def count(cfg: LMConfig) -> Counts:
    """The sizes of a model."""
    layers, engrams = _layers(cfg, 1), _engrams(cfg)
    embedding = cfg.vocab_size * cfg.d_model
    head = 0 if cfg.tied else embedding
    body = sum(c.total + cfg.d_model for c in layers) + cfg.d_model  # each layer's norm, the last
    body += sum(c.total for c in engrams)
    total = embedding + head + body
    inactive = sum(c.inactive for c in [*layers, *engrams])
    active = body - inactive + embedding  # the head, tied or not
    return Counts(cfg, total, active, active if cfg.tied else active + embedding)


def block_params(cfg: LMConfig) -> list[int]:
    """Parameters of each layer with its norm and the dense ones of its Engram, in order."""
    sizes = [c.total + cfg.d_model for c in _layers(cfg, 1)]
    places = cfg.engram.layers if cfg.engram else ()
    for layer, engram in zip(places, _engrams(cfg), strict=True):
        sizes[layer] += engram.total - engram.inactive
    return sizes


def table_params(cfg: LMConfig) -> int:
    """Parameters of Engram's tables, whose gradients are sparse."""
    return sum(c.inactive for c in _engrams(cfg))


def block_memory(cfg: LMConfig, work: Workload) -> list[LayerMemory]:
    """Activations of each layer with its norm, which keeps the stream before the layer."""
    stream = work.tokens * cfg.d_model * work.width
    parts = [cfg.settings(k).memory(cfg.d_model, work) for k in cfg.layers]
    for layer, part in (cfg.engram.memory(cfg.d_model, work) if cfg.engram else {}).items():
        mixer = parts[layer]
        parts[layer] = LayerMemory(mixer.kept + part.kept, max(mixer.scratch, part.scratch))
    return [LayerMemory(p.kept + stream, p.scratch + 2 * stream) for p in parts]


def _layers(cfg: LMConfig, context: int, cache_bytes: int = 2) -> list[LayerCount]:
    return [cfg.settings(k).count(cfg.d_model, context, cache_bytes) for k in cfg.layers]


def _engrams(cfg: LMConfig, cache_bytes: int = 2) -> list[LayerCount]:
    return cfg.engram.counts(cfg.d_model, cache_bytes) if cfg.engram else []
