"""How a recipe's road meets a teacher: its sections ``distill`` and ``ask``, and their stages."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

from yaongi.cli.console import stage
from yaongi.cli.start import tokenizer_of
from yaongi.core.artifact import Artifact, open_artifact
from yaongi.core.config import Config
from yaongi.core.i18n import translate as _
from yaongi.core.seeds import Seed
from yaongi.data.answers import KIND, LEFT_OUT, AskConfig, ask
from yaongi.data.corpus import CorpusConfig, build_corpus
from yaongi.model.io import MODEL_KINDS
from yaongi.tune.distill import DistillConfig

Folder = Callable[[str], Path]
"""Where the result of a stage goes, by its name."""


class Distilling(Config):
    """Distillation: who teaches whom, on what.

    Attributes:
        teacher: folder of a model, ours or an imported one; None is the recipe's own.
        student: folder of a model to go on from; None begins with ``train.model`` from nothing.
        data: conversations to learn from; None takes the recipe's text, by its mix.
    """

    teacher: str | None = None
    student: str | None = None
    data: CorpusConfig | None = None
    train: DistillConfig


class Asking(AskConfig):
    """Sequence-level distillation: whom to ask what."""

    prompts: CorpusConfig

    @property
    def asking(self) -> AskConfig:
        """Without the prompts, which are an artifact by then."""
        return AskConfig(teacher=self.teacher, system=self.system, most=self.most)

    def corpus(self, answers: Artifact) -> CorpusConfig:
        """The answers as conversations, under the licences of prompts and teacher."""
        licence = "; ".join(answers.manifest.licences)
        source = {"kind": "answers", "path": str(answers.path.absolute()), "licence": licence}
        return CorpusConfig.model_validate({"sources": [source]})


class Taught:
    """The models of ``Distilling``, opened when first asked for.

    Args:
        own: makes the recipe's own model, the teacher where none is named.
    """

    def __init__(self, cfg: Distilling, own: Callable[[], Artifact]) -> None:
        self.cfg, self._own = cfg, own

    @functools.cached_property
    def teacher(self) -> Artifact:
        """Who teaches."""
        named = self.cfg.teacher
        return self._own() if named is None else open_artifact(named, MODEL_KINDS)

    @functools.cached_property
    def student(self) -> Artifact | None:
        """Who learns; None where that begins from nothing."""
        return None if self.cfg.student is None else open_artifact(self.cfg.student, MODEL_KINDS)

    @property
    def tokenizer(self) -> Artifact:
        """What the text is encoded with: the student's, which has to be the teacher's too."""
        return tokenizer_of(self.student or self.teacher)


def asked_line(answers: Path) -> str:
    """How many prompts were asked and answered, and why others were left out."""
    counts = open_artifact(answers, KIND).manifest.counts
    told = _("asked {asked:,}, answered {answered:,}").format(**counts)
    if not counts["left_out"]:
        return told
    names = {
        "refused": _("refused"),
        "cut at max_tokens": _("cut at max_tokens"),
        "empty": _("empty answer"),
    }
    why = ", ".join(f"{names[reason]} {n:,}" for reason, n in counts["left_out"].items())
    left = _("left out: {why} ({path})").format(why=why, path=answers / LEFT_OUT)
    return f"{told}; {left}"


def answered(cfg: Asking, folder: Folder, seed: Seed) -> Artifact:
    """Prompts, the answers to them, and these as a corpus."""
    with stage(_("prompts")) as report:
        prompts = build_corpus(
            cfg.prompts, folder("prompts"), seed.split("ask"), on_progress=report
        )
    with stage(_("answers")) as report:
        found = ask(cfg.asking, prompts, folder("answers"), on_progress=report)
        return build_corpus(
            cfg.corpus(found),
            folder("answers-corpus"),
            seed.split("answers"),
            on_progress=report,
        )
