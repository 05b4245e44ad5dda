"""Pieces of HTML for a notebook's output; the templates beside this file are their looks.

Names, paths, licences and what a model says come from anybody. Everything a template prints is
escaped, no part of it is marked safe by hand but what another template here made.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from yaongi.core.i18n import translate
from yaongi.core.units import human_time


def rendered(template: str, **values: Any) -> str:
    """The template ``<template>.html.jinja`` with these values, in the user's language."""
    return _environment().get_template(f"{template}.html.jinja").render(**values)


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(_=translate)
    environment.filters.update(
        count=lambda n: f"{n:,}",
        number=short_number,
        time=human_time,
        json=lambda value: json.dumps(value, ensure_ascii=False, indent=2),
    )
    return environment


def short_number(value: object) -> str:
    """Four digits of a number: ``2.3393``, ``3.0e-05``, ``3,921``; other values as they are."""
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else str(value)
    if value and not 1e-3 <= abs(value) < 1e3:
        return f"{value:,.0f}" if abs(value) >= 1 else f"{value:.1e}"
    return f"{value:.4g}"
