"""Continual pretraining: a finished model and new text in, the model that knows both out.

The learning rate warms up again and decays again, and part of the tokens is replayed from what the
model knows (Ibrahim et al. 2024, arXiv:2403.08763); a controller (``forgetting.py``) sets how much.
The model may first grow to a vocabulary that extends its own, whose rows learn before the rest
(``freezing.py``). With text of a domain this is DAPT, with that of a task TAPT (Gururangan et al.
2020, arXiv:2004.10964). Our models and imported ones are alike here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from yaongi.core.artifact import Artifact, draft, existing
from yaongi.core.errors import ConfigError, did_you_mean
from yaongi.core.files import write_bytes
from yaongi.core.licences import copy_legal
from yaongi.core.runlog import read_metrics
from yaongi.core.seeds import Seed
from yaongi.data.batches import MixedBatches
from yaongi.model.extend import INITS
from yaongi.model.io import load_config, save_model
from yaongi.text.foreign import FILES, GENERATION, copy_files
from yaongi.train.forgetting import Controller, Forgetting, check_replay
from yaongi.train.forgetting_figure import FIGURE, figure
from yaongi.train.freezing import Freezing, Stages
from yaongi.train.growth import check_tokens, starting_model
from yaongi.train.loop import Step
from yaongi.train.objectives import next_token
from yaongi.train.pretrain import copy_tokenizer, counts_of
from yaongi.train.run import Probes, TrainConfig, finish, recover, run_training
from yaongi.train.schedule import Cosine, ScheduleChoice
from yaongi.train.token_distillation import DistillConfig

KIND = "base"


class ContinueConfig(TrainConfig):
    """Settings of continual pretraining: those of every training, and what keeps the old.

    Attributes:
        schedule: warms up and decays again by default, to a tenth (arXiv:2403.08763, section 6.1).
            The optimizer's ``lr`` is the peak: that of the first training, or less for less change.
        replay: domains of the mix that the model knows already.
        forgetting: when their shares are raised; null leaves the shares as the mix has them.
        stages: what learns when, in shares of the steps; by default everything all the time.
        init: how the rows of new tokens begin, see ``model.extend.grow``.
        distill: teach these rows first what the old tokens meant, see ``train.token_distillation``.
    """

    schedule: ScheduleChoice = Field(
        default_factory=lambda: Cosine(warmup_fraction=0.05, final=0.1)
    )
    eval_every: int = Field(default=50, ge=0)
    replay: tuple[str, ...] = ()
    forgetting: Forgetting | None = Forgetting()
    stages: Stages = ()
    init: str = "mean"
    distill: DistillConfig | None = None

    @model_validator(mode="after")
    def _can_be_run(self) -> ContinueConfig:
        if self.steps is None and self.tokens is None and self.minutes is None:
            raise ConfigError("give a budget: steps, tokens or minutes")
        if self.rule is not None and not self.eval_every:
            raise ConfigError(
                "forgetting can only be seen by evaluating: set eval_every, or forgetting=null"
            )
        if self.init not in INITS:
            raise ConfigError(
                "'{name}' is not a known init. {help}",
                name=self.init,
                help=did_you_mean(self.init, INITS),
            )
        return self

    @property
    def rule(self) -> Forgetting | None:
        """What the controller follows; nothing can be done where nothing is replayed."""
        return self.forgetting if self.replay else None


def continue_pretraining(
    cfg: ContinueConfig,
    base: Artifact,
    shards: Artifact,
    out: str | Path,
    *,
    mix: Mapping[str, float],
    vocabulary: Artifact | None = None,
    seed: int = 0,
    probes: Probes | None = None,
    on_step: Callable[[Step], None] | None = None,
) -> Artifact:
    """Go on training ``base``; continue where an interrupted run stopped.

    Args:
        base: a model of ours or an imported one.
        shards: encoded with its tokenizer, or with ``vocabulary``.
        mix: domain -> share of the tokens, the replayed ones among them.
        vocabulary: a tokenizer that extends that of ``base``, to which the model grows first.
        probes: ``val_bpb/DOMAIN`` for every replayed domain, while ``cfg.forgetting`` is set;
            the values before the first step are logged, too.
        on_step: as in ``pretrain``.
    Returns: a ``base`` artifact at ``out``, with the licences of ``base`` and the text. Its counts
        have the mix asked for and reached, and what the controller decided; ``before/...`` among
        its metrics are the probes before the first step, and a figure shows them over the run.
    Raises:
        ConfigError: replay, stages, optimizer or vocabulary do not fit the model and the mix.
        DataError: a domain has no data, or the shards are of another tokenizer.
        CheckpointError, NumericsError, StorageError, KeyboardInterrupt: see ``run_training``.
    """
    mix = dict(mix)
    parents = [base, shards, *([vocabulary] if vocabulary else [])]
    made: dict[str, Any] = {
        "config": {**cfg.as_json(), "mix": mix},
        "parents": parents,
        "seed": seed,
    }
    if found := existing(out, KIND, **made):
        return found
    check_replay(mix, cfg.replay, cfg.rule)
    cfg.optimizer.check(load_config(base.path))
    extension = check_tokens(base, shards, vocabulary)
    batches = MixedBatches(
        shards, mix, cfg.batch_rows, cfg.seq_len, Seed(seed).split("continue", "data")
    )
    controller = Controller(batches, mix, cfg.replay, cfg.rule)
    with draft(out, KIND, **made, resumable=True) as work:
        recover(work)
        fresh = not any((work.path / "checkpoints").glob("step-*"))
        distill = cfg.distill if fresh else None  # a checkpoint brings the rows along
        model = starting_model(
            base, shards, vocabulary, cfg.init, distill, device=cfg.device, seed=seed
        )
        freezing = Freezing(model, cfg.stages, extension.new_rows if extension else None)
        run = run_training(
            model,
            batches,
            next_token,
            cfg,
            work,
            probes=probes,
            watch=controller,
            freezing=freezing,
            on_step=on_step,
        )
        save_model(model, work.path)
        _pass_on(base, vocabulary, work.path)
        write_bytes(work.path / FIGURE, figure(read_metrics(work.path)).encode())
        return finish(
            work,
            counts={
                **counts_of(run, model.cfg, batches, mix),
                "decisions": controller.decisions,
            },
            metrics={
                **{f"before/{name}": value for name, value in controller.baseline.items()},
                **run.metrics,
                "training_s": round(run.seconds, 1),
            },
            hardware=run.machine,
        )


def _pass_on(base: Artifact, vocabulary: Artifact | None, folder: Path) -> None:
    """Put beside the weights what belongs to them: tokenizer, and the licence's own files."""
    copy_files(base.path, folder, FILES if vocabulary is None else ())
    copy_files(base.path, folder, [GENERATION])
    if vocabulary is not None:
        copy_tokenizer(vocabulary, folder)
    copy_legal(base.path, folder)
