"""What a recipe may say: the schema of its YAML, with what must fit together.

Each section's own settings stand in its station or beside the file that wires it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field, model_validator

from yaongi.cli.distilling import Asking, Distilling
from yaongi.cli.exporting import Exporting
from yaongi.cli.preference import Preferring, Rewarding
from yaongi.cli.reinforce import Reinforcing
from yaongi.cli.start import Continuing
from yaongi.core.config import Config, load_recipe, parse
from yaongi.core.errors import ConfigError
from yaongi.core.files import is_mapping
from yaongi.data.corpus import CorpusConfig
from yaongi.data.mix import DEFAULT_MIX
from yaongi.data.shards import ShardsConfig
from yaongi.evals.run import EvalConfig
from yaongi.text.train import TokenizerConfig
from yaongi.train.forgetting import check_replay
from yaongi.train.pretrain import PretrainConfig
from yaongi.train.run import BUDGETS
from yaongi.tune.lora import LoRAConfig
from yaongi.tune.sft import SFTConfig

Section = TypeVar("Section", bound=Config)


class Tuning(Config):
    """Fine-tuning: the conversations it learns from, and how.

    Attributes:
        then: a further stage, on other conversations, of the model that this one makes.
    """

    data: CorpusConfig
    train: SFTConfig = SFTConfig()
    then: Tuning | None = None

    def stages(self) -> list[tuple[str, Tuning]]:
        """("", this one), ("-2", the next), ...: what their folders' names end in."""
        later = self.then.stages() if self.then else []
        return [("", self), *((f"-{i}", one) for i, (_end, one) in enumerate(later, 2))]


class Adapting(Config):
    """Fine-tuning with an adapter: the conversations it learns from, and how."""

    data: CorpusConfig
    train: LoRAConfig = LoRAConfig()


class Recipe(Config):
    """A whole road: what to read, which model to make, how to judge it.

    A model is made from nothing (``pretrain``) or from another one (``continual``), which then
    brings its tokenizer along. A recipe without ``data`` makes none; it tunes ``model``. One of
    ``data`` alone makes a corpus and a tokenizer. A student (``distill``) learns from the model
    made so far, or from another with its tokenizer.

    Attributes:
        name: the folder below ``runs/`` unless ``--out`` says otherwise.
        model: folder of the model to tune, where the recipe makes none.
        model_name: the folder of what belongs to one model; the preset's name by default.
        mix: share of each domain in the tokens of pretraining, the first or the continual one;
            a tokenizer by itself learns from the corpus as it is unless a mix is stated.
    """

    name: str
    model: str | None = None
    model_name: str = "model"
    seed: int = 0
    data: CorpusConfig | None = None
    tokenizer: TokenizerConfig = TokenizerConfig()
    shards: ShardsConfig = ShardsConfig()
    mix: dict[str, float] = Field(default_factory=lambda: dict(DEFAULT_MIX), min_length=1)
    pretrain: PretrainConfig | None = None
    continual: Continuing | None = None
    sft: Tuning | None = None
    distill: Distilling | None = None
    ask: Asking | None = None
    dpo: Preferring | None = None
    reward: Rewarding | None = None
    grpo: Reinforcing | None = None
    lora: Adapting | None = None
    eval: EvalConfig = EvalConfig()
    export: tuple[Exporting, ...] = ()

    @model_validator(mode="after")
    def _one_training(self) -> Recipe:
        makes = self.pretrain is not None or self.continual is not None
        if makes and self.data is None:
            raise ConfigError("a recipe that makes a model (pretrain, continual) needs data")
        if self.data is not None and self.model is not None:
            raise ConfigError(
                "a recipe has data, or a model to tune (model: DIR, or --model DIR), but not both"
            )
        if self.pretrain is not None and self.continual is not None:
            raise ConfigError(
                "a recipe has one of the sections pretrain (a model from nothing) and continual "
                "(from another model)"
            )
        if self.continual is not None:
            check_replay(self.mix, self.continual.train.replay, self.continual.train.rule)
        return self

    @model_validator(mode="after")
    def _vocabulary_fits(self) -> Recipe:
        if self.pretrain is None:
            return self
        have, need = self.pretrain.model.vocab_size, self.tokenizer.vocab_size
        if have < need:
            raise ConfigError(
                "pretrain.model has room for {have} tokens, but tokenizer.vocab_size is {need}",
                have=have,
                need=need,
            )
        return self

    @property
    def mixes(self) -> list[dict[str, float]]:
        """What the corpus has to have: the mix stated, or meant by default for a model."""
        meant = self.pretrain or self.continual or self.distill or "mix" in self.model_fields_set
        return [mix for mix in (self.mix if meant else None, self.tokenizer.mix) if mix is not None]

    @property
    def pretraining(self) -> PretrainConfig:
        """The section ``pretrain``. Raises ConfigError where a model is continued instead."""
        return self.stated("pretrain", self.pretrain)

    @property
    def tuning(self) -> Tuning:
        """The section ``sft``. Raises ConfigError where there is none."""
        return self.stated("sft", self.sft)

    def stated(self, name: str, section: Section | None) -> Section:
        """The section of that name. Raises ConfigError where the recipe has none."""
        if section is None:
            raise ConfigError(
                "The recipe '{name}' has no section {section}.", name=self.name, section=name
            )
        return section


def read_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """The checked recipe at ``path``; names it leaves out come from its file and its preset."""
    return make_recipe({"name": path.stem, **load_recipe(path, overrides, BUDGETS)})


def make_recipe(settings: Mapping[str, Any]) -> Recipe:
    """The checked recipe of these settings."""
    _check_place_of_data(settings)
    training = settings.get("pretrain")
    model = training.get("model") if isinstance(training, Mapping) else None
    preset = model.get("preset") if isinstance(model, Mapping) else model
    named = {"model_name": preset} if isinstance(preset, str) else {}
    return parse(Recipe, {**named, **settings})


def _check_place_of_data(settings: Mapping[str, Any]) -> None:
    """Raise ConfigError for settings of ``data`` without sources, where only sections have data:
    ``data.root=.`` on the command line most often means the root of these."""
    data = settings.get("data")
    if not is_mapping(data) or not data or "sources" in data:
        return
    key = next(iter(data))
    meant = [
        f"{name}.{part}.{key}"
        for name, section in settings.items()
        if is_mapping(section)
        for part in ("data", "prompts")
        if is_mapping(section.get(part))
    ]
    if meant:
        raise ConfigError(
            "data.{key}: this recipe has no data of its own. Write it where its data are: {meant}.",
            key=key,
            meant=", ".join(meant),
        )
