"""The settings of GRPO, with those of Dr. GRPO and DAPO as variants.

Shao et al. 2024 (arXiv:2402.03300), Liu et al. 2025 (arXiv:2503.20783), Yu et al. 2025
(arXiv:2503.14476).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from yaongi.core.errors import ConfigError
from yaongi.train.optim import OptimizerChoice
from yaongi.train.optim.adamw import AdamW
from yaongi.train.precision import CompileChoice
from yaongi.train.run import TrainConfig
from yaongi.tune.advantages import Average
from yaongi.tune.rewards import RewardChoice

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
