"""Our tensors under llama.cpp's names and in its layout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from yaongi.interop.gguf.architectures import Architecture
from yaongi.model.lm import LM, LMConfig

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


@dataclass(frozen=True)
class Target:
    """One tensor of the file.

    Attributes:
        name: in the file; ``source`` is our name of what it is made from.
        shape: in torch's order (GGUF writes the dimensions from the other end).
        turn: our tensor -> theirs.
        exact: stays float32.
        table: the embedding or the head, (V,D).
    """

    name: str
    source: str
    shape: tuple[int, ...]
    turn: Turn
    exact: bool
    table: bool


def targets(cfg: LMConfig, graph: Architecture) -> list[Target]:
    """Every tensor of the file, in its order."""
    with torch.device("meta"):
        ours = LM(cfg).state_dict()
    found: list[Target] = []
    for source, tensor in ours.items():
        if source.endswith("e_score_correction_bias") and not graph.has_bias:
            continue
        block, inside = _place(source, graph.paired)
        turn = _turn(inside, cfg, graph)
        shape = tuple(turn(tensor).shape)
        exact, table = inside in EXACT or len(shape) == 1, len(shape) == 2 and source in TABLES
        found.append(Target(block + inside, source, shape, turn, exact, table))
    return found


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
    if graph.interleaved and inside in ("attn_q.weight", "attn_k.weight") and cfg.attention:
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
        halves = weight.view(-1, 2, head_dim // 2, weight.shape[-1])
        return halves.transpose(1, 2).reshape(weight.shape)

    return turn
