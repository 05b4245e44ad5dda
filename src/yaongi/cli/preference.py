"""The stages of a recipe that read preferences: DPO and the reward model, each from its own data.

``Road`` says from which model they start and where the results go; this file wires the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from yaongi.cli.console import Report, stage
from yaongi.cli.conversations import told
from yaongi.core.artifact import Artifact
from yaongi.core.config import Config
from yaongi.core.i18n import translate as _
from yaongi.core.seeds import Seed
from yaongi.data.corpus import CorpusConfig, build_corpus
from yaongi.data.pairs import build_pairs
from yaongi.data.shards import ShardsConfig
from yaongi.train.loop import Step
from yaongi.tune.dpo import DPOConfig, dpo
from yaongi.tune.reward import RewardConfig, train_reward


class Preferring(Config):
    """The section ``dpo``: the pairs of answers it learns from, and how."""

    data: CorpusConfig
    train: DPOConfig = DPOConfig()


class Rewarding(Config):
    """The section ``reward``: the pairs a reward model learns from, and how."""

    data: CorpusConfig
    train: RewardConfig = RewardConfig()


@dataclass(frozen=True)
class Site:
    """What these stages share.

    Attributes:
        folder: the name of a stage -> where its result goes.
        tokenizer: the model's.
    """

    folder: Callable[[str], Path]
    shards: ShardsConfig
    tokenizer: Artifact
    seed: int


def make_dpo(cfg: Preferring, model: Artifact, site: Site) -> Artifact:
    """The model that prefers, from ``model``."""
    pairs = _pairs(cfg.data, "dpo", site)
    with stage(_("preference optimisation")) as report:
        return dpo(
            cfg.train,
            model,
            pairs,
            site.folder("dpo"),
            seed=site.seed,
            on_step=_watch(report),
            on_note=partial(report, None),
        )


def make_reward(cfg: Rewarding, model: Artifact, site: Site) -> Artifact:
    """The reward model, from ``model``."""
    pairs = _pairs(cfg.data, "reward", site)
    with stage(_("reward model")) as report:
        return train_reward(
            cfg.train,
            model,
            pairs,
            site.folder("reward"),
            seed=site.seed,
            on_step=_watch(report),
            on_note=partial(report, None),
        )


def _pairs(data: CorpusConfig, name: str, site: Site) -> Artifact:
    """The pairs of a section as tokens."""
    with told(site.folder(f"{name}-corpus")), stage(_("preferences")) as report:
        corpus = build_corpus(
            data,
            site.folder(f"{name}-corpus"),
            Seed(site.seed).split("preferences"),
            on_progress=report,
        )
        return build_pairs(
            site.shards,
            corpus,
            site.tokenizer,
            site.folder(f"{name}-pairs"),
            on_progress=report,
        )


def _watch(report: Report) -> Callable[[Step], None]:
    """Shows each step: loss, how often the chosen answer wins, and speed."""

    def on_step(step: Step) -> None:
        report(
            step.index / step.total,
            _("loss {loss:.3f} · {accuracy:.0%} right · {speed:,.0f} tok/s").format(
                loss=step.loss,
                accuracy=step.metrics["accuracy"],
                speed=step.tokens / step.seconds,
            ),
        )

    return on_step
