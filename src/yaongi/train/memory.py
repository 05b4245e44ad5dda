"""How many bytes of tensors a training step needs at its worst moment, before it is run.

Layers say what they keep for the backward pass (``LayerConfig.memory``), the optimizer takes one
step on tensors that have shapes but no memory, and the step is walked through: forward, loss,
backward layer by layer, update. What is counted is tensors; an allocator needs some more.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from yaongi.model.count import block_memory, block_params, count, table_params
from yaongi.model.layer import LayerMemory, Workload
from yaongi.model.lm import LM, LMConfig
from yaongi.ops.cross_entropy.chunked import chunk_tokens
from yaongi.train.optim import OptimizerConfig
from yaongi.train.optim.build import build_optimizer
from yaongi.train.optim.groups import Role, members

WEIGHT_BYTES = 4
"""Weights and gradients are float32 in every precision (``precision.py``)."""


@dataclass(frozen=True)
class OptimizerMemory:
    """Bytes an optimizer keeps between steps, and further bytes in use during one.

    Attributes:
        tables: the part of the state that belongs to Engram's tables.
    """

    state: int
    scratch: int
    tables: int = 0


@dataclass(frozen=True)
class StepMemory:
    """Bytes of one training step; ``peak`` is of the worst ``moment``, not the sum of the rest.

    Attributes:
        gradients: all of them, as they are when the optimizer steps.
        activations: kept by the forward pass for the backward pass.
        moment: ``loss``, ``backward`` or ``update``.
        host: of weights, gradients and optimizer, the part in host memory; not in ``peak``.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int
    peak: int
    moment: str
    host: int = 0


def step_memory(
    cfg: LMConfig,
    optimizer: OptimizerMemory,
    work: Workload,
    *,
    micro_batches: int = 1,
    checkpoint: bool = False,
    tables_on_host: bool = False,
) -> StepMemory:
    """The memory of an optimizer step whose micro-batches are ``work``.

    Args:
        micro_batches: with several, all gradients are there from the second one on.
        checkpoint: layers are recomputed in the backward pass; each keeps only its input.
        tables_on_host: Engram's tables, their gradients and moments are not on the device.
    """
    tables = WEIGHT_BYTES * table_params(cfg)
    dense = WEIGHT_BYTES * count(cfg).params_total - tables
    sparse = cfg.engram.gradient_bytes(work.tokens * micro_batches) if cfg.engram else 0
    whole = StepMemory(dense + tables, dense + sparse, optimizer.state, 0, 0, "")
    host = tables + sparse + optimizer.tables if tables_on_host else 0
    fixed = dense + tables + optimizer.state - host
    gradients = dense + sparse - (sparse if tables_on_host else 0)
    blocks = block_memory(cfg, work)
    activations, moments = _moments(cfg, work, blocks, gradients, micro_batches > 1, checkpoint)
    moments["update"] = gradients + optimizer.scratch
    moment = max(moments, key=lambda name: moments[name])
    peak = fixed + moments[moment]
    return replace(whole, activations=activations, peak=peak, moment=moment, host=host)


def _moments(
    cfg: LMConfig,
    work: Workload,
    blocks: list[LayerMemory],
    gradients: int,
    accumulate: bool,
    checkpoint: bool,
) -> tuple[int, dict[str, int]]:
    """(activations kept, moment -> bytes then) without weights and optimizer."""
    head = WEIGHT_BYTES * cfg.vocab_size * cfg.d_model
    stream = work.tokens * cfg.d_model * work.width
    own = [WEIGHT_BYTES * n for n in block_params(cfg)]
    kept = [stream if checkpoint else block.kept for block in blocks]
    activations = sum(kept) + stream  # the final norm keeps the stream, too
    before = gradients if accumulate else 0
    loss = before + activations + 2 * stream + head + _loss_scratch(cfg, work)
    arrived = head  # gradients of this pass so far, from the head down
    backward = before + activations + 2 * stream + head + arrived
    left = activations - stream
    for block, here, weights in zip(reversed(blocks), reversed(kept), reversed(own), strict=True):
        arrived = weights if accumulate else arrived + weights
        again = block.kept if checkpoint else 0
        backward = max(backward, before + arrived + left + again + block.scratch)
        left -= here
    # the embedding's own gradient comes last, beside the head's when they are tied
    embedding = head if accumulate or not cfg.tied else arrived + head
    return activations, {"loss": loss, "backward": max(backward, before + embedding + stream)}


def _loss_scratch(cfg: LMConfig, work: Workload) -> int:
    """Logits and their exponentials of one chunk of tokens, and what autocast copies."""
    device = "cpu" if work.blocked else "cuda"
    logits = chunk_tokens(device, work.tokens, cfg.vocab_size) * cfg.vocab_size
    if work.width == 4:
        return 4 * logits
    copies = 2 * work.width * cfg.vocab_size * cfg.d_model  # of the weight, and its gradient
    return (4 + 2 * work.width) * logits + copies


def optimizer_memory(optimizer: OptimizerConfig, cfg: LMConfig) -> OptimizerMemory:
    """Measured: one step of the real optimizer on weights without memory.

    Engram's tables get no gradient there; row-wise Adam keeps two numbers of each weight and a
    clock of each row.
    """
    with FakeTensorMode(), _LiveBytes() as live:
        model = LM(cfg)  # on a fake CPU: fused optimizers refuse the meta device
        found = members(model)
        for member in found:
            if member.role is not Role.TABLE:
                member.param.grad = torch.empty_like(member.param)
        stepper = build_optimizer(optimizer, model)
        before = live.reset_peak()
        stepper.step()
        after = live.now
    rows = [m.param for m in found if m.role is Role.TABLE]
    tables = sum(2 * p.nbytes + 4 * len(p) for p in rows)
    return OptimizerMemory(after - before + tables, live.peak - after, tables)


class _LiveBytes(TorchDispatchMode):
    """Counts the bytes of storages made inside it and still alive."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._seen: set[int] = set()

    def reset_peak(self) -> int:
        """Begin the search for the peak anew; returns the bytes alive."""
        self.peak = self.now
        return self.now

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                self._watch(tensor.untyped_storage())
        return out

    def _watch(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._seen:
            return
        self._seen.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.now -= size
