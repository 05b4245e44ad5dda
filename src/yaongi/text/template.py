"""A foreign chat template: a Jinja program that came with a download, so it runs in a sandbox.

Names and filters are those ``transformers`` gives it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment

from yaongi.core.errors import DataError, TokenizerError
from yaongi.text.chat import Message


def render(
    template: str,
    messages: Sequence[Message],
    special: Mapping[str, str],
    *,
    generation_prompt: bool,
    where: Path,
) -> str:
    """A conversation as ``template`` writes it.

    Args:
        special: the texts of ``bos_token`` and the like.
        where: what error messages call it.
    Raises:
        TokenizerError: it cannot be run.
        DataError: it refuses these messages.
    """
    try:
        return (
            _jinja()
            .from_string(template)
            .render(
                messages=[dict(m) for m in messages],
                tools=None,
                documents=None,
                add_generation_prompt=generation_prompt,
                **special,
            )
        )
    except TemplateError as error:
        raise TokenizerError(
            "The chat template in {path} cannot be run: {reason}", path=where, reason=error
        ) from error


class _Generation(Extension):
    """``{% generation %}``: marks what the assistant says, for training; here just its content."""

    tags = {"generation"}  # noqa: RUF012  (Jinja's own declaration)

    def parse(self, parser: Any) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


def _jinja() -> ImmutableSandboxedEnvironment:
    environment: Any = ImmutableSandboxedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[_Generation, "jinja2.ext.loopcontrols"],
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = _now
    return environment


def _to_json(value: object, ensure_ascii: bool = False, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, **options)


def _now(form: str) -> str:
    return datetime.now().strftime(form)


def _refuse(reason: str) -> None:
    raise DataError("The model's chat template refuses this conversation: {reason}", reason=reason)
