"""What a recipe continues: a model that is there already, with the tokenizer it reads."""

from __future__ import annotations

import functools
from pathlib import Path

from yaongi.core.artifact import MANIFEST, Artifact, open_artifact
from yaongi.core.config import Config
from yaongi.core.errors import ConfigError
from yaongi.data.origin import tokenizer_origin
from yaongi.model.io import MODEL_KINDS
from yaongi.train.continual import ContinueConfig
from yaongi.train.growth import check_tokens


class Continuing(Config):
    """Continual pretraining: the model to start from, and how.

    Attributes:
        model: folder of a model, ours or an imported one.
        vocabulary: folder of a tokenizer that extends the model's; None keeps that.
    """

    model: str | None = None
    vocabulary: str | None = None
    train: ContinueConfig


class Start:
    """The artifacts of ``Continuing``, opened and checked when first asked for."""

    def __init__(self, cfg: Continuing) -> None:
        self.cfg, self.train = cfg, cfg.train

    @functools.cached_property
    def model(self) -> Artifact:
        """The model that is continued."""
        if self.cfg.model is None:
            raise ConfigError(
                "No model to continue: give --model DIR, or continual.model in the recipe."
            )
        return open_artifact(self.cfg.model, MODEL_KINDS)

    @functools.cached_property
    def vocabulary(self) -> Artifact | None:
        """The tokenizer that extends the model's, where there is one.

        Raises:
            ConfigError: it extends another tokenizer.
        """
        if self.cfg.vocabulary is None:
            return None
        found = open_artifact(self.cfg.vocabulary, "tokenizer")
        check_tokens(self.model, None, found)
        return found

    @property
    def tokenizer(self) -> Artifact:
        """What the text is encoded with."""
        return self.vocabulary or tokenizer_of(self.model)


def tokenizer_of(model: Artifact) -> Artifact:
    """What a model has its tokenizer from: the artifact it was trained with, or its import; the
    model itself, which has a copy, where that is no longer in its place.

    Several models of one tokenizer can then share shards.
    """
    wanted = tokenizer_origin(model)
    if wanted is None or not (Path(wanted.path) / MANIFEST).is_file():
        return model
    found = open_artifact(wanted.path)
    return found if found.hash == wanted.hash else model
