"""GRPO: a model learns from rewards of its own answers, each compared with others to its prompt.

Shao et al. 2024 (DeepSeekMath, arXiv:2402.03300), with the changes of Dr. GRPO (arXiv:2503.20783)
and DAPO (arXiv:2503.14476) as settings. One loop: a phase that samples (``rollouts``) stands where
other trainings read their data, and the loss is one more objective.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from yaongi.core.artifact import Artifact, draft, existing, open_artifact
from yaongi.core.errors import ArtifactError, CheckpointError, ConfigError
from yaongi.core.seeds import Seed
from yaongi.infer.generate import never_said
from yaongi.model.io import load_model, save_model
from yaongi.model.lm import LM
from yaongi.ops.backend import choose_device
from yaongi.ops.cross_entropy.log_probs import linear_log_probs
from yaongi.text.foreign import AnyTokenizer, load_tokenizer, save_tokenizer
from yaongi.train.loop import Step
from yaongi.train.objectives import MicroBatch, Objective, Sums
from yaongi.train.optim import OptimizerChoice
from yaongi.train.optim.adamw import AdamW
from yaongi.train.precision import CompileChoice, choose_precision
from yaongi.train.run import Probes, TrainConfig, finish, recover, run_training
from yaongi.tune.advantages import Average, token_weights
from yaongi.tune.policy_losses import clipped_loss, kl_k3
from yaongi.tune.prompts import Prompts
from yaongi.tune.rewards import RewardChoice
from yaongi.tune.rewards.process import RewardProcess
from yaongi.tune.rollouts import (
    Rollout,
    Row,
    Sampler,
    fingerprint,
    read_rollout,
    write_rollout,
)

KIND = "grpo"

VARIANTS: dict[str, dict[str, Any]] = {
    "grpo": {},
    "dr_grpo": {"average": "constant", "scale_by_std": False, "kl": 0.0},
    "dapo": {"average": "token", "clip_high": 0.28, "kl": 0.0, "sampling_rounds": 8},
}
"""What each paper sets otherwise than GRPO; DAPO also a fifth of ``max_tokens`` as ``overlong``."""


class GRPOConfig(TrainConfig):
    """Settings of GRPO: those of every training, and how to sample, judge and compare.

    The budget is ``steps`` or ``minutes``. ``seq_len`` is the longest prompt with its completion.

    Attributes:
        variant: whose settings to begin with: grpo, dr_grpo or dapo. Those given win.
        rewards: what is rewarded; weighted and added.
        prompts: prompts of a rollout. group_size: completions of each.
        minibatches: parts a rollout is cut into, one optimizer step each.
        rollout_epochs: how often a rollout is learnt from.
        max_tokens: of a completion.
        average, scale_by_std: see ``advantages``.
        clip_low, clip_high: how far below and above 1 the ratio of a token's probabilities, now
            and when sampled, still teaches.
        kl: weight of the divergence from the starting model, which is kept beside the model
            unless this is 0.
        sampling_rounds: at most so often prompts are drawn until every group's rewards differ.
        overlong: tokens before ``max_tokens`` in which a completion is already penalised.
        rollout_rows: completions sampled at the same time.
    """

    optimizer: OptimizerChoice = Field(default_factory=lambda: AdamW(lr=2e-5, weight_decay=0.0))
    batch_tokens: Annotated[int, Field(ge=0)] = 0  # what is sampled decides it
    compile: CompileChoice = "off"  # rollouts differ in length, and every length compiles anew
    variant: Literal["grpo", "dr_grpo", "dapo"] = "grpo"
    rewards: Annotated[tuple[RewardChoice, ...], Field(min_length=1)]
    prompts: Annotated[int, Field(gt=0)] = 16
    group_size: Annotated[int, Field(gt=1)] = 8
    minibatches: Annotated[int, Field(gt=0)] = 1
    rollout_epochs: Annotated[int, Field(gt=0)] = 1
    max_tokens: Annotated[int, Field(gt=0)] = 256
    average: Average = "sequence"
    scale_by_std: bool = True
    clip_low: Annotated[float, Field(gt=0, lt=1)] = 0.2
    clip_high: Annotated[float, Field(gt=0)] = 0.2
    kl: Annotated[float, Field(ge=0)] = 0.04
    sampling_rounds: Annotated[int, Field(gt=0)] = 1
    overlong: Annotated[int, Field(ge=0)] = 0
    rollout_rows: Annotated[int, Field(gt=0)] = 64

    @model_validator(mode="before")
    @classmethod
    def _filled(cls, given: Any) -> Any:
        """The variant's settings where none are given; refuse what means nothing here."""
        if not isinstance(given, Mapping):
            return given
        if given.get("batch_tokens") or given.get("tokens"):
            raise ConfigError(
                "batch_tokens and tokens are no settings of grpo: how much a step reads depends "
                "on what is sampled. Set prompts, group_size and minibatches, and steps or minutes."
            )
        filled = {**VARIANTS.get(str(given.get("variant")), {}), **given}
        if filled.get("variant") == "dapo":
            filled.setdefault("overlong", int(filled.get("max_tokens", 256)) // 5)
        return filled

    @model_validator(mode="after")
    def _fit_together(self) -> GRPOConfig:
        if self.max_tokens >= self.seq_len:
            raise ConfigError(
                "max_tokens ({most}) leaves no room for a prompt in seq_len ({seq})",
                most=self.max_tokens,
                seq=self.seq_len,
            )
        if self.overlong > self.max_tokens:
            raise ConfigError(
                "overlong ({overlong}) is more than max_tokens ({most})",
                overlong=self.overlong,
                most=self.max_tokens,
            )
        if self.minibatches > self.prompts * self.group_size:
            raise ConfigError(
                "minibatches ({parts}) is more than the {rows} completions of a rollout",
                parts=self.minibatches,
                rows=self.prompts * self.group_size,
            )
        names = [reward.name for reward in self.rewards]
        if len(set(names)) < len(names):
            raise ConfigError("rewards: {names}: each may be there once", names=", ".join(names))
        if self.steps is None and self.minutes is None:
            raise ConfigError("give a budget: steps or minutes")
        return self

    @property
    def steps_per_rollout(self) -> int:
        """Optimizer steps that learn from the same rollout."""
        return self.minibatches * self.rollout_epochs


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
        source = work.path if replay is None else replay.path
        batches = RolloutBatches(cfg, model, sampler, work.path, source)
        run = run_training(
            model,
            batches,
            policy_gradient(cfg, reference, ~never_said(tokenizer, model.cfg.vocab_size)),
            cfg,
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


# --- batches ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class PolicyBatch:
    """Completions with their prompts, as rows (B,T); learnt are the completions' tokens.

    Attributes:
        extra: ``sampled`` (B,T), log-probabilities when sampled; ``scales`` (B,), what a token of
            the row counts; ``advantages`` (B,); and what is logged, ``log/NAME`` (B,).
    """

    ids: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    doc_ids: np.ndarray
    extra: dict[str, np.ndarray]


class RolloutBatches:
    """The batch of a step, sampled where the log does not have it yet.

    Args:
        model: samples; the same that is trained.
        folder: where rollouts are logged.
        source: where they are read from: ``folder``, or a finished run that is replayed.
    """

    def __init__(
        self, cfg: GRPOConfig, model: LM, sampler: Sampler, folder: Path, source: Path
    ) -> None:
        self.cfg, self.model, self.sampler = cfg, model, sampler
        self.folder, self.source = folder, source
        self.pad_id = sampler.tokenizer.pad_id
        self._current: Rollout | None = None

    def batch(self, step: int) -> PolicyBatch:
        """The batch of ``step`` (from 0).

        Raises:
            CheckpointError: the log of a rollout that was already learnt from is missing, or
                replaying comes to other weights than the run had.
        """
        number, part = divmod(step, self.cfg.steps_per_rollout)
        rollout = self._rollout(number, step, fresh=part == 0)
        epoch, minibatch = divmod(part, self.cfg.minibatches)
        seed = self.sampler.seed.split("minibatches", number, epoch)
        keys = seed.numpy().bit_generator.random_raw(len(rollout.rows))
        chosen = np.array_split(np.argsort(keys, kind="stable"), self.cfg.minibatches)[minibatch]
        rows = sorted((rollout.rows[i] for i in chosen), key=lambda r: len(r.prompt) + len(r.ids))
        return policy_batch(rows, rollout, self.cfg, self.pad_id)

    def _rollout(self, number: int, step: int, *, fresh: bool) -> Rollout:
        """Rollout ``number``; only with the weights it was sampled with is it made or made anew."""
        if self._current is not None and self._current.number == number and not fresh:
            return self._current
        found = read_rollout(self.source, number)
        replaying = self.source != self.folder
        if fresh and (found is None or found.weights != fingerprint(self.model)):
            if replaying:
                raise CheckpointError(
                    "Replaying {path} comes to other weights before step {step} than the run had: "
                    "another machine or version computes other last bits.",
                    path=self.source,
                    step=step + 1,
                )
            found = self.sampler.rollout(self.model, number, step)
            write_rollout(self.folder, found)
        elif found is None:
            raise CheckpointError(
                "The log of rollout {number} is missing in {path}, though steps were learnt from "
                "it. Remove the folder to start again.",
                number=number,
                path=self.source,
            )
        elif replaying:
            write_rollout(self.folder, found)
        self._current = found
        return found


def policy_batch(
    rows: Sequence[Row], rollout: Rollout, cfg: GRPOConfig, pad_id: int
) -> PolicyBatch:
    """Rows of a rollout as arrays, padded on the right with a document of its own.

    Without a divergence to hold down, a completion as good as its group teaches nothing: it counts
    in every mean, but is left out of what the model has to read.
    """
    lengths = np.array([len(row.ids) for row in rows])
    scales = token_weights(lengths, cfg.average, cfg.max_tokens)
    read = [i for i, row in enumerate(rows) if row.advantage or cfg.kl] or [0]
    kept = [rows[i] for i in read]
    longest = max(len(row.prompt) + len(row.ids) for row in kept) - 1
    shape = len(kept), longest
    tokens = np.full((len(kept), longest + 1), pad_id, dtype=np.int64)
    weights, sampled = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    doc_ids = np.ones(shape, np.int32)
    for i, row in enumerate(kept):
        begin, end = len(row.prompt), len(row.prompt) + len(row.ids)
        tokens[i, :end] = row.prompt + row.ids
        weights[i, begin - 1 : end - 1] = 1
        sampled[i, begin - 1 : end - 1] = row.logprobs
        doc_ids[i, : end - 1] = 0
    extra = {
        "sampled": sampled,
        # the loop divides by the tokens that were read
        "scales": (scales * lengths[read].sum())[read].astype(np.float32),
        "advantages": np.array([row.advantage for row in kept], np.float32),
        **{
            f"log/{name}": np.full(len(kept), value, np.float32)
            for name, value in _logged(rows, rollout).items()
        },
    }
    return PolicyBatch(tokens[:, :-1], tokens[:, 1:], weights, doc_ids, extra)


def _logged(rows: Sequence[Row], rollout: Rollout) -> dict[str, float]:
    """Numbers about the rows of a step, and about the whole rollout."""
    found: dict[str, Sequence[float]] = {
        "reward": [row.reward for row in rows],
        **{f"reward/{name}": [row.rewards[name] for row in rows] for name in rows[0].rewards},
        "completion_tokens": [len(row.ids) for row in rows],
        "unfinished": [row.finish != "stop" for row in rows],
    }
    return {name: float(np.mean(values)) for name, values in found.items()} | {
        "groups_equal": rollout.equal / rollout.asked,
        "reward_failures": rollout.failures / len(rollout.rows),
    }


# --- the loss --------------------------------------------------------------------------------


def policy_gradient(cfg: GRPOConfig, reference: LM | None, spoken: Tensor) -> Objective:
    """The objective of GRPO; logs the divergence from the reference and the share clipped.

    Args:
        reference: what to stay near, frozen; None where ``cfg.kl`` is 0.
        spoken: (V,) bool, the ids that can be sampled: the policy chooses among these alone.
    """

    def objective(model: LM, batch: MicroBatch, *, checkpoint: bool = False) -> Sums:
        used = int(batch.weights.any(0).nonzero().max()) + 1  # rows come sorted by length
        ids, doc_ids = batch.ids[:, :used], batch.doc_ids[:, :used]
        at = rows, _places = batch.weights[:, :used].nonzero(as_tuple=True)
        out = model(ids, doc_ids=doc_ids, checkpoint=checkpoint)
        logprobs = _log_probs(model, out.hidden[at], batch.targets[at], spoken)
        losses, clipped = clipped_loss(
            logprobs,
            batch.extra["sampled"][at],
            batch.extra["advantages"][rows],
            low=cfg.clip_low,
            high=cfg.clip_high,
        )
        told = {"clipped": clipped.float().sum(), "entropy": -logprobs.detach().sum()}
        if reference is not None:
            with torch.no_grad():
                hidden = reference(ids, doc_ids=doc_ids).hidden[at]
                near = _log_probs(reference, hidden, batch.targets[at], spoken)
            away = kl_k3(logprobs, near)
            losses = losses + cfg.kl * away
            told["kl"] = away.detach().sum()
        named = {k[4:]: v.mean() for k, v in batch.extra.items() if k.startswith("log/")}
        nll = (losses * batch.extra["scales"][rows]).sum()
        return Sums(nll, out.aux.loss, out.aux.expert_counts, named, told)

    return objective


def _log_probs(model: LM, hidden: Tensor, targets: Tensor, spoken: Tensor) -> Tensor:
    """(N,) log-probabilities of the targets (N,) among the spoken ids; hidden (N,D)."""
    spoken = spoken.to(hidden.device)
    places = spoken.cumsum(0) - 1
    return linear_log_probs(hidden, model.head_weight[spoken], places[targets])
