"""Every error a user can meet, as one small tree.

An error carries a *slug* (the stable name its documentation page uses), an exit code for the
command line, and a message template. The template, not the finished sentence, is what gettext
translates, so one catalogue entry serves every path and number that can appear in it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from yaongi.core.i18n import translate


class YaongiError(Exception):
    """Base of everything yaongi raises on purpose.

    Args:
        template: message with ``{name}`` fields, in English; also the gettext msgid.
        **fields: values for the template.
    """

    slug = "error"
    exit_code = 1

    def __init__(self, template: str, /, **fields: object) -> None:
        super().__init__(template)
        self.template = template
        self.fields = fields

    def __str__(self) -> str:
        text = translate(self.template)
        return text.format(**self.fields) if self.fields else text

    def __reduce__(self) -> tuple[object, ...]:  # keyword fields survive worker processes
        return (_rebuild, (type(self), self.template, self.fields))


def _rebuild(cls: type[YaongiError], template: str, fields: dict[str, object]) -> YaongiError:
    return cls(template, **fields)


class InputError(YaongiError):
    """The user's input is wrong: exit code 2."""

    slug = "input"
    exit_code = 2


class ConfigError(InputError):
    """A recipe, preset or setting is wrong."""

    slug = "config"


class DataError(InputError):
    """A folder, file or row of data cannot be used."""

    slug = "data"


class TokenizerError(InputError):
    """A tokenizer cannot be trained, loaded or applied."""

    slug = "tokenizer"


class ShapeError(InputError):
    """Tensors disagree about a dimension."""

    slug = "shape"


class ArtifactError(InputError):
    """An artifact is missing, incomplete, damaged, or of another kind."""

    slug = "artifact"


class CheckpointError(ArtifactError):
    """A training checkpoint is damaged or belongs to another run."""

    slug = "checkpoint"


class CapabilityError(InputError):
    """This machine cannot do what was asked by name."""

    slug = "capability"


class NumericsError(YaongiError):
    """Training produced a number that is not finite."""

    slug = "numerics"


class StorageError(YaongiError):
    """The disk refused a write; what was there before is intact."""

    slug = "storage"


def nearest(name: str, options: Iterable[str]) -> str | None:
    """The option most like ``name``, or None when nothing is close."""
    found = difflib.get_close_matches(name, [str(o) for o in options], n=1, cutoff=0.5)
    return found[0] if found else None
