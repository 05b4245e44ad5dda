"""Fine-tuning with adapters: a base model and conversations in, a small adapter of it out.

The conversations, the loss and the loop are those of ``sft``; only the low-rank changes (and rows
of the embedding, where asked) have gradients, optimizer state and checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pydantic import Field

from yaongi.core.artifact import Artifact, draft, existing
from yaongi.core.licences import copy_legal
from yaongi.core.seeds import Seed
from yaongi.model.adapter_io import KIND, load_adapters, save_adapter
from yaongi.model.io import load_model, save_model
from yaongi.model.lora import AdapterConfig, adapter_tensors, add_adapters
from yaongi.model.merge import bake
from yaongi.text.foreign import AnyTokenizer, save_tokenizer
from yaongi.train.loop import Step
from yaongi.train.objectives import next_token
from yaongi.train.optim import OptimizerChoice
from yaongi.train.optim.adamw import AdamW
from yaongi.train.run import Probes, finish, recover, run_training
from yaongi.tune.sft import SFTConfig, open_conversations

MERGED = "merged"


class LoRAConfig(SFTConfig):
    """Settings of fine-tuning with adapters: those of ``sft``, and what the adapter is.

    The learning rate is about ten times that of training all weights, and nothing is decayed
    towards zero, which for an adapter is the base.
    """

    optimizer: OptimizerChoice = Field(default_factory=lambda: AdamW(lr=3e-3, weight_decay=0.0))
    adapter: AdapterConfig = AdapterConfig()


def lora(
    cfg: LoRAConfig,
    base: Artifact,
    shards: Artifact,
    out: str | Path,
    *,
    seed: int = 0,
    probes: Probes | None = None,
    on_step: Callable[[Step], None] | None = None,
) -> Artifact:
    """Train an adapter of ``base``; continue where an interrupted run stopped.

    Args:
        base: a model folder of any kind, which stays as it is.
        shards, probes, on_step: as in ``sft``.
    Returns: the ``adapter`` artifact at ``out``: adapter.safetensors, and adapter.json with its
        settings and the hash of the base's weights.
    Raises:
        ConfigError: a glob of ``adapter.targets`` matches nothing.
        DataError, TokenizerError, CheckpointError, NumericsError, StorageError,
        KeyboardInterrupt: as ``sft``.
    """
    made: dict[str, Any] = {"config": cfg.as_json(), "parents": [base, shards], "seed": seed}
    if found := existing(out, KIND, **made):
        return found
    tokenizer, batches = open_conversations(cfg, base, shards, seed)
    with draft(out, KIND, **made, resumable=True) as work:
        recover(work)
        model = load_model(base.path, dtype=torch.float32, verify=True)
        adapter = resolve(cfg.adapter, tokenizer)
        seeds = Seed(seed).split("lora")
        add_adapters(model, adapter, seed=seeds.split("init").int63)
        torch.manual_seed(seeds.split("dropout").int63)  # a resumed run has its own state back
        steps = cfg.steps_of(batches)
        run = run_training(
            model, batches, next_token, cfg, work, steps=steps, probes=probes, on_step=on_step
        )
        save_adapter(model, adapter, base.path, work.path)
        copy_legal(base.path, work.path)  # an adapter is made from its base
        return finish(
            work,
            counts={
                "steps": run.step,
                "tokens": run.tokens,
                "epochs": round(batches.epochs(run.step), 3),
                "parameters": sum(p.numel() for p in adapter_tensors(model).values()),
                "packing": vars(batches.report),
            },
            metrics={**run.metrics, "training_s": round(run.seconds, 1)},
            hardware=run.machine,
        )


def resolve(cfg: AdapterConfig, tokenizer: AnyTokenizer) -> AdapterConfig:
    """The settings with token ids in place of the word ``control``."""
    if cfg.embedding_rows != "control":
        return cfg
    return cfg.model_copy(update={"embedding_rows": tuple(sorted(tokenizer.control_ids))})


def merge_adapter(adapter: Artifact, base: Artifact, out: str | Path) -> Artifact:
    """A model folder that computes what ``base`` does with ``adapter``, with nothing to add.

    Its weights are float32 rounded once (see ``model.merge``); of an adapter that was trained on a
    base in 8 bits, they hold what those 8 bits said.

    Raises:
        ArtifactError: the adapter is of another base.
    """
    config = {"seq_len": adapter.manifest.config.get("seq_len")}
    made: dict[str, Any] = {"config": config, "parents": [base, adapter]}
    if found := existing(out, MERGED, **made):
        return found
    with draft(out, MERGED, **made) as work:
        model = load_model(base.path, dtype=torch.float32, verify=True)
        bake(model, load_adapters(model, base.path, [adapter.path])[0])
        save_model(model, work.path)
        save_tokenizer(base.path, work.path)
        copy_legal(base.path, work.path)
        return work.finish()
