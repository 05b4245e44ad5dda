"""Supervised fine-tuning: a base model and conversations in, a model to talk to out.

All weights learn, and only from what the assistant says (Ouyang et al. 2022, arXiv:2203.02155,
section 3.5). Whole conversations share rows, with resets between them, so packing changes the
cost and not the loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field

from yaongi.core.artifact import Artifact, draft, existing
from yaongi.core.seeds import Seed
from yaongi.data.batches import PackedConversations
from yaongi.data.origin import check_tokenizer
from yaongi.infer.generate import check_fits
from yaongi.model.io import load_config, load_model, save_model
from yaongi.text.foreign import load_tokenizer, save_tokenizer
from yaongi.train.loop import Step
from yaongi.train.objectives import next_token
from yaongi.train.optim import OptimizerChoice
from yaongi.train.optim.adamw import AdamW
from yaongi.train.run import Probes, TrainConfig, finish, recover, run_training

KIND = "sft"
DEFAULT_EPOCHS = 2.0


class SFTConfig(TrainConfig):
    """Settings of fine-tuning: those of every training, and how to read the conversations.

    Attributes:
        epochs: the budget as passes over the conversations, instead of steps, tokens or
            minutes; two when none of them is given.
        domains: which domains of the shards; None takes all.
        truncate: cut conversations longer than seq_len instead of leaving them out.
    """

    optimizer: OptimizerChoice = Field(default_factory=lambda: AdamW(lr=3e-4))
    epochs: Annotated[float, Field(gt=0)] | None = None
    domains: tuple[str, ...] | None = None
    truncate: bool = False

    def steps_of(self, batches: PackedConversations) -> int | None:
        """The number of steps, where the budget is in epochs."""
        if any(budget is not None for budget in (self.steps, self.tokens, self.minutes)):
            return None
        rows = (self.epochs or DEFAULT_EPOCHS) * batches.rows_per_epoch
        return max(1, math.ceil(rows / batches.batch_rows))


def sft(
    cfg: SFTConfig,
    base: Artifact,
    shards: Artifact,
    out: str | Path,
    *,
    seed: int = 0,
    probes: Probes | None = None,
    on_step: Callable[[Step], None] | None = None,
) -> Artifact:
    """Fine-tune ``base``; continue where an interrupted run stopped.

    Args:
        base: a ``base`` artifact, or an ``sft`` one to go on from.
        shards: conversations, encoded with the tokenizer of ``base``.
        probes, on_step: as in ``pretrain``.
    Returns: the ``sft`` artifact at ``out``, a model folder like that of ``base``. Its counts
        say how many conversations were used, and how many were too long.
    Raises:
        DataError: the shards were made with another tokenizer, or no conversation fits.
        TokenizerError: the base has no tokenizer, or one with more ids than the model.
        CheckpointError, NumericsError, StorageError, KeyboardInterrupt: see ``run_training``.
    """
    made: dict[str, Any] = {"config": cfg.as_json(), "parents": [base, shards], "seed": seed}
    if found := existing(out, KIND, **made):
        return found
    check_tokenizer(base, shards)
    check_fits(load_tokenizer(base.path), load_config(base.path).vocab_size)
    batches = PackedConversations(
        shards,
        cfg.batch_rows,
        cfg.seq_len,
        Seed(seed).split("sft", "data"),
        domains=cfg.domains,
        truncate=cfg.truncate,
    )
    with draft(out, KIND, **made, resumable=True) as work:
        recover(work)
        # an imported base may be in half precision; training keeps its master weights in fp32
        model = load_model(base.path, dtype=torch.float32, verify=True)
        steps = cfg.steps_of(batches)
        run = run_training(
            model, batches, next_token, cfg, work, steps=steps, probes=probes, on_step=on_step
        )
        save_model(model, work.path)
        save_tokenizer(base.path, work.path)
        return finish(
            work,
            counts={
                "steps": run.step,
                "tokens": run.tokens,
                "epochs": round(batches.epochs(run.step), 3),
                "packing": vars(batches.report),
            },
            metrics={**run.metrics, "training_s": round(run.seconds, 1)},
            hardware=run.machine,
        )
