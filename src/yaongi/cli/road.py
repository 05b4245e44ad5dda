"""The road of a recipe: each stage asks for the one before it, and a finished one is not redone.

Folders: ``OUT/{corpus,tokenizer,shards}`` are shared by every model of the recipe; what belongs
to one model is below ``OUT/<model>/``. This file only wires; what a stage does stands in its own
station.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import yaongi
from yaongi.cli.console import Report, stage
from yaongi.cli.conversations import tell_packing, told
from yaongi.cli.distilling import Taught, answered
from yaongi.cli.exporting import exported
from yaongi.cli.preference import Site, make_dpo, make_reward
from yaongi.cli.recipe import Recipe, read_recipe
from yaongi.cli.reinforce import reinforce, tell_equal
from yaongi.cli.start import Start, tokenizer_of
from yaongi.core.artifact import Artifact, open_artifact
from yaongi.core.errors import ConfigError, TokenizerError
from yaongi.core.i18n import translate as _
from yaongi.core.seeds import Seed
from yaongi.data.corpus import CorpusConfig, build_corpus, sample_texts, sizes
from yaongi.data.mix import check_mix
from yaongi.data.shards import build_shards
from yaongi.evals.run import bpb_probes, evaluate
from yaongi.infer.generate import check_fits
from yaongi.model.io import MODEL_KINDS
from yaongi.model.lm import LM
from yaongi.text.foreign import AnyTokenizer
from yaongi.text.train import stage as train_tokenizer
from yaongi.train.continual import continue_pretraining
from yaongi.train.loop import Step
from yaongi.train.pretrain import pretrain
from yaongi.train.run import Probes, TrainConfig
from yaongi.tune.distill import check_models, distill
from yaongi.tune.lora import lora, merge_adapter
from yaongi.tune.sft import sft

_KINDS = ("shards", "corpus")
PROBE_TOKENS = 50_000  # held-out tokens per domain at each evaluation during training


class Road:
    """The stages of a recipe as artifacts, each made when first asked for.

    Args:
        out: the folder of the whole road; default ``runs/<name>``.
        at: folders of single stages, where they are not to be below ``out``.
    """

    def __init__(
        self, recipe: Recipe, out: Path | None = None, at: Mapping[str, Path] | None = None
    ) -> None:
        self.recipe = recipe
        self.out = out or Path("runs") / recipe.name
        self.at = dict(at or {})
        self.seed = Seed(recipe.seed)

    def folder(self, name: str) -> Path:
        """Where the result of the stage ``name`` goes."""
        shared = name.endswith(("corpus", "tokenizer", "shards", "pairs", "prompts", "answers"))
        return self.at.get(name) or (
            self.out / name if shared else self.out / self.recipe.model_name / name
        )

    def begin(
        self, stage: Literal["base", "tuned", "adapted", "preferring"], model: Path | None
    ) -> Road:
        """Let a finished ``model`` stand for all up to ``stage``, with its tokenizer; None, for
        nothing."""
        if model is not None:
            given = open_artifact(model, MODEL_KINDS)
            setattr(self, stage, given)  # what the cached property would make
            self.tokenizer = tokenizer_of(given)
        return self

    @functools.cached_property
    def corpus(self) -> Artifact:
        """Raw text, cleaned of broken rows and duplicates."""
        data = self.recipe.stated("data", self.recipe.data)
        with stage(_("corpus")) as report:
            made = build_corpus(data, self.folder("corpus"), self.seed, on_progress=report)
        for mix in self.recipe.mixes:
            check_mix(mix, made.manifest.counts["domains"], where=made.path)
        return made

    @functools.cached_property
    def tokenizer(self) -> Artifact:
        """A vocabulary learnt from the corpus in the proportions of a mix, or the model's."""
        if self._has_a_teacher:
            return self.taught.tokenizer
        if self.recipe.data is None:
            return tokenizer_of(self.base)
        if self.recipe.continual is not None:
            return self.start.tokenizer
        cfg, corpus = self.recipe.tokenizer, self.corpus
        with stage(_("tokenizer")) as report:
            shares = [sizes(corpus), *self.recipe.mixes][-1]
            texts = sample_texts(corpus, shares, cfg.sample_bytes)
            return train_tokenizer(
                cfg, texts, self.folder("tokenizer"), parents=[corpus], on_progress=report
            )

    @functools.cached_property
    def shards(self) -> Artifact:
        """The corpus as tokens."""
        inputs = self.corpus, self.tokenizer
        name = "distill-shards" if self._has_a_teacher else "shards"
        with stage(_("shards")) as report:
            return build_shards(self.recipe.shards, *inputs, self.folder(name), on_progress=report)

    @functools.cached_property
    def base(self) -> Artifact:
        """The pretrained model, from nothing or from another, or the one to tune."""
        if self.recipe.data is None:
            if self.recipe.model is None:
                raise ConfigError("No model to tune: give --model DIR, or model in the recipe.")
            return open_artifact(self.recipe.model, MODEL_KINDS)
        if self.recipe.continual is not None:
            return self._continued
        cfg, shards, tokenizer = self.recipe.pretraining, self.shards, self.tokenizer
        with stage(_("pretraining")) as report:
            return pretrain(
                cfg,
                shards,
                tokenizer,
                self.folder("base"),
                mix=self.recipe.mix,
                seed=self.recipe.seed,
                probes=_probes(cfg, shards, report),
                on_step=_watch(report),
            )

    @functools.cached_property
    def start(self) -> Start:
        """What is continued."""
        return Start(self.recipe.stated("continual", self.recipe.continual))

    @functools.cached_property
    def _continued(self) -> Artifact:
        start, shards = self.start, self.shards
        with stage(_("continual pretraining")) as report:
            return continue_pretraining(
                start.train,
                start.model,
                shards,
                self.folder("base"),
                mix=self.recipe.mix,
                vocabulary=start.vocabulary,
                seed=self.recipe.seed,
                probes=_probes(start.train, shards, report),
                on_step=_watch(report),
            )

    def conversations(self, data: CorpusConfig, name: str) -> Artifact:
        """Conversations as tokens, in ``<name>-shards``; their text in ``<name>-corpus``."""
        tokenizer = self.tokenizer
        with told(self.folder(f"{name}-corpus")), stage(_("conversations")) as report:
            corpus = build_corpus(
                data, self.folder(f"{name}-corpus"), self.seed.split(name), on_progress=report
            )
            return build_shards(
                self.recipe.shards,
                corpus,
                tokenizer,
                self.folder(f"{name}-shards"),
                on_progress=report,
            )

    @functools.cached_property
    def sft(self) -> Artifact:
        """The model that chats, after every stage of fine-tuning."""
        stages = self.recipe.tuning.stages()
        model = self.base
        for end, tuning in stages:
            shards = self.conversations(tuning.data, f"chat{end}")
            title = _("fine-tuning {n}").format(n=end[1:]) if end else _("fine-tuning")
            with stage(title) as report:
                model = sft(
                    tuning.train,
                    model,
                    shards,
                    self.folder(f"sft{end}"),
                    seed=self.recipe.seed,
                    probes=_probes(tuning.train, shards, report),
                    on_step=_watch(report),
                )
            tell_packing(model)
        return model

    @functools.cached_property
    def tuned(self) -> Artifact:
        """The last model whose weights all learnt."""
        if self.recipe.distill is not None:
            return self.distill
        return self.base if self.recipe.sft is None else self.sft

    @functools.cached_property
    def lora(self) -> Artifact:
        """An adapter of that model."""
        section = self.recipe.stated("lora", self.recipe.lora)
        cfg, base = section.train, self.tuned
        shards = self.conversations(section.data, "lora")
        with stage(_("adapter")) as report:
            made = lora(
                cfg,
                base,
                shards,
                self.folder("lora"),
                seed=self.recipe.seed,
                probes=_probes(cfg, shards, report),
                on_step=_watch(report),
            )
        tell_packing(made)
        return made

    @functools.cached_property
    def adapted(self) -> Artifact:
        """That model with the adapter written into it, where there is one."""
        if self.recipe.lora is None:
            return self.tuned
        return merge_adapter(self.lora, self.tuned, self.folder("lora-merged"))

    @functools.cached_property
    def dpo(self) -> Artifact:
        """The model that prefers."""
        return make_dpo(self.recipe.stated("dpo", self.recipe.dpo), self.adapted, self._site)

    @functools.cached_property
    def reward(self) -> Artifact:
        """The reward model."""
        cfg = self.recipe.stated("reward", self.recipe.reward)
        return make_reward(cfg, self.adapted, self._site)

    @functools.cached_property
    def preferring(self) -> Artifact:
        """The model that reinforcement starts from: it prefers, where the recipe says so."""
        return self.adapted if self.recipe.dpo is None else self.dpo

    @functools.cached_property
    def grpo(self) -> Artifact:
        """The model that learnt from rewards."""
        cfg, start = self.recipe.stated("grpo", self.recipe.grpo), self.preferring
        with stage(_("reinforcement")) as report:
            made = reinforce(
                cfg,
                start,
                self.folder("grpo"),
                self.folder("prompts-corpus"),
                self.recipe.seed,
                on_progress=report,
                on_step=_watch(report),
            )
        tell_equal(made)
        return made

    @property
    def exports(self) -> list[Artifact]:
        """The last model as other programs read it."""
        return [
            exported(cfg, self.model, self.folder(f"export-{cfg.to.rpartition(':')[2]}"))
            for cfg in self.recipe.export
        ]

    @property
    def _site(self) -> Site:
        return Site(self.folder, self.recipe.shards, self.tokenizer, self.recipe.seed)

    @property
    def _has_a_teacher(self) -> bool:
        """Whether a teacher is named, so that its tokenizer is the road's."""
        return self.recipe.distill is not None and self.recipe.distill.teacher is not None

    @functools.cached_property
    def taught(self) -> Taught:
        """Who teaches and who learns."""
        cfg = self.recipe.stated("distill", self.recipe.distill)
        own = cfg.data is not None and self.recipe.sft is not None
        return Taught(cfg, lambda: self.sft if own else self.base)

    @functools.cached_property
    def distill(self) -> Artifact:
        """The student of a teacher."""
        taught = self.taught
        teacher, student, cfg = taught.teacher, taught.student, taught.cfg.train
        check_models(cfg, teacher, student)  # what does not fit shows before any work
        data = taught.cfg.data
        shards = self.shards if data is None else self.conversations(data, "distill")
        with stage(_("distillation")) as report:
            made = distill(
                cfg,
                teacher,
                shards,
                self.folder("distill"),
                student=student,
                mix=self.recipe.mix if data is None else None,
                seed=self.recipe.seed,
                probes=_probes(cfg, shards, report),
                on_step=_watch(report),
            )
        if data is not None:
            tell_packing(made)
        return made

    @functools.cached_property
    def answers(self) -> Artifact:
        """What a teacher behind an address says, as a corpus of conversations."""
        return answered(self.recipe.stated("ask", self.recipe.ask), self.folder, self.seed)

    @property
    def model(self) -> Artifact:
        """The last model of the road."""
        return self.preferring if self.recipe.grpo is None else self.grpo

    @functools.cached_property
    def report(self) -> Artifact:
        """The last model's scores."""
        model, cfg = self.model, self.recipe.eval
        with stage(_("evaluation")) as report:
            return evaluate(
                *load_whole(model.path),
                cfg,
                self.folder("report"),
                inputs=[model, *self._judged_on],
                seed=self.recipe.seed,
                on_progress=report,
            )

    @property
    def _judged_on(self) -> list[Artifact]:
        """Shards and corpus that scores are taken on: those of the text the model was made from,
        else the last conversations."""
        if self.recipe.data is not None:
            return [self.shards, self.corpus]
        parts = {"lora": self.recipe.lora, "distill": self.recipe.distill, "sft": self.recipe.sft}
        last = next((name for name, part in parts.items() if part is not None), None)
        if last is None:
            return []
        name = f"chat{self.recipe.tuning.stages()[-1][0]}" if last == "sft" else last
        return [open_artifact(self.folder(f"{name}-{kind}"), kind) for kind in _KINDS]


def road_to(stage: str, recipe: Path, overrides: Sequence[str], out: Path | None) -> Road:
    """The road of the recipe at ``recipe``, of which ``stage`` goes to ``out``."""
    return Road(read_recipe(recipe, overrides), at={stage: out} if out else None)


def load_whole(path: Path) -> tuple[LM, AnyTokenizer]:
    """A model with its tokenizer. Raises TokenizerError when there is none, or one too large."""
    loaded = yaongi.load(path)
    if loaded.tokenizer is None:
        raise TokenizerError("{path} has no tokenizer, so it cannot be scored.", path=path)
    check_fits(loaded.tokenizer, loaded.config.vocab_size)
    return loaded.lm, loaded.tokenizer


def _probes(cfg: TrainConfig, shards: Artifact, report: Report) -> Probes | None:
    """Bits per byte of held-out text, for a training that evaluates on its way and says so."""
    if not cfg.eval_every:
        return None

    def telling(name: str, probe: Callable[[LM], float]) -> Callable[[LM], float]:
        def measure(model: LM) -> float:
            report(None, _("evaluation: {name}").format(name=name))
            return probe(model)

        return measure

    found = bpb_probes(shards, max_tokens=PROBE_TOKENS, seq_len=cfg.seq_len)
    return {name: telling(name, probe) for name, probe in found.items()}


def _watch(report: Report) -> Callable[[Step], None]:
    """Shows each training step: loss and speed."""

    def on_step(step: Step) -> None:
        speed = step.tokens / step.seconds
        told = _("loss {loss:.3f} · {speed:,.0f} tok/s").format(loss=step.loss, speed=speed)
        report(step.index / step.total, told)

    return on_step
