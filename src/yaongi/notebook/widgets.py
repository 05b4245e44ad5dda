"""ipywidgets, which only what is clicked needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from yaongi.core.install import import_extra

FRAME = {
    "border": "1px solid rgba(128,128,128,.35)",
    "padding": "12px 14px",
    "max_width": "706px",
}


def ipywidgets() -> Any:
    """The library. Raises CapabilityError where it is not installed."""
    return import_extra(
        "The panel and the chat box need {package}: {command}", "ipywidgets", "notebook"
    )


def button(label: str, icon: str, style: str, tooltip: str, act: Callable[[], None]) -> Any:
    """A button with an icon of FontAwesome that does ``act``."""
    made = ipywidgets().Button(
        description=label,
        icon=icon,
        button_style=style,
        tooltip=tooltip,
        layout={"width": "auto", "min_width": "84px"},
    )
    made.on_click(lambda _button: act())
    return made


def bundle(widget: Any, text: str, options: Any) -> dict[str, Any]:
    """The MIME bundle of ``widget``, with ``text`` where there are no widgets."""
    return {**widget._repr_mimebundle_(**options), "text/plain": text}
