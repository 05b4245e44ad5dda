"""Settings: pydantic models are schema and defaults, a YAML recipe says what differs.

``kind:`` picks an implementation from a registry, or a plug-in written ``my_module:MyThing``.
Unknown keys and kinds answer with the nearest name. A plug-in is imported only because a recipe
the user runs names it; loading an artifact never imports one.
"""

from __future__ import annotations

import importlib
import os
import reprlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, Generic, TypeVar, Union, cast, get_args, get_origin

from dotenv import load_dotenv
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator
from pydantic_core import PydanticCustomError, PydanticUndefined
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from yaongi.core.errors import ConfigError, did_you_mean, nearest
from yaongi.core.files import is_mapping
from yaongi.core.i18n import translate

C = TypeVar("C", bound="Config")


class Config(BaseModel):
    """Base of every settings class: frozen, no unknown keys, defaults checked too."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys_only(cls, data: Any) -> Any:
        if is_mapping(data):
            for key in data:
                if key not in cls.model_fields:
                    below = cls._below(str(key)) or ""
                    help = did_you_mean(below or str(key), [below] if below else cls.model_fields)
                    raise PydanticCustomError(
                        "unknown_key",
                        "'{key}' is not a setting. {help}",
                        {"key": str(key), "help": help, "below": below},
                    )
        return data

    @classmethod
    def _below(cls, key: str) -> str | None:
        """The shortest path at which a section of this one has the setting ``key``."""
        level: list[tuple[str, type[Config]]] = [("", cls)]
        seen: set[type[Config]] = set()
        while level:
            for path, section in level:
                if key in section.model_fields:
                    return path + key
            seen |= {section for _, section in level}
            level = [
                (f"{path}{name}.", inner)
                for path, section in level
                for name, field in section.model_fields.items()
                for inner in _sections(field.annotation)
                if inner not in seen
            ]
        return None

    def as_json(self) -> dict[str, Any]:
        """The resolved settings as plain JSON values, for a manifest."""
        return self.model_dump(mode="json", serialize_as_any=True)


def _sections(annotation: Any) -> list[type[Config]]:
    """The settings classes in a type such as ``Model | None``; those in lists have no name."""
    if get_origin(annotation) in (Union, UnionType):
        return [found for part in get_args(annotation) for found in _sections(part)]
    is_section = isinstance(annotation, type) and issubclass(annotation, Config)
    return [annotation] if is_section else []


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
            raise ConfigError(
                "'{kind}' is not a known {what}. {help} A plug-in is written my_module:MyThing.",
                kind=kind,
                what=_noun(self.what),
                help=did_you_mean(kind, self.builtin),
            )
        found = import_plugin(target, self.what)
        if not (isinstance(found, type) and issubclass(found, self.base)):
            raise ConfigError(
                "'{target}' is not a {what}: it must be a class derived from {base}.",
                target=target,
                what=_noun(self.what),
                base=f"{self.base.__module__}.{self.base.__name__}",
            )
        return found

    def field(self) -> BeforeValidator:
        """For ``Annotated[Base, REGISTRY.field()]``: turns ``{kind: ..., ...}`` into a Config."""
        return BeforeValidator(self._validate)

    def _validate(self, value: Any) -> Any:
        if isinstance(value, str):
            value = {"kind": value}
        if not is_mapping(value):
            return value
        kind = value.get("kind", self.base.model_fields["kind"].get_default())
        if kind in (None, PydanticUndefined):
            raise ConfigError(
                "which {what}? Give its kind: {known}.",
                what=_noun(self.what),
                known=", ".join(self.builtin),
            )
        return self.lookup(str(kind)).model_validate({**value, "kind": kind})


def _noun(what: str) -> str:
    """What a registry holds, in the user's language."""
    return {
        "executor": translate("executor"),
        "filter": translate("filter"),
        "layer kind": translate("layer kind"),
        "optimizer": translate("optimizer"),
        "preference loss": translate("preference loss"),
        "reward": translate("reward"),
        "schedule": translate("schedule"),
        "source": translate("source"),
        "task": translate("task"),
        "tracker": translate("tracker"),
    }.get(what, what)


def import_plugin(target: str, what: str) -> Any:
    """What ``module:name`` names. Raises ConfigError when it cannot be imported."""
    module_name, _, attribute = target.partition(":")
    if str(Path.cwd()) not in sys.path:  # plug-ins live beside the recipe's user, as with pytest
        sys.path.append(str(Path.cwd()))
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            "The {what} '{target}' cannot be imported: {reason}",
            what=_noun(what),
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
        lines = [_explain(item, where) for item in _causes(error.errors())]
        raise ConfigError("{problems}", problems="\n".join(lines)) from error


def _causes(errors: Sequence[Any]) -> list[Any]:
    """Without what pydantic says of a list only because something in it is wrong."""
    places = [tuple(item["loc"]) for item in errors]
    return [
        item
        for item, here in zip(errors, places, strict=True)
        if not any(len(at) > len(here) and at[: len(here)] == here for at in places)
    ]


def _explain(item: Any, where: str) -> str:
    path = ".".join([*([where] if where else []), *(str(p) for p in item["loc"])])
    if item["type"] == "unknown_key":
        context, section = item["ctx"], f"{path}." if path else ""
        help = context["help"]
        if context["below"]:
            help = translate("Did you mean '{near}'?", near=section + context["below"])
        return translate(
            "{path} is not a setting. {help}", path=section + context["key"], help=help
        )
    if item["type"] in ("missing", "value_error"):
        required = translate("this setting is required.")
        message = required if item["type"] == "missing" else str(item["ctx"]["error"])
        return f"{path}: {message}" if path else message
    return translate(
        "{path}: {message} (got {value})",
        path=path,
        message=wanted(item),
        value=reprlib.repr(item["input"]),
    )


def wanted(item: Any) -> str:
    """What a value that pydantic refused should have been, in the user's language; else in its
    words."""
    context = {
        name: f"{value:g}" if isinstance(value, float) else str(value).replace(" or ", ", ")
        for name, value in item.get("ctx", {}).items()
    }
    limits = {
        "greater_than": translate("must be more than {gt}"),
        "greater_than_equal": translate("must be {ge} or more"),
        "less_than": translate("must be less than {lt}"),
        "less_than_equal": translate("must be {le} or less"),
        "literal_error": translate("must be one of {expected}"),
        "too_short": translate("must not be empty")
        if context.get("min_length") == "1"
        else translate("needs at least {min_length} entries"),
        "too_long": translate("takes at most {max_length} entries"),
        "string_too_short": translate("must not be empty"),
        "string_too_long": translate("must have at most {max_length} characters"),
        "string_pattern_mismatch": translate("must fit the pattern {pattern}"),
        "string_unicode": translate("must be text in valid Unicode"),
        "union_tag_invalid": translate("must be one of {expected_tags}"),
    }
    if item["type"] in limits:
        return limits[item["type"]].format(**context)
    if not item["type"].endswith(("_type", "_parsing", "_from_float")):
        return item["msg"]
    types = {
        "int": translate("must be a whole number"),
        "float": translate("must be a number"),
        "bool": translate("must be true or false"),
        "string": translate("must be a text"),
        "tuple": translate("must be a list"),
        "list": translate("must be a list"),
        "dict": translate("must be settings with names"),
        "model": translate("must be settings with names"),
    }
    return types.get(item["type"].partition("_")[0]) or item["msg"]


def load_recipe(
    path: str | Path, overrides: Sequence[str] = (), alternatives: Sequence[str] = ()
) -> dict[str, Any]:
    """Read a YAML 1.2 recipe and apply ``a.b=c`` overrides; see ``apply_overrides``.

    Raises:
        ConfigError: missing file, broken YAML (with line), or a malformed override.
    """
    path = Path(path)
    if not path.is_file():
        near = nearest(path.name, [p.name for p in path.parent.glob("*.y*ml")])
        raise ConfigError(
            "There is no recipe at {path}. {help}",
            path=path,
            help=translate("Did you mean '{near}'?", near=path.parent / near) if near else "",
        )
    data = parse_yaml(_text(path), str(path))
    if data is None:  # an empty recipe changes nothing
        return apply_overrides({}, overrides)
    if not is_mapping(data):
        raise ConfigError(
            "{path} must hold settings (key: value), not a {type}.",
            path=path,
            type=type(data).__name__,
        )
    return apply_overrides(data, overrides, alternatives)


def apply_overrides(
    data: Mapping[str, Any], overrides: Sequence[str], alternatives: Sequence[str] = ()
) -> dict[str, Any]:
    """A copy of ``data`` with each ``a.b=c`` set; the value is read as YAML.

    Args:
        alternatives: names of which a section has one. An override of one takes the place of
            the others in ``data``; two overrides stay side by side, for the schema to refuse.
    """
    result: dict[str, Any] = _copy(data)
    given = {item.partition("=")[0] for item in overrides}
    for item in overrides:
        key, equals, value = item.partition("=")
        if not equals or not key:
            raise ConfigError(
                "'{item}' is not an override; write it like train.steps=100.", item=item
            )
        node: dict[str, Any] = result
        *parents, last = key.split(".")
        for part in parents:
            if node.get(part) is None:  # absent, or a heading without settings below it
                node[part] = {}
            child: Any = node[part]
            if not isinstance(child, dict):  # a list, or a kind or preset given by its bare name
                raise ConfigError(
                    "{key}: '{part}' is {child} in the recipe, not settings with names; "
                    "change it in the recipe, or give the whole value: {part}=VALUE.",
                    key=key,
                    part=part,
                    child=reprlib.repr(child),
                )
            node = cast("dict[str, Any]", child)
        node[last] = parse_yaml(value, item)
        if last in alternatives and node[last] is not None:
            for other in alternatives:
                if ".".join([*parents, other]) not in given:
                    node.pop(other, None)
    return result


def _copy(value: Any) -> Any:
    if is_mapping(value):
        return {str(k): _copy(v) for k, v in value.items()}
    return [_copy(v) for v in cast("list[Any]", value)] if isinstance(value, list) else value


def parse_yaml(text: str, where: str) -> Any:
    """The value of a YAML text. Raises ConfigError with the line where it is broken."""
    try:
        loader: Any = YAML(typ="safe", pure=True)  # ruamel types only half of its methods
        return loader.load(text)
    except YAMLError as error:
        raise ConfigError(
            "{where} is not valid YAML: {reason}", where=where, reason=_yaml_reason(error)
        ) from error


def _yaml_reason(error: YAMLError) -> str:
    """The problem and its line, without ruamel's advice to programmers."""
    problem, mark = getattr(error, "problem", None), getattr(error, "problem_mark", None)
    if not problem or mark is None:
        return str(error)
    return translate(
        "line {line}, column {column}: {problem}",
        line=mark.line + 1,
        column=mark.column + 1,
        problem=problem,
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError("{path} is not UTF-8 text.", path=path) from error


def data_root(configured: str | Path | None = None) -> Path:
    """Where recipes find data: the recipe's ``data.root``, else $YAONGI_DATA, else ./data."""
    return Path(configured or os.environ.get("YAONGI_DATA") or "data").expanduser()


def load_env(folder: Path | None = None) -> None:
    """Read secrets (HF_TOKEN, WANDB_API_KEY) from ``.env``; the environment wins."""
    load_dotenv((folder or Path.cwd()) / ".env", override=False)
