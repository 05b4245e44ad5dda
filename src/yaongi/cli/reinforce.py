"""The road's stage of reinforcement learning: where its prompts come from, and the run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import fmean

import click
from pydantic import model_validator

from yaongi.core.artifact import Artifact
from yaongi.core.config import Config, data_root
from yaongi.core.errors import ConfigError
from yaongi.core.i18n import translate as _
from yaongi.core.runlog import read_metrics
from yaongi.core.seeds import Seed
from yaongi.data.corpus import CorpusConfig, Progress, build_corpus
from yaongi.train.loop import Step
from yaongi.tune.grpo import GRPOConfig, grpo
from yaongi.tune.prompts import Prompts, corpus_prompts, file_prompts

MOSTLY_EQUAL = 0.9
"""Share of groups without a difference from which on a run comes with a warning."""


class Reinforcing(Config):
    """GRPO: what is asked, and how the model learns from its answers.

    Attributes:
        data: a corpus of conversations, asked without their last answers; or
        prompts: a file of rows with ``prompt`` or ``messages``, below the data folder.
        domains: of the corpus; None takes all.
    """

    data: CorpusConfig | None = None
    prompts: str | None = None
    domains: tuple[str, ...] | None = None
    train: GRPOConfig

    @model_validator(mode="after")
    def _one_source(self) -> Reinforcing:
        if (self.data is None) == (self.prompts is None):
            raise ConfigError("give one of data (a corpus) and prompts (a file) to ask from")
        return self


def reinforce(
    cfg: Reinforcing,
    model: Artifact,
    out: Path,
    corpus: Path,
    seed: int,
    on_progress: Progress,
    on_step: Callable[[Step], None],
) -> Artifact:
    """Run the stage on ``model``; a corpus of prompts goes to the folder ``corpus``."""
    prompts = _prompts(cfg, corpus, Seed(seed).split("prompts"), on_progress)
    return grpo(cfg.train, model, prompts, out, seed=seed, on_step=on_step)


def tell_equal(made: Artifact) -> None:
    """A warning where next to nothing could be learnt, since answers to a prompt got the same
    reward."""
    shares = [line["groups_equal"] for line in read_metrics(made.path) if "groups_equal" in line]
    if not shares or (share := fmean(shares)) < MOSTLY_EQUAL:
        return
    told = _(
        "! In {share:.0%} of the groups all answers got the same reward, so next to nothing was "
        "learnt. Look at {path}: give prompts that the model sometimes gets right, a reward that "
        "tells its answers apart, a larger group_size, or train it more before (sft)."
    )
    click.echo(told.format(share=share, path=made.path / "rollouts"), err=True)


def _prompts(cfg: Reinforcing, folder: Path, seed: Seed, on_progress: Progress) -> Prompts:
    if cfg.data is None:
        assert cfg.prompts is not None
        return file_prompts(cfg.prompts, data_root().absolute())
    return corpus_prompts(
        build_corpus(cfg.data, folder, seed, on_progress=on_progress), cfg.domains
    )
