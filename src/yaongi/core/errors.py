"""Every error a user can meet, as one small tree.

An error carries a *slug* (the stable name its documentation page uses), an exit code for the
command line, and a message template. The template, not the finished sentence, is what gettext
translates, so one catalogue entry serves every path and number that can appear in it.
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable
from pathlib import PurePath

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
        return translate(self.template, **self.fields).rstrip()  # a last field may be empty

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle with the fields, so that a worker process can hand the error to its parent.

        A field that is itself an exception need not survive pickling; its text always does.
        """
        plain = {k: v if isinstance(v, _PLAIN) else str(v) for k, v in self.fields.items()}
        return (_rebuild, (type(self), self.template, plain))


_PLAIN = (str, int, float, PurePath, type(None))


def _rebuild(cls: type[YaongiError], template: str, fields: dict[str, object]) -> YaongiError:
    return cls(template, **fields)


class InputError(YaongiError):
    """The user's input is wrong: exit code 2."""

    slug = "input"
    exit_code = 2


class ConfigError(InputError, ValueError):
    """A recipe, preset or setting is wrong. As a ValueError, pydantic adds the setting's path."""

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


class RewardError(InputError):
    """A reward gave no number for a completion."""

    slug = "reward"


class StorageError(YaongiError):
    """The disk refused a write; what was there before is intact."""

    slug = "storage"


class WorkerError(YaongiError):
    """A process that did part of the work is gone; the parts already done are kept."""

    slug = "worker"


class EndpointError(YaongiError):
    """A model behind an address does not answer as it should; what it answered is kept."""

    slug = "endpoint"


class HubError(YaongiError):
    """The Hub, or the way to it, refuses; what was transferred before is kept."""

    slug = "hub"


class EngineError(YaongiError):
    """The engine raised an exception while it answered; what it was doing is lost."""

    slug = "engine"


def nearest(name: str, options: Iterable[str]) -> str | None:
    """The option most like ``name``, or None when nothing is close."""
    found = difflib.get_close_matches(name, [str(o) for o in options], n=1, cutoff=0.5)
    return found[0] if found else None


def did_you_mean(name: str, options: Iterable[str]) -> str:
    """The sentence after "X is unknown.": the nearest option, else all of them."""
    known = [str(o) for o in options]
    near = nearest(name, known)
    if near:
        return translate("Did you mean '{near}'?", near=near)
    return translate("Known here: {known}.", known=", ".join(known)) if known else ""


def os_reason(error: OSError) -> str:
    """Why the system refused; the usual reasons in the user's language."""
    usual = {
        errno.ENOENT: translate("No such file or directory"),
        errno.EACCES: translate("Permission denied"),
        errno.EISDIR: translate("Is a directory"),
        errno.ENOTDIR: translate("Not a directory"),
        errno.ENOSPC: translate("No space left on device"),
        errno.EROFS: translate("Read-only file system"),
        errno.ENAMETOOLONG: translate("File name too long"),
        errno.EADDRINUSE: translate("Address already in use"),
        errno.EADDRNOTAVAIL: translate("Cannot assign requested address"),
    }
    return usual.get(error.errno or 0) or error.strerror or str(error)
