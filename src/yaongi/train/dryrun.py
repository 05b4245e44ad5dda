"""Does a recipe's training work at all? Found out in seconds, without data and without its size.

The whole model is built on the meta device, where tensors have shapes but no memory, and its
parameters are counted and sorted for the optimizer; then a narrow copy of the same layers takes a
real optimizer step on random tokens.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from yaongi.data.batches import Batch
from yaongi.model.lm import LM
from yaongi.model.shrink import shrink
from yaongi.train.loop import train_steps
from yaongi.train.objectives import next_token
from yaongi.train.optim.build import build_optimizer
from yaongi.train.optim.groups import members
from yaongi.train.precision import choose_precision
from yaongi.train.pretrain import PretrainConfig

ROWS, LENGTH = 2, 48


@dataclass(frozen=True)
class DryRun:
    """What was found.

    Attributes:
        params_built: parameters of the whole model, counted in the module.
        roles: what they are to the optimizer -> how many.
        small_params, loss, grad_norm: of the narrow copy and its step.
    """

    params_built: int
    roles: dict[str, int]
    optimizer: str
    small_params: int
    loss: float
    grad_norm: float
    seconds: float


def dry_run(cfg: PretrainConfig) -> DryRun:
    """Build all of it, then run a step of a small copy, in float32 on the CPU.

    Raises:
        NumericsError: the step's loss or gradient is not finite.
    """
    start = time.perf_counter()
    with torch.device("meta"):
        found = members(LM(cfg.model))
    roles = Counter[str]()
    for member in found:
        roles[str(member.role)] += member.param.numel()
    changes = {"batch_tokens": ROWS * LENGTH, "seq_len": LENGTH, "micro_batch": 1}
    small = cfg.model_copy(update={**changes, "model": shrink(cfg.model)})
    model = LM(small.model)
    step = next(
        train_steps(
            model,
            build_optimizer(small.optimizer, model),
            RandomRows(small),
            partial(next_token, checkpoint=small.checkpoint_activations),
            small,
            steps=1,
            precision=choose_precision("fp32", torch.device("cpu")),
        )
    )
    return DryRun(
        params_built=roles.total(),
        roles=dict(roles),
        optimizer=cfg.optimizer.kind,
        small_params=sum(p.numel() for p in model.parameters()),
        loss=step.loss,
        grad_norm=step.metrics["grad_norm"],
        seconds=time.perf_counter() - start,
    )


class RandomRows:
    """Batches of random ids, each row a few documents, for trying a training without data."""

    def __init__(self, cfg: PretrainConfig, documents: int = 3) -> None:
        self.shape = cfg.batch_rows, cfg.seq_len
        self.vocab_size = cfg.model.vocab_size
        self.document_len = -(-cfg.seq_len // documents)

    def batch(self, step: int) -> Batch:
        """The batch of a step."""
        rows, length = self.shape
        ids = np.random.default_rng(step).integers(0, self.vocab_size, (rows, length + 1))
        docs = np.broadcast_to(np.arange(length) // self.document_len, self.shape)
        return Batch(
            ids=ids[:, :-1],
            targets=ids[:, 1:],
            weights=np.ones(self.shape, np.float32),
            doc_ids=docs.astype(np.int32),
            domains=np.zeros(rows, np.int64),
        )
