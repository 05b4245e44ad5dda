"""yaongi: from raw text to a Korean language model you can talk to, on one machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from yaongi.api import Model, load

__all__ = ["Model", "load"]


def __getattr__(name: str) -> Any:
    if name in __all__:  # on first use, so that `import yaongi` does not wait for torch
        from yaongi import api

        return getattr(api, name)
    raise AttributeError(f"module 'yaongi' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
