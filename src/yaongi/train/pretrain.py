"""Pretraining: shards and a tokenizer in, a base model out. The page to read.

A model of a given shape learns to predict the next token of a mix of domains. Everything that
training of any kind shares (resuming, logging, checkpoints) is in ``run.py``, the step itself in
``loop.py``.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, model_validator

from yaongi.core.artifact import MANIFEST, Artifact, draft, existing
from yaongi.core.errors import ConfigError, DataError
from yaongi.core.files import storage_errors
from yaongi.core.seeds import Seed
from yaongi.data.batches import MixedBatches
from yaongi.data.mix import DEFAULT_MIX
from yaongi.model.count import count
from yaongi.model.io import save_model
from yaongi.model.lm import LM, LMConfig
from yaongi.model.presets import preset_settings
from yaongi.text.canonical import canonical_ids
from yaongi.text.tokenizer import Tokenizer
from yaongi.train.loop import Step
from yaongi.train.objectives import next_token
from yaongi.train.run import Probes, Progress, TrainConfig, finish, recover, run_training


def _model(value: Any) -> Any:
    """``26m``, or ``{preset: 26m, tied: false}``, or all settings of a model."""
    if isinstance(value, str):
        value = {"preset": value}
    if not isinstance(value, Mapping) or "preset" not in value:
        return value
    changes = {k: v for k, v in value.items() if k != "preset"}
    return preset_settings(str(value["preset"]), **changes)


ModelChoice = Annotated[LMConfig, BeforeValidator(_model)]


class PretrainConfig(TrainConfig):
    """Settings of pretraining: those of every training, and the model's shape."""

    model: ModelChoice

    @model_validator(mode="after")
    def _has_a_budget(self) -> PretrainConfig:
        if self.steps is None and self.tokens is None and self.minutes is None:
            raise ConfigError("give a budget: steps, tokens or minutes")
        return self

    @model_validator(mode="after")
    def _optimizer_fits(self) -> PretrainConfig:
        self.optimizer.check(self.model)
        return self


def pretrain(
    cfg: PretrainConfig,
    shards: Artifact,
    tokenizer: Artifact,
    out: str | Path,
    *,
    mix: Mapping[str, float] | None = None,
    seed: int = 0,
    probes: Probes | None = None,
    on_step: Callable[[Step], None] | None = None,
) -> Artifact:
    """Train a model from nothing; continue where an interrupted run stopped.

    Args:
        mix: domain -> share of the tokens.
        probes: what to measure besides the loss, e.g. ``{"val_bpb/ko": ...}``.
        on_step: called after every optimizer step, for a progress bar.
    Returns: the ``base`` artifact at ``out``: model.safetensors, config.json, the tokenizer's
        files and metrics.jsonl.
    Raises:
        ConfigError: the model's vocabulary is smaller than the tokenizer's.
        DataError: a domain of the mix has no data, or the shards are of another tokenizer.
        CheckpointError, NumericsError, StorageError, KeyboardInterrupt: see ``run_training``.
    """
    mix = dict(mix or DEFAULT_MIX)
    made: dict[str, Any] = {
        "config": {**cfg.as_json(), "mix": mix},
        "parents": [shards, tokenizer],
        "seed": seed,
    }
    if found := existing(out, "base", **made):
        return found
    _check_inputs(cfg.model, shards, tokenizer)
    seeds = Seed(seed).split("pretrain")
    batches = MixedBatches(shards, mix, cfg.batch_rows, cfg.seq_len, seeds.split("data"))
    with draft(out, "base", **made, resumable=True) as work:
        recover(work)
        model = LM(cfg.model)
        model.init_weights(seeds.split("init").int63)
        if cfg.model.engram is not None:
            words = Tokenizer.load(tokenizer.path)
            model.set_canonical_ids(canonical_ids(words, cfg.model.vocab_size))
        run = run_training(model, batches, next_token, cfg, work, probes=probes, on_step=on_step)
        save_model(model, work.path)
        copy_tokenizer(tokenizer, work.path)
        return finish(
            work,
            counts=counts_of(run, model.cfg, batches, mix),
            metrics={**run.metrics, "training_s": round(run.seconds, 1)},
            hardware=run.machine,
        )


def counts_of(
    run: Progress, model: LMConfig, batches: MixedBatches, mix: Mapping[str, float]
) -> dict[str, Any]:
    """For the manifest: how long was learnt, how large the model is, what it has read."""
    sizes = count(model)
    return {
        "steps": run.step,
        "tokens": run.tokens,
        "parameters": sizes.params_total,
        "parameters_active": sizes.params_active,
        "mix": {"asked": mix, "reached": batches.reached(run.step)},
        "epochs": batches.epochs(run.step),
    }


def copy_tokenizer(tokenizer: Artifact, folder: Path) -> None:
    """Put the tokenizer's files beside the weights, so that the model folder is complete."""
    with storage_errors(folder):
        for name in tokenizer.manifest.files:
            if name != MANIFEST:
                shutil.copyfile(tokenizer.path / name, folder / name)


def _check_inputs(model: LMConfig, shards: Artifact, tokenizer: Artifact) -> None:
    used = [p.hash for p in shards.manifest.parents if p.kind == "tokenizer"]
    if tokenizer.hash not in used:
        raise DataError(
            "{shards} was not encoded with the tokenizer {tokenizer}. Make the shards again.",
            shards=shards.path,
            tokenizer=tokenizer.path,
        )
    size = shards.manifest.counts["vocab_size"]
    if model.vocab_size < size:
        raise ConfigError(
            "model.vocab_size is {found}, but the tokens come from a vocabulary of {size}: "
            "set model.vocab_size to {size}.",
            found=model.vocab_size,
            size=size,
        )
