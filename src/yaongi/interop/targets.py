"""Where a model can be exported to: one function per target, found by name.

A target is ``export(model, out, *, <its options>) -> facts``: it reads a model folder, writes
``out``, and returns what it did as plain JSON values. Adding one is one file and one line here. A
module that needs an optional package has a function ``library`` that returns it.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from yaongi.core.config import import_plugin
from yaongi.core.errors import ConfigError, did_you_mean

Export = Callable[..., dict[str, Any]]

TARGETS = {
    "hf": "yaongi.interop.hf:export_hf",
    "gguf": "yaongi.interop.gguf:export_gguf",
    "peft": "yaongi.interop.peft:export_peft",
}
"""Kind -> ``module:function``, imported on first use; a plug-in is named the same way."""


def export(kind: str, model: Path, out: Path, **options: Any) -> dict[str, Any]:
    """Write the model in ``model`` to ``out`` for the programs of target ``kind``.

    Args:
        options: of that target, e.g. gguf's ``quant``; None means not given.
    Raises:
        ConfigError: an unknown target, or an option it does not have.
    """
    given = {name: value for name, value in options.items() if value is not None}
    return _checked(kind, given)(model, out, **given)


def check(kind: str, options: Mapping[str, Any]) -> None:
    """Whether ``export`` could begin, before there is a model.

    Raises:
        ConfigError: as ``export``.
        CapabilityError: a package is missing.
    """
    function = _checked(kind, options)
    needs = getattr(importlib.import_module(function.__module__), "library", None)
    if needs is not None:
        needs()


def _checked(kind: str, given: Mapping[str, Any]) -> Export:
    """The function of a target that has these options."""
    function = _lookup(kind)
    known = list(inspect.signature(function).parameters)[2:]
    for name in given:
        if name not in known:
            raise ConfigError(
                "The export target '{kind}' has no option '{name}'. {help}",
                kind=kind,
                name=name,
                help=did_you_mean(name, known),
            )
    return function


def _lookup(kind: str) -> Export:
    target = TARGETS.get(kind, kind)
    if ":" not in target:
        raise ConfigError(
            "'{kind}' is not a known {what}. {help} A plug-in is written my_module:MyThing.",
            kind=kind,
            what="export target",
            help=did_you_mean(kind, TARGETS),
        )
    return import_plugin(target, "export target")
