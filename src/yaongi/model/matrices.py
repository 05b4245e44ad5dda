"""The matrices of a model by name, for everything that wants some of them: globs, and places.

A projection is called by its module, ``layers.0.mixer.q_proj``; a stack of experts' matrices by
its parameter, ``layers.1.mixer.experts.up_proj``. Under an adapter and in 8 bits the names stay.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any, cast

from torch import Tensor, nn

from yaongi.core.errors import ConfigError
from yaongi.model.adapted import Wrapper
from yaongi.model.int8 import Int8Experts, Int8Linear
from yaongi.model.layer import Linear
from yaongi.model.lm import LM
from yaongi.model.moe import ExpertWeights


def matching(model: LM, globs: Sequence[str]) -> list[str]:
    """The matrices any of the globs names, in the model's order.

    Raises:
        ConfigError: one matches nothing; the message has the nearest names.
    """
    names = matrix_names(model)
    hits = {glob: [n for n in names if _matches(n, glob)] for glob in globs}
    for glob, found in hits.items():
        if not found:
            kinds = list(dict.fromkeys(re.sub(r"\.\d+\.", ".*.", n) for n in names))
            near = difflib.get_close_matches(glob, kinds, n=3, cutoff=0.3) or kinds
            raise ConfigError(
                "targets: '{glob}' matches no matrix of this model. Nearest: {names}",
                glob=glob,
                names=", ".join(near),
            )
    wanted = {name for found in hits.values() for name in found}
    return [name for name in names if name in wanted]


def _matches(name: str, glob: str) -> bool:
    return fnmatchcase(name, glob) or fnmatchcase(f"{name}.weight", glob)


def matrix_names(model: LM) -> list[str]:
    """Every matrix that can have an adapter: projections, stacks of experts, an untied head."""
    found: list[str] = []
    named = cast("Iterator[tuple[str, nn.Module]]", model.named_modules())
    for path, module in named:
        if path.endswith(".base"):
            continue
        inner = module.base if isinstance(module, Wrapper) else module
        if isinstance(inner, (ExpertWeights, Int8Experts)):
            found += [f"{path}.{name}" for name in inner.matrices()]
        elif isinstance(inner, (Linear, Int8Linear)):
            found.append(path)
    return found


def find(model: LM, target: str) -> tuple[str, nn.Module, str]:
    """(path of the module, what is there, name of the stack or "")."""
    module = model.get_submodule(target) if _is_module(model, target) else None
    if module is not None:
        return target, module, ""
    path, _, stack = target.rpartition(".")
    return path, model.get_submodule(path), stack


def _is_module(model: LM, path: str) -> bool:
    try:
        model.get_submodule(path)
    except AttributeError:
        return False
    return True


def frozen(model: LM, target: str) -> Tensor:
    """The frozen matrix (out,in), stack (E,out,in) or table (V,D) that a target names."""
    _, module, stack = find(model, target)
    inner: Any = module.base if isinstance(module, Wrapper) else module
    return inner.matrices()[stack] if stack else inner.matrix()


def put(model: nn.Module, path: str, module: nn.Module) -> None:
    """Make ``module`` what is at ``path``."""
    parent, _, leaf = path.rpartition(".")
    setattr(model.get_submodule(parent), leaf, module)


def wrappers(model: nn.Module) -> Iterator[tuple[str, Wrapper]]:
    """The modules that have adapters, by the name of what they wrap."""
    named = cast("Iterator[tuple[str, nn.Module]]", model.named_modules())
    return ((name, module) for name, module in named if isinstance(module, Wrapper))
