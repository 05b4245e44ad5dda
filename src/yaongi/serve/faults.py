"""What is wrong with a body, for a person: the field as the client wrote it, and what is expected.

pydantic tells of every member of a union in turn, and of its own types; here the fault that lies
deepest counts, which is that of the member the client meant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError

from yaongi.core.config import wanted
from yaongi.core.errors import InputError, nearest
from yaongi.core.i18n import translate as _
from yaongi.serve.refusals import Refusal
from yaongi.serve.schemas import field_names

Fault = Mapping[str, Any]
"""One of pydantic's: ``loc``, ``type``, ``ctx``, ``msg``."""
Path = tuple[str | int, ...]

ABSENT = {
    "logit_bias", "presence_penalty", "frequency_penalty", "echo", "suffix", "best_of", "modalities"
}  # fmt: skip
"""Fields OpenAI has, taken only where they change nothing."""
KINDS = {"string": "string", "int": "integer", "float": "number", "bool": "boolean",
         "list": "array", "dict": "object", "model": "object"}  # fmt: skip
"""The first word of pydantic's name of a fault -> JSON's of the kind it expects."""


def refusal(error: RequestValidationError) -> Refusal:
    """The first fault of a body (400); what was sent is not repeated."""
    faults = error.errors()
    if faults[0]["type"] == "json_invalid":
        place = faults[0]["loc"][-1]
        return _refused(
            InputError("The body is not JSON: it goes wrong at character {n}.", n=place)
        )
    found = [(_path(fault, error.body), fault) for fault in faults]
    first, _first = found[0]
    found = [(path, fault) for path, fault in found if path[: len(first)] == first]
    path = max((path for path, _fault in found), key=len)
    return _told(path, [fault for other, fault in found if other == path])


def _path(fault: Fault, body: object) -> Path:
    """Where it is in ``body``: pydantic also names the member of a union it tried."""
    path: Path = ()
    steps = fault["loc"][1:]
    for step in steps:
        known = isinstance(body, Mapping) and step in body
        if known or (isinstance(body, list) and isinstance(step, int)):
            path, body = (*path, step), body[step]  # pyright: ignore
    if fault["type"] == "missing":
        path = (*path, *steps[-1:])
    if fault["type"].startswith("union_tag"):
        path = (*path, "type")
    return path


def _told(path: Path, faults: Sequence[Fault]) -> Refusal:
    field = ".".join(map(str, path))[:200]
    kind = faults[0]["type"]
    if not path and kind != "string_unicode":
        return _refused(
            InputError("Send a JSON object, with the header 'Content-Type: application/json'.")
        )
    if path and path[0] in ABSENT:
        error = InputError("What '{field}' asks for is not supported here: leave it out.",
                           field=path[0])  # fmt: skip
        return _refused(error, field, code="unsupported")
    if kind == "literal_error" and "content" in path and path[-1] == "type":
        error = InputError("{field}: only 'text' is read here; no images, audio, files.",
                           field=field)  # fmt: skip
        return _refused(error, field, code="unsupported")
    if kind in ("missing", "union_tag_not_found"):
        return _refused(InputError("'{field}' is missing.", field=field), field)
    if kind == "extra_forbidden":
        return _refused(_unknown(field, str(path[-1])), field)
    message = _wanted(faults)
    error = InputError("{field}: {message}.", field=field or "body", message=message)
    return _refused(error, field or None)


def _unknown(field: str, name: str) -> InputError:
    if near := nearest(name, field_names()):
        return InputError("There is no field '{field}'. Did you mean '{near}'?",
                          field=field, near=near)  # fmt: skip
    return InputError("There is no field '{field}' here.", field=field)


def _refused(error: InputError, param: str | None = None, code: str = "invalid_value") -> Refusal:
    return Refusal(400, error, code=code, param=param)


def _wanted(faults: Sequence[Fault]) -> str:
    """One of the kinds, unless one was right and only its value is not."""
    for fault in faults:
        if not fault["type"].endswith("_type"):
            return wanted(fault)
    names: list[str] = [fault["type"].partition("_")[0] for fault in faults]
    kinds = list(dict.fromkeys(KINDS.get(name, name) for name in names))
    if kinds == ["object"]:
        return _("must be an object")
    if len(kinds) == 1:
        return wanted(faults[0])
    return _("must be one of {expected}", expected=", ".join(kinds))
