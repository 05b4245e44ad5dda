"""Where documents come from: one file per kind of source, chosen by ``kind:`` in a recipe.

To add a kind, derive a ``Source`` with its settings and a ``read`` that yields datatrove
``Document``s; the corpus adds domain, licence and source name where ``read`` left them out.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from datatrove.data import Document
from pydantic import BeforeValidator, Field, field_validator

from yaongi.core.artifact import Artifact, Manifest
from yaongi.core.config import Config, Registry
from yaongi.core.errors import ConfigError, DataError, did_you_mean
from yaongi.core.seeds import Seed
from yaongi.data.recognise import COLUMNS, BrokenRow
from yaongi.data.wording import Notice

Domain = Annotated[str, BeforeValidator(lambda v: safe_domain(v))]
"""A free name that can also be a file name, e.g. ``ko`` or ``chat-ko``."""


class Rejected(NamedTuple):
    """A row kept aside: where it stood, why, and its beginning."""

    file: str
    line: int
    reason: str
    row: str


class Unit(NamedTuple):
    """A part of a source that is read by itself: one worker's work, and where a build resumes.

    Args:
        name: which part, in the source's own terms; "" is all of it.
        bytes: roughly how much there is to read; 0 where that is little.
    """

    name: str = ""
    bytes: int = 0


def _ignore(*_: Any) -> None:
    return None


@dataclass
class Reading:
    """What a source is handed while it is read.

    Args:
        root: folder that relative paths are below.
        unit: the name of the unit to read; "" is all of them, one after another.
        seed: for sources that draw; already split for this source.
        reject: called with every row that could not be used.
        warn: called with a ``notice`` or a sentence about something skipped that is no row.
        advance: called now and then with the share of the source read so far.
    """

    root: Path
    unit: str = ""
    seed: Seed = field(default_factory=lambda: Seed(0))
    reject: Callable[[Rejected], None] = _ignore
    warn: Callable[[Notice | str], None] = _ignore
    advance: Callable[[float], None] = _ignore

    def reject_row(self, file: str, line: int, error: BrokenRow) -> None:
        """Keep one broken row aside."""
        self.reject(Rejected(file, line, error.reason, error.row[:4000]))


class Source(Config):
    """Settings every source has.

    Args:
        domain: name of the domain its documents belong to; by default what the rows are: "text",
            "chat" or "preference".
        licence: recorded in every manifest made from it.
        fields: our column name -> theirs, e.g. ``{text: body}``.
    """

    kind: str = "files"
    domain: Domain | None = None
    licence: str = "not stated"
    fields: dict[str, str] = Field(default_factory=dict)

    @property
    def name(self) -> str:
        """What the source is called in counts and messages."""
        return self.kind

    def units(self, reading: Reading) -> list[Unit]:
        """The parts it can be read in, in order: together they are what reading all of it gives.

        Raises:
            DataError: nothing there.
        """
        return [Unit()]

    def read(self, reading: Reading) -> Iterator[Document]:
        """The documents of ``reading.unit``, always in the same order.

        Raises:
            DataError: nothing there, or nothing that can be understood.
        """
        raise NotImplementedError

    def fingerprint(self, root: Path) -> str:
        """Changes when what would be read changes. Checks that it can be read at all.

        Raises:
            DataError: missing, empty, or outside ``root``.
        """
        return ""

    def as_parent(self, root: Path) -> Artifact:
        """The source as an ancestor, so ``trace`` ends at it and a changed file is noticed."""
        config = {**self.as_json(), "fingerprint": self.fingerprint(root)}
        return Artifact(
            Path(self.name),
            Manifest(kind="source", created="", config=config, licences=[self.licence]),
        )

    @field_validator("fields")
    @classmethod
    def _known_fields(cls, fields: dict[str, str]) -> dict[str, str]:
        for ours in fields:
            if ours not in COLUMNS:
                raise ConfigError(
                    "'{name}' is not a field (write our name: their name). {help}",
                    name=ours,
                    help=did_you_mean(ours, COLUMNS),
                )
        return fields


def safe_domain(value: object) -> object:
    """Refuse domain names that cannot be file names."""
    if isinstance(value, str) and (
        not value or value.startswith(".") or any(c in value for c in '/\\:*?"<>|\0\n')
    ):
        raise ConfigError("'{name}' cannot be a domain: it has to work as a file name", name=value)
    return value


def locate(path: str, root: Path) -> Path:
    """The place a recipe means by ``path``: below ``root``, unless it is absolute.

    Raises:
        DataError: a relative path leads out of ``root``, by ``..`` or by a link.
    """
    given = Path(path).expanduser()
    if given.is_absolute():
        return given
    place = Path(os.path.normpath(root / given))
    check_inside(place, root)
    return place


def check_inside(place: Path, root: Path) -> None:
    """Raise DataError when ``place`` is not below ``root``, links followed."""
    base = root.resolve()
    inside = Path(os.path.normpath(place)).is_relative_to(os.path.normpath(root))
    if not (inside and place.resolve().is_relative_to(base)):
        raise DataError(
            "{path} leads out of the data folder {root}. "
            "Write its absolute path in the recipe if it is meant.",
            path=place,
            root=root,
        )


SOURCES = Registry(
    "source",
    Source,
    {
        "answers": "yaongi.data.sources.answers:AnswersSource",
        "files": "yaongi.data.sources.files:FilesSource",
        "hf": "yaongi.data.sources.hf:HFSource",
        "synthetic": "yaongi.data.synthetic:SyntheticSource",
    },
)


def _from_plain(value: Any) -> Any:
    """A source may be written as a bare path, ``hf:owner/name``, or the name of a kind."""
    if isinstance(value, str):
        value = {"kind": value} if value in SOURCES.builtin else {"path": value}
    if isinstance(value, Mapping) and "kind" not in value and "path" in value:
        hub = str(value["path"]).startswith("hf:")
        value = {"kind": "hf" if hub else "files", **value}
    return value


SourceChoice = Annotated[Source, SOURCES.field(), BeforeValidator(_from_plain)]
