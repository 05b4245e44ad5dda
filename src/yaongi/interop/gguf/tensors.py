"""Our tensors under llama.cpp's names and in its layout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from yaongi.interop.gguf.architectures import Architecture
from yaongi.model.attention import AttentionConfig
from yaongi.model.lm import LM, LMConfig
from yaongi.model.rope import frequencies

TABLES = {
    "embeddings.weight": "token_embd.weight",
    "norm_f.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",  # absent when tied: llama.cpp then takes the embedding
}
MIXER = {
    # attention
    "q_proj.weight": "attn_q.weight",
    "k_proj.weight": "attn_k.weight",
    "v_proj.weight": "attn_v.weight",
    "o_proj.weight": "attn_output.weight",
    "q_proj.bias": "attn_q.bias",
    "k_proj.bias": "attn_k.bias",
    "v_proj.bias": "attn_v.bias",
    "o_proj.bias": "attn_output.bias",
    "q_norm.weight": "attn_q_norm.weight",
    "k_norm.weight": "attn_k_norm.weight",
    # feed-forward
    "gate_proj.weight": "ffn_gate.weight",
    "up_proj.weight": "ffn_up.weight",
    "down_proj.weight": "ffn_down.weight",
    # mixture of experts
    "gate.weight": "ffn_gate_inp.weight",
    "gate.e_score_correction_bias": "exp_probs_b.bias",
    "experts.gate_proj": "ffn_gate_exps.weight",
    "experts.up_proj": "ffn_up_exps.weight",
    "experts.down_proj": "ffn_down_exps.weight",
    "shared_experts.up_proj.weight": "ffn_up_shexp.weight",
    "shared_experts.down_proj.weight": "ffn_down_shexp.weight",
    # Mamba-2
    "in_proj.weight": "ssm_in.weight",
    "conv1d.weight": "ssm_conv1d.weight",
    "conv1d.bias": "ssm_conv1d.bias",
    "dt_bias": "ssm_dt.bias",
    "A_log": "ssm_a",
    "D": "ssm_d",
    "norm.weight": "ssm_norm.weight",
    "out_proj.weight": "ssm_out.weight",
}
"""Our name inside a mixer -> llama.cpp's inside a block."""

EXACT = ("ssm_conv1d.weight", "ssm_a", "ssm_d", "ssm_norm.weight", "ffn_gate_inp.weight")
"""Matrices that stay float32: llama.cpp's kernels expect it, and routing must not tip over."""

Turn = Callable[[Tensor], Tensor]
Read = Callable[[str], Tensor]


@dataclass(frozen=True)
class Target:
    """One tensor of the file.

    Attributes:
        name: in the file.
        source: what it is made from: our name of a tensor, or the setting it follows from.
        shape: in torch's order (GGUF writes the dimensions from the other end).
        make: the tensor itself, from a function that reads ours by name.
        exact: stays float32.
        table: the embedding or the head, (V,D).
    """

    name: str
    source: str
    shape: tuple[int, ...]
    make: Callable[[Read], Tensor]
    exact: bool
    table: bool = False


def targets(cfg: LMConfig, graph: Architecture) -> list[Target]:
    """Every tensor of the file, in its order."""
    with torch.device("meta"):
        ours = LM(cfg).state_dict()
    found = [_stretched(cfg.attention)] if cfg.attention and cfg.attention.rope_scaling else []
    for source, tensor in ours.items():
        if source.endswith("e_score_correction_bias") and not graph.has_bias:
            continue
        found.append(_from_ours(source, tensor, cfg, graph))
    return found


def _from_ours(source: str, tensor: Tensor, cfg: LMConfig, graph: Architecture) -> Target:
    block, inside = _place(source, graph.paired)
    turn = _turn(inside, cfg, graph)
    shape = tuple(turn(tensor).shape)
    return Target(
        name=block + inside,
        source=source,
        shape=shape,
        make=lambda read: turn(read(source)),
        exact=inside in EXACT or len(shape) == 1,
        table=len(shape) == 2 and source in TABLES,
    )


def _stretched(a: AttentionConfig) -> Target:
    """By how much Llama 3's RoPE scaling slows each pair of dimensions."""
    assert a.rope_theta is not None
    slow = frequencies(a.head_dim, a.rope_theta, a.rope_scaling)
    factors = frequencies(a.head_dim, a.rope_theta, None) / slow
    return Target(
        name="rope_freqs.weight",
        source="attention.rope_scaling",
        shape=tuple(factors.shape),
        make=lambda read: factors,
        exact=True,
    )


def _place(source: str, paired: bool) -> tuple[str, str]:
    """``("blk.3.", "attn_q.weight")`` of ``layers.6.mixer.q_proj.weight`` in a paired graph."""
    if source in TABLES:
        return "", TABLES[source]
    _, layer, part, rest = source.split(".", 3)
    block, second = divmod(int(layer), 2) if paired else (int(layer), 0)
    if part == "norm":
        return f"blk.{block}.", ("attn_norm.weight", "ffn_norm.weight")[second]
    return f"blk.{block}.", MIXER[rest]


def _turn(inside: str, cfg: LMConfig, graph: Architecture) -> Turn:
    if graph.interleaved and inside.startswith(("attn_q.", "attn_k.")) and cfg.attention:
        return _neighbours(cfg.attention.head_dim)
    groups = cfg.mamba.n_groups if cfg.mamba else 1
    turns: dict[str, Turn] = {
        "ssm_a": lambda a_log: -torch.exp(a_log.float())[:, None],
        "ssm_d": lambda d: d[:, None],
        "ssm_conv1d.weight": lambda weight: weight[:, 0],
        "ssm_norm.weight": lambda weight: weight.view(groups, -1),
    }
    return turns.get(inside, _same)


def _same(weight: Tensor) -> Tensor:
    return weight


def _neighbours(head_dim: int) -> Turn:
    """Rows of queries or keys in the order in which (i, i + K/2) become (2i, 2i+1)."""

    def turn(weight: Tensor) -> Tensor:
        halves = weight.view(-1, 2, head_dim // 2, *weight.shape[1:])
        return halves.transpose(1, 2).reshape(weight.shape)

    return turn
