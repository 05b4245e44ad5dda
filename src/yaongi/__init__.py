"""yaongi: from raw text to a Korean language model you can talk to, on one machine."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from yaongi.api import Model
    from yaongi.notebook.panel import Panel as panel
    from yaongi.notebook.run import open_run
    from yaongi.opening import load

__all__ = ["Model", "load", "open_run", "panel"]

_HOMES = {
    "Model": "yaongi.api:Model",
    "load": "yaongi.opening:load",
    "open_run": "yaongi.notebook.run:open_run",
    "panel": "yaongi.notebook.panel:Panel",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:  # on first use, so that `import yaongi` does not wait for torch
        module, _colon, attribute = _HOMES[name].partition(":")
        return getattr(importlib.import_module(module), attribute)
    raise AttributeError(f"module 'yaongi' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
