"""Settings: pydantic models are schema and defaults, a YAML recipe says what differs.

``kind:`` picks an implementation from a registry, or a plug-in written ``my_module:MyThing``.
Unknown keys and kinds answer with the nearest name. A plug-in is imported only because a recipe
the user runs names it; loading an artifact never imports one.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from dotenv import load_dotenv
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator
from pydantic_core import PydanticCustomError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from yaongi.core.errors import ConfigError, nearest

C = TypeVar("C", bound="Config")


class Config(BaseModel):
    """Base of every settings class: frozen, no unknown keys, defaults checked too."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys_only(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            for key in data:
                if key not in cls.model_fields:
                    near = nearest(str(key), cls.model_fields)
                    raise PydanticCustomError(
                        "unknown_key",
                        "'{key}' is not a setting. {help}",
                        {
                            "key": str(key),
                            "help": f"Did you mean '{near}'?"
                            if near
                            else f"Settings here: {', '.join(cls.model_fields)}.",
                        },
                    )
        return data

    def as_json(self) -> dict[str, Any]:
        """The resolved settings as plain JSON values, for a manifest."""
        return self.model_dump(mode="json", serialize_as_any=True)


class Registry(Generic[C]):
    """The implementations of one kind of thing, each a Config class found by name.

    Args:
        what: the noun used in messages, e.g. ``"optimizer"``.
        base: every entry, built in or plug-in, must derive from this Config class.
        builtin: kind -> ``"module:Class"``, imported on first use.
    """

    def __init__(self, what: str, base: type[C], builtin: Mapping[str, str]) -> None:
        self.what = what
        self.base = base
        self.builtin = dict(builtin)

    def lookup(self, kind: str) -> type[C]:
        """The Config class of ``kind``. Raises ConfigError for an unknown or unusable one."""
        target = self.builtin.get(kind, kind)
        if ":" not in target:
            near = nearest(kind, self.builtin)
            raise ConfigError(
                "'{kind}' is not a known {what}. {help} A plug-in is written my_module:MyThing.",
                kind=kind,
                what=self.what,
                help=f"Did you mean '{near}'?" if near else f"Known: {', '.join(self.builtin)}.",
            )
        found = _import(target, self.what)
        if not (isinstance(found, type) and issubclass(found, self.base)):
            raise ConfigError(
                "'{target}' is not a {what}: it must be a class derived from {base}.",
                target=target,
                what=self.what,
                base=f"{self.base.__module__}.{self.base.__name__}",
            )
        return found

    def field(self) -> BeforeValidator:
        """For ``Annotated[Base, REGISTRY.field()]``: turns ``{kind: ..., ...}`` into a Config."""
        return BeforeValidator(self._validate)

    def _validate(self, value: Any) -> Any:
        if isinstance(value, str):
            value = {"kind": value}
        if not isinstance(value, Mapping):
            return value
        kind = value.get("kind", self.base.model_fields["kind"].default)
        try:
            cls = self.lookup(str(kind))
        except ConfigError as error:
            raise PydanticCustomError("unknown_kind", "{text}", {"text": str(error)}) from error
        return cls.model_validate({**value, "kind": kind})


def _import(target: str, what: str) -> Any:
    module_name, _, attribute = target.partition(":")
    if os.getcwd() not in sys.path:  # plug-ins live beside the recipe's user, as with pytest
        sys.path.append(os.getcwd())
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            "The {what} '{target}' cannot be imported: {reason}",
            what=what,
            target=target,
            reason=error,
        ) from error


def parse(cls: type[C], data: Mapping[str, Any], *, where: str = "") -> C:
    """``data`` as a checked ``cls``.

    Raises:
        ConfigError: naming every wrong setting by its dotted path (below ``where``).
    """
    try:
        return cls.model_validate(data)
    except ValidationError as error:
        lines = [_explain(item, where) for item in error.errors()]
        raise ConfigError("{problems}", problems="\n".join(lines)) from error


def _explain(item: Any, where: str) -> str:
    path = ".".join([*([where] if where else []), *(str(p) for p in item["loc"])])
    if item["type"] == "unknown_key":
        context = item["ctx"]
        path = f"{path}.{context['key']}" if path else context["key"]
        return f"{path} is not a setting. {context['help']}"
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] in ("missing", "unknown_kind", "value_error"):
        return f"{path}: {message}"
    return f"{path}: {message} (got {item['input']!r})"


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Read a YAML 1.2 recipe and apply ``a.b=c`` overrides.

    Raises:
        ConfigError: missing file, broken YAML (with line), or a malformed override.
    """
    path = Path(path)
    if not path.is_file():
        near = nearest(path.name, [p.name for p in path.parent.glob("*.y*ml")])
        raise ConfigError(
            "There is no recipe at {path}. {help}",
            path=path,
            help=f"Did you mean {path.parent / near}?" if near else "",
        )
    data = _yaml(path.read_text(encoding="utf-8"), str(path))
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise ConfigError(
            "{path} must hold settings (key: value), not a {type}.",
            path=path,
            type=type(data).__name__,
        )
    return apply_overrides(data, overrides)


def apply_overrides(data: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """A copy of ``data`` with each ``a.b=c`` set; the value is read as YAML."""
    result = _copy(data)
    for item in overrides:
        key, equals, value = item.partition("=")
        if not equals or not key:
            raise ConfigError(
                "'{item}' is not an override; write it like train.steps=100.", item=item
            )
        node = result
        *parents, last = key.split(".")
        for part in parents:
            child = node.setdefault(part, {})
            if isinstance(child, str):  # a kind or preset given by its bare name
                raise ConfigError(
                    "{key}: '{part}' is the single value '{child}' in the recipe; "
                    "write it as settings first.",
                    key=key,
                    part=part,
                    child=child,
                )
            node = child
        node[last] = _yaml(value, item)
    return result


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _copy(v) for k, v in value.items()}
    return [_copy(v) for v in value] if isinstance(value, list) else value


def _yaml(text: str, where: str) -> Any:
    try:
        return YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise ConfigError(
            "{where} is not valid YAML: {reason}", where=where, reason=error
        ) from error


def data_root(configured: str | Path | None = None) -> Path:
    """Where recipes find data: the recipe's ``data.root``, else $YAONGI_DATA, else ./data."""
    return Path(configured or os.environ.get("YAONGI_DATA") or "data").expanduser()


def load_env(folder: Path | None = None) -> None:
    """Read secrets (HF_TOKEN, WANDB_API_KEY) from ``.env``; the environment wins."""
    load_dotenv((folder or Path.cwd()) / ".env", override=False)
