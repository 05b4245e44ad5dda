"""GRPO: a model learns from rewards of its own answers, each compared with others to its prompt.

Shao et al. 2024 (DeepSeekMath, arXiv:2402.03300), with the changes of Dr. GRPO (arXiv:2503.20783)
and DAPO (arXiv:2503.14476) as settings. One loop: a phase that samples (``rollouts``) stands where
other trainings read their data, and the loss is one more objective.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from yaongi.core.artifact import Artifact, draft, existing, open_artifact
from yaongi.core.errors import ArtifactError
from yaongi.core.seeds import Seed
from yaongi.infer.rules import never_said
from yaongi.model.io import load_model, save_model
from yaongi.model.lm import LM
from yaongi.ops.backend import choose_device
from yaongi.text.foreign import AnyTokenizer, load_tokenizer, save_tokenizer
from yaongi.train.loop import Step
from yaongi.train.precision import choose_precision
from yaongi.train.run import Probes, finish, recover, run_training
from yaongi.tune.grpo_config import GRPOConfig
from yaongi.tune.policy_batches import RolloutBatches
from yaongi.tune.policy_gradient import policy_gradient
from yaongi.tune.prompts import Prompts
from yaongi.tune.rewards.process import RewardProcess
from yaongi.tune.rollouts import Sampler

__all__ = ["GRPOConfig", "grpo"]

KIND = "grpo"


def grpo(
    cfg: GRPOConfig,
    base: Artifact,
    prompts: Prompts,
    out: str | Path,
    *,
    seed: int = 0,
    probes: Probes | None = None,
    on_step: Callable[[Step], None] | None = None,
    replay: Artifact | None = None,
) -> Artifact:
    """Train ``base`` by reinforcement; continue where an interrupted run stopped.

    Args:
        base: a model folder that answers, usually a fine-tuned one.
        prompts: what to ask, see ``corpus_prompts`` and ``file_prompts``.
        probes, on_step: as in ``pretrain``.
        replay: a finished run of the same settings; its rollouts are learnt from instead of
            sampling, which repeats its updates.
    Returns: the ``grpo`` artifact at ``out``, a model folder with ``rollouts/``.
    Raises:
        RewardError: a reward gave no number.
        CapabilityError: a reward cannot work here.
        DataError: no prompt leaves room for an answer.
        CheckpointError, NumericsError, StorageError, KeyboardInterrupt: see ``run_training``.
    """
    made: dict[str, Any] = {
        "config": cfg.as_json(),
        "parents": [base, prompts.parent],
        "seed": seed,
    }
    if found := existing(out, KIND, **made):
        return found
    if replay is not None:
        _check_replay(replay, made)
    for reward in cfg.rewards:
        reward.check()
    tokenizer = load_tokenizer(base.path)
    fitting = prompts.fitting(tokenizer, cfg.seq_len - cfg.max_tokens)
    with draft(out, KIND, **made, resumable=True) as work, ExitStack() as stack:
        recover(work)
        model = load_model(base.path, dtype=torch.float32, verify=True)
        reference = _reference(base, cfg)
        judges = [stack.enter_context(RewardProcess(reward)) for reward in cfg.rewards]
        sampler = _sampler(cfg, tokenizer, fitting, judges, Seed(seed).split("grpo"))
        source, planned = work.path, cfg
        if replay is not None:  # as many steps as there were, whatever time they take now
            steps = replay.manifest.counts["steps"]
            source, planned = replay.path, cfg.model_copy(update={"steps": steps, "minutes": None})
        batches = RolloutBatches(cfg, model, sampler, work.path, source)
        run = run_training(
            model,
            batches,
            policy_gradient(cfg, reference, ~never_said(tokenizer, model.cfg.vocab_size)),
            planned,
            work,
            probes=probes,
            on_step=on_step,
            cycle=cfg.steps_per_rollout,
        )
        save_model(model, work.path)
        save_tokenizer(base.path, work.path)
        return finish(
            work,
            counts={
                "steps": run.step,
                "tokens": run.tokens,
                "rollouts": -(-run.step // cfg.steps_per_rollout),
                "prompts": len(fitting.rows),
                "prompts_too_long": len(prompts.rows) - len(fitting.rows),
            },
            metrics={**run.metrics, "training_s": round(run.seconds, 1)},
            hardware=run.machine,
        )


def _check_replay(replay: Artifact, made: Mapping[str, Any]) -> None:
    found = open_artifact(replay.path, KIND).manifest
    parents = [parent.hash for parent in made["parents"]]
    same = (found.config, found.seed, [p.hash for p in found.parents]) == (
        made["config"],
        made["seed"],
        parents,
    )
    if not same:
        raise ArtifactError(
            "{path} is a run of other settings, another model or other prompts, so its rollouts "
            "cannot be replayed here.",
            path=replay.path,
        )


def _reference(base: Artifact, cfg: GRPOConfig) -> LM | None:
    """The model to stay near, frozen; None where nothing asks for it."""
    if not cfg.kl:
        return None
    found = load_model(base.path, dtype=torch.float32, device=choose_device(cfg.device))
    return found.requires_grad_(False)


def _sampler(
    cfg: GRPOConfig,
    tokenizer: AnyTokenizer,
    prompts: Prompts,
    judges: Sequence[RewardProcess],
    seed: Seed,
) -> Sampler:
    precision = choose_precision(cfg.precision, choose_device(cfg.device))
    return Sampler(
        tokenizer,
        prompts,
        judges,
        seed,
        prompts=cfg.prompts,
        group_size=cfg.group_size,
        rounds=cfg.sampling_rounds,
        max_tokens=cfg.max_tokens,
        overlong=cfg.overlong,
        scale_by_std=cfg.scale_by_std,
        max_rows=cfg.rollout_rows,
        autocast=precision.autocast,
    )
