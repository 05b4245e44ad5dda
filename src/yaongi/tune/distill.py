"""Distillation: a student learns what a teacher expects next, and not only what did come next.

Hinton et al. 2015 (arXiv:1503.02531), on text from the first step or on conversations, with the
divergences of Agarwal et al. 2024 (arXiv:2306.13649, section 3) on given text. The teacher is any
model with the same tokenizer; it is asked step by step, or beforehand (``teacher.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, model_validator

from yaongi.core.artifact import Artifact, draft, existing
from yaongi.core.errors import ConfigError
from yaongi.core.licences import copy_legal
from yaongi.core.seeds import Seed
from yaongi.data.batches import MixedBatches, PackedConversations
from yaongi.data.origin import check_tokenizer
from yaongi.infer.generate import check_fits
from yaongi.model.count import count
from yaongi.model.io import load_config, load_model, save_model
from yaongi.model.lm import LM, LMConfig
from yaongi.ops.backend import choose_device
from yaongi.ops.distillation import Rules
from yaongi.text.canonical import canonical_ids
from yaongi.text.foreign import (
    FILES,
    GENERATION,
    AnyTokenizer,
    copy_files,
    load_tokenizer,
    save_tokenizer,
)
from yaongi.text.same import check_same_tokenizer
from yaongi.text.tokenizer import Tokenizer
from yaongi.train.loop import Step
from yaongi.train.optim import OptimizerChoice
from yaongi.train.optim.muon import Muon
from yaongi.train.precision import choose_precision
from yaongi.train.pretrain import ModelChoice
from yaongi.train.run import Probes, Progress, finish, recover, run_training
from yaongi.tune.distill_objective import Distillation
from yaongi.tune.sft import SFTConfig
from yaongi.tune.teacher import (
    CachedTeacher,
    CacheSettings,
    cache_teacher,
    check_teacher,
    load_teacher,
)

BETA = {"forward": 0.0, "reverse": 1.0}


class DistillConfig(SFTConfig):
    """Settings of distillation: those of fine-tuning, and how to learn from the teacher.

    Attributes:
        model: shape of a student from nothing; None where there is one already.
        divergence: ``forward`` KL covers all the teacher does, ``reverse`` KL keeps to what it
            does most, ``jsd`` lies between them.
        beta: where ``jsd`` lies: near 0 like forward, near 1 like reverse.
        temperature: of both models in the soft loss.
        soft: share of the teacher in the loss; the text itself has the rest.
        top_k: ask the teacher beforehand and keep its k likeliest ids on disk; None has it at hand.
    """

    optimizer: OptimizerChoice = Field(default_factory=Muon)
    model: ModelChoice | None = None
    divergence: Literal["forward", "reverse", "jsd"] = "forward"
    beta: Annotated[float, Field(gt=0, lt=1)] = 0.5
    temperature: Annotated[float, Field(gt=0)] = 1.0
    soft: Annotated[float, Field(gt=0, le=1)] = 0.5
    top_k: Annotated[int, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _known_beforehand(self) -> DistillConfig:
        if self.top_k is not None and self.minutes is not None:
            raise ConfigError(
                "with top_k the teacher is asked before training, so the number of steps must be "
                "known: give steps, tokens or epochs instead of minutes"
            )
        return self

    @property
    def rules(self) -> Rules:
        """What is minimised."""
        return Rules(BETA.get(self.divergence, self.beta), self.temperature, self.soft)


def distill(
    cfg: DistillConfig,
    teacher: Artifact,
    shards: Artifact,
    out: str | Path,
    *,
    student: Artifact | None = None,
    mix: Mapping[str, float] | None = None,
    seed: int = 0,
    probes: Probes | None = None,
    on_step: Callable[[Step], None] | None = None,
) -> Artifact:
    """Train a student on text and on its teacher; continue where an interrupted run stopped.

    Args:
        teacher: any model folder with the student's tokenizer, ours or imported.
        student: the model to go on from; None begins with ``cfg.model`` from nothing.
        mix: domain -> share of the tokens, for rows of text as in pretraining; None learns from
            conversations, packed, and only from what the assistant says.
        probes, on_step: as in ``pretrain``.
    Returns: a ``base`` artifact at ``out``, or an ``sft`` one where it learnt from conversations.
        With ``top_k`` what the teacher said stays beside it in ``teacher-HASH``, for the next run
        that reads the same text in the same order.
    Raises:
        TokenizerError: teacher and student have different tokenizers.
        DataError: the teacher learnt on shorter sequences; the shards are of another tokenizer;
            nothing fits.
        ConfigError: no student, or two; settings that do not go with text or with conversations.
        CheckpointError, NumericsError, StorageError, KeyboardInterrupt: see ``run_training``.
    """
    out = Path(out)
    parents = [*([student] if student else []), shards, teacher]
    kind = "sft" if mix is None else "base"
    config = {**cfg.as_json(), **({"mix": dict(mix)} if mix is not None else {})}
    made: dict[str, Any] = {"config": config, "parents": parents, "seed": seed}
    if found := existing(out, kind, **made):
        return found
    tokenizer = check_models(cfg, teacher, student)
    check_tokenizer(student or teacher, shards)
    # the same student, and the same text in the same order, as without a teacher
    seeds = Seed(seed).split("pretrain" if mix is not None else "sft")
    batches = _batches(cfg, shards, mix, seeds.split("data"))
    steps = _steps(cfg, batches)
    with draft(out, kind, **made, resumable=True) as work:
        recover(work)
        reading = {**_reading(cfg, mix), "seed": seed}
        source, objective = _teaching(
            cfg, teacher, shards, batches, steps, reading, tokenizer.vocab_size, out.parent
        )
        model = _student(cfg.model, student, tokenizer, seeds.split("init"))
        run = run_training(
            model, source, objective, cfg, work, steps=steps, probes=probes, on_step=on_step
        )
        save_model(model, work.path)
        _pass_on((student or teacher).path, work.path, converses=mix is None)
        return finish(
            work,
            counts=_counts(run, model.cfg, batches, mix),
            metrics={**run.metrics, "training_s": round(run.seconds, 1)},
            hardware=run.machine,
        )


def check_models(cfg: DistillConfig, teacher: Artifact, student: Artifact | None) -> AnyTokenizer:
    """Whether teacher and student go together; the tokenizer both have.

    Raises: see ``distill``.
    """
    if (student is None) == (cfg.model is None):
        raise ConfigError(
            "Distillation needs one student: distill.train.model for one from nothing, or --model "
            "DIR for one that has learnt already."
        )
    shape = cfg.model
    if student is not None:
        check_same_tokenizer(student.path, teacher.path)
        shape = load_config(student.path)
    assert shape is not None
    tokenizer = load_tokenizer(teacher.path)
    check_fits(tokenizer, shape.vocab_size)
    check_teacher(teacher, tokenizer.vocab_size, cfg.seq_len)
    cfg.optimizer.check(shape)
    return tokenizer


def _teaching(
    cfg: DistillConfig,
    teacher: Artifact,
    shards: Artifact,
    batches: MixedBatches | PackedConversations,
    steps: int | None,
    reading: dict[str, Any],
    n_ids: int,
    parent: Path,
) -> tuple[MixedBatches | PackedConversations | CachedTeacher, Distillation]:
    """The batches of the run and its objective: with the teacher at hand, or what it said."""
    precision = choose_precision(cfg.precision, choose_device(cfg.device))
    if cfg.top_k is None:
        return batches, Distillation(cfg.rules, n_ids, load_teacher(teacher, precision))
    assert steps is not None  # the settings see to it
    settings = CacheSettings(reading, steps, cfg.top_k, cfg.temperature, n_ids)
    cache = cache_teacher(
        settings, teacher, shards, batches, parent, precision, micro_batch=cfg.micro_batch
    )
    return CachedTeacher(cache, batches), Distillation(cfg.rules, n_ids)


def _batches(
    cfg: DistillConfig, shards: Artifact, mix: Mapping[str, float] | None, seed: Seed
) -> MixedBatches | PackedConversations:
    rows, length = cfg.batch_rows, cfg.seq_len
    if mix is None:
        return PackedConversations(
            shards, rows, length, seed, domains=cfg.domains, truncate=cfg.truncate
        )
    for name in ("epochs", "domains"):
        if getattr(cfg, name) is not None:
            raise ConfigError(
                "{name} is for conversations; text is read by its mix, for steps, tokens or "
                "minutes.",
                name=name,
            )
    return MixedBatches(shards, mix, rows, length, seed)


def _reading(cfg: DistillConfig, mix: Mapping[str, float] | None) -> dict[str, Any]:
    """What decides the batches, for the name of a cache."""
    what = {"domains": cfg.domains, "truncate": cfg.truncate} if mix is None else {"mix": dict(mix)}
    return {**what, "rows": cfg.batch_rows, "seq_len": cfg.seq_len}


def _steps(cfg: DistillConfig, batches: MixedBatches | PackedConversations) -> int | None:
    """The budget in steps; None where it has to be timed."""
    if isinstance(batches, PackedConversations) and (steps := cfg.steps_of(batches)):
        return steps
    if cfg.steps is None and cfg.tokens is None and cfg.minutes is None:
        raise ConfigError("give a budget: steps, tokens or minutes")
    if cfg.tokens is not None:
        return -(-cfg.tokens // cfg.batch_tokens)
    return cfg.steps


def _student(
    shape: LMConfig | None, student: Artifact | None, tokenizer: AnyTokenizer, seed: Seed
) -> LM:
    if shape is None:
        assert student is not None
        # an imported one may be in half precision; training keeps its master weights in fp32
        return load_model(student.path, dtype=torch.float32, verify=True)
    model = LM(shape)
    model.init_weights(seed.int63)
    if shape.engram is not None:
        if not isinstance(tokenizer, Tokenizer):
            raise ConfigError("A student with Engram needs a tokenizer of yaongi's.")
        model.set_canonical_ids(canonical_ids(tokenizer, shape.vocab_size))
    return model


def _pass_on(source: Path, folder: Path, *, converses: bool) -> None:
    """Put tokenizer, and the licence's own files, beside the weights."""
    if converses:
        save_tokenizer(source, folder)
    else:
        copy_files(source, folder, [*FILES, GENERATION])
    copy_legal(source, folder)


def _counts(
    run: Progress,
    model: LMConfig,
    batches: MixedBatches | PackedConversations,
    mix: Mapping[str, float] | None,
) -> dict[str, Any]:
    """For the manifest."""
    sizes = count(model)
    found = {
        "steps": run.step,
        "tokens": run.tokens,
        "parameters": sizes.params_total,
        "parameters_active": sizes.params_active,
        "epochs": batches.epochs(run.step),
    }
    if isinstance(batches, PackedConversations):
        return {**found, "packing": vars(batches.report)}
    return {**found, "mix": {"asked": dict(mix or {}), "reached": batches.reached(run.step)}}
