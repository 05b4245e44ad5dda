"""What an architecture of ``transformers`` is to us: its settings read and written, its names.

``Architecture`` is the whole contract; the tables are in ``hf_paired`` (Llama and its kin) and
``hf_single`` (Nemotron-H, Mamba-2).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from yaongi.core.errors import CapabilityError, ConfigError
from yaongi.core.files import is_mapping
from yaongi.model.lm import LMConfig

REQUIRED = object()


class Fields:
    """The settings of a ``config.json``; asking for one that is missing or unusable explains.

    Args:
        where: the file, for messages.
    """

    def __init__(self, data: Mapping[str, Any], where: object) -> None:
        self.data = data
        self.where = where

    def get(self, *names: str, default: Any = REQUIRED) -> Any:
        """The first of ``names`` that is there and not null; they are spellings of one setting.

        Raises:
            ConfigError: none is, and there is no default.
        """
        for name in names:
            if self.data.get(name) is not None:
                return self.data[name]
        if default is REQUIRED:
            raise ConfigError("{path} has no setting '{name}'.", path=self.where, name=names[0])
        return default

    def only(self, name: str, *allowed: Any) -> None:
        """Refuse any value but ``allowed``, the first of which is what absence means.

        Raises:
            CapabilityError: naming the setting, what it is and what it must be.
        """
        found = self.get(name, default=allowed[0])
        if found not in allowed:
            raise CapabilityError(
                "{path}: {name} is {found}; yaongi has layers for {expected} only.",
                path=self.where,
                name=name,
                found=repr(found),
                expected=" / ".join(repr(value) for value in allowed),
            )

    def section(self, *names: str) -> Fields:
        """A nested group of settings, empty when there is none."""
        found = self.get(*names, default={})
        return Fields(found if is_mapping(found) else {}, self.where)


class Misfit(Exception):
    """Why a model cannot be written as an architecture. Caught by the export, never shown alone."""


@dataclass(frozen=True)
class Architecture:
    """One ``model_type``.

    Attributes:
        read: config.json -> our settings of the model.
        write: our settings -> the fields of config.json. Raises Misfit.
        name: our tensor's name -> theirs, with ``{e}`` where experts lie one by one; None when it
            has no place there, and so must be zero.
        ties: whether a tied head is left out of the file; else a copy of it is written.
    """

    model_type: str
    class_name: str
    read: Callable[[Fields], dict[str, Any]]
    write: Callable[[LMConfig], dict[str, Any]]
    name: Callable[[str], str | None]
    ties: bool = True


def need(true: bool, reason: str) -> None:
    """Raise Misfit with ``reason`` unless it is so."""
    if not true:
        raise Misfit(reason)


def common(cfg: LMConfig, eps_name: str) -> dict[str, Any]:
    """The fields every architecture has, and what none of them can hold."""
    strange = sorted(set(cfg.layers) & set(cfg.letters))
    need(cfg.engram is None, "it has Engram memories; export its twin without")
    need(not strange, f"layer '{''.join(strange)}' is a plug-in")
    return {
        "vocab_size": cfg.vocab_size,
        "hidden_size": cfg.d_model,
        eps_name: cfg.norm_eps,
        "initializer_range": cfg.init_std,
        "tie_word_embeddings": cfg.tied,
    }


def read_common(fields: Fields, pattern: str, *eps_names: str, eps: float) -> dict[str, Any]:
    """The other way: our settings from the fields every architecture has; ``eps`` if unsaid."""
    return {
        "vocab_size": fields.get("vocab_size"),
        "d_model": fields.get("hidden_size"),
        "pattern": pattern,
        "tied": fields.get("tie_word_embeddings", default=False),
        "norm_eps": fields.get(*eps_names, default=eps),
        "init_std": fields.get("initializer_range", default=0.02),
    }


def expert_file_name(name: str) -> str:
    """``...experts.up_proj`` (one stack) -> ``...experts.{e}.up_proj.weight`` (one by one)."""
    stem, found, matrix = name.partition(".experts.")
    return f"{stem}.experts.{{e}}.{matrix}.weight" if found else name
