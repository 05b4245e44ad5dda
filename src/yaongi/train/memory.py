"""How many bytes of tensors a training step needs at its worst moment, before it is run.

Layers say what they keep for the backward pass (``LayerConfig.memory``), the optimizer takes one
step on tensors that have shapes but no memory, and the step is walked through: forward, loss,
backward layer by layer, update. What is counted is tensors; an allocator needs some more.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from yaongi.model.count import block_memory, block_params, count
from yaongi.model.layer import Workload
from yaongi.model.lm import LM, LMConfig
from yaongi.ops.cross_entropy.chunked import chunk_tokens
from yaongi.train.optim import OptimizerConfig

WEIGHT_BYTES = 4
"""Weights and gradients are float32 in every precision (``precision.py``)."""


@dataclass(frozen=True)
class OptimizerMemory:
    """Bytes an optimizer keeps between steps, and further bytes in use during one."""

    state: int
    scratch: int


@dataclass(frozen=True)
class StepMemory:
    """Bytes of one training step; ``peak`` is of the worst ``moment``, not the sum of the rest.

    Attributes:
        activations: kept by the forward pass for the backward pass.
        moment: ``loss``, ``backward`` or ``update``.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int
    peak: int
    moment: str


def step_memory(
    cfg: LMConfig,
    optimizer: OptimizerMemory,
    work: Workload,
    *,
    accumulate: bool = False,
    checkpoint: bool = False,
) -> StepMemory:
    """The memory of an optimizer step whose micro-batches are ``work``.

    Args:
        accumulate: there are several micro-batches, so that all gradients are there from the
            second one on.
        checkpoint: layers are recomputed in the backward pass; each keeps only its input.
    """
    total = WEIGHT_BYTES * count(cfg).params_total
    head = WEIGHT_BYTES * cfg.vocab_size * cfg.d_model
    stream = work.tokens * cfg.d_model * work.width
    own = [WEIGHT_BYTES * n for n in block_params(cfg)]
    blocks = block_memory(cfg, work)
    kept = [stream if checkpoint else block.kept for block in blocks]
    activations = sum(kept) + stream  # the final norm keeps the stream, too
    fixed = total + optimizer.state + (total if accumulate else 0)

    moments = {"update": total + optimizer.state + total + optimizer.scratch}
    moments["loss"] = fixed + activations + 2 * stream + head + _loss_scratch(cfg, work)
    arrived = head  # gradients of this pass so far, from the head down
    moments["backward"] = fixed + activations + 2 * stream + head + arrived
    left = activations - stream
    for block, here, weights in zip(reversed(blocks), reversed(kept), reversed(own), strict=True):
        arrived = weights if accumulate else arrived + weights
        again = block.kept if checkpoint else 0
        now = fixed + arrived + left + again + block.scratch
        moments["backward"] = max(moments["backward"], now)
        left -= here
    # the embedding's own gradient comes last, beside the head's when they are tied
    embedding = head if accumulate or not cfg.tied else arrived + head
    moments["backward"] = max(moments["backward"], fixed + embedding + stream)
    moment = max(moments, key=lambda name: moments[name])
    return StepMemory(total, total, optimizer.state, activations, moments[moment], moment)


def _loss_scratch(cfg: LMConfig, work: Workload) -> int:
    """Logits and their exponentials of one chunk of tokens, and what autocast copies."""
    device = "cpu" if work.blocked else "cuda"
    logits = chunk_tokens(device, work.tokens, cfg.vocab_size) * cfg.vocab_size
    if work.width == 4:
        return 4 * logits
    copies = 2 * work.width * cfg.vocab_size * cfg.d_model  # of the weight, and its gradient
    return (4 + 2 * work.width) * logits + copies


def optimizer_memory(optimizer: OptimizerConfig, cfg: LMConfig) -> OptimizerMemory:
    """Measured: one step of the real optimizer on weights without memory."""
    with FakeTensorMode(), _LiveBytes() as live:
        model = LM(cfg)  # on a fake CPU: fused optimizers refuse the meta device
        for parameter in model.parameters():
            parameter.grad = torch.empty_like(parameter)
        stepper = optimizer.build(model)
        before = live.reset_peak()
        stepper.step()
        after = live.now
    return OptimizerMemory(after - before, live.peak - after)


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

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
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
