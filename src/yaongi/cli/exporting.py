"""The section ``export`` of a recipe: the road's last model as other programs read it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from yaongi.cli.console import stage
from yaongi.core.artifact import Artifact, draft, existing
from yaongi.core.config import Config
from yaongi.core.errors import ConfigError, did_you_mean
from yaongi.core.i18n import translate as _
from yaongi.interop.targets import TARGETS, export

KIND = "export"
FILES = {"gguf": "model.gguf"}
"""Targets that are one file; the others are folders of their own name."""


class Exporting(Config):
    """One export.

    Attributes:
        to: the target, as in ``yaongi export --to``.
        options: of that target, e.g. ``{quant: q8_0}``.
    """

    to: str
    options: dict[str, Any] = Field(default_factory=dict)

    @field_validator("to")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in TARGETS and ":" not in name:
            raise ConfigError(
                "'{name}' is not a known export target. {help}",
                name=name,
                help=did_you_mean(name, TARGETS),
            )
        return name


def exported(cfg: Exporting, model: Artifact, out: Path) -> Artifact:
    """``model`` in the format of ``cfg``, below an artifact that knows what it was made from.

    Raises:
        ConfigError: an unknown target or option.
    """
    made: dict[str, Any] = {"config": cfg.as_json(), "parents": [model]}
    if found := existing(out, KIND, **made):
        return found
    with stage(_("export")), draft(out, KIND, **made) as work:
        facts = export(
            cfg.to,
            model.path,
            work.path / FILES.get(cfg.to, cfg.to.rpartition(":")[2]),
            **cfg.options,
        )
        return work.finish(counts=facts)
