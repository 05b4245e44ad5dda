"""Supervised fine-tuning: a base model and conversations in, a model to talk to out.

All weights learn, and only from what the assistant says (Ouyang et al. 2022, arXiv:2203.02155,
section 3.5). Whole conversations share rows, with resets between them, so packing changes the
cost and not the loss.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pydantic import Field

from yaongi.core.artifact import Artifact, draft, existing
from yaongi.core.seeds import Seed
from yaongi.data.batches import PackedConversations
from yaongi.data.origin import check_tokenizer
from yaongi.infer.generate import check_fits
from yaongi.model.io import load_config, load_model, save_model
from yaongi.text.foreign import AnyTokenizer, load_tokenizer, save_tokenizer
from yaongi.train.loop import Step
from yaongi.train.objectives import next_token
from yaongi.train.optim import OptimizerChoice
from yaongi.train.optim.adamw import AdamW
from yaongi.train.run import Probes, finish, recover, run_training
from yaongi.tune.epochs import EpochsConfig

KIND = "sft"


class SFTConfig(EpochsConfig):
    """Settings of fine-tuning: those of every training, and how to read the conversations.

    Two passes over them when no budget is given.
    """

    DEFAULT_EPOCHS = 2.0

    optimizer: OptimizerChoice = Field(default_factory=lambda: AdamW(lr=3e-4))


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
    _tokenizer, batches = open_conversations(cfg, base, shards, seed)
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


def open_conversations(
    cfg: SFTConfig, base: Artifact, shards: Artifact, seed: int
) -> tuple[AnyTokenizer, PackedConversations]:
    """The tokenizer of ``base``, and the conversations in the order that ``seed`` says.

    Raises:
        DataError: the shards were made with another tokenizer, or no conversation fits.
        TokenizerError: the base has no tokenizer, or one with more ids than the model.
    """
    check_tokenizer(base, shards)
    tokenizer = load_tokenizer(base.path)
    check_fits(tokenizer, load_config(base.path).vocab_size)
    return tokenizer, PackedConversations(
        shards,
        cfg.batch_rows,
        cfg.seq_len,
        Seed(seed).split("sft", "data"),
        domains=cfg.domains,
        truncate=cfg.truncate,
    )
