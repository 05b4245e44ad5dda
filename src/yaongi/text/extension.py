"""What was added to a tokenizer, for whoever makes the model's rows fit: ``extension.json``.

Old ids keep their places; new ones follow, each with the old tokens it stands for, so that its
rows can begin as something better than noise (``model.extend``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import safetensors.numpy

from yaongi.core.errors import ArtifactError, TokenizerError
from yaongi.core.files import is_mapping, read_json, write_bytes, write_with
from yaongi.text.vectors import Similar

FILE, SIMILAR_FILE = "extension.json", "similar.safetensors"
PADDED_TO = 64  # rows of a matrix, for tensor cores and for cutting it between devices

_numpy_files: Any = safetensors.numpy  # its functions are only partly typed


@dataclass(frozen=True)
class Extension:
    """Tokens added behind a vocabulary.

    Attributes:
        old_size: ids before; they mean what they meant.
        new_size: ids now. Between the two are the new ones.
        padded_size: rows the model is to have; ids from ``new_size`` on are nobody's.
        pieces: for each new id the old ids that the same bytes had.
        canonical: token id -> its number for Engram, of all ``new_size`` ids (see
            ``text.canonical``); None for a foreign tokenizer, whose models have no Engram.
        base: the ``path`` of the tokenizer extended, and the ``sha256`` of its file.
        similar: the old tokens that stand where a new one does, for FOCUS; None if not counted.
    """

    old_size: int
    new_size: int
    padded_size: int
    pieces: Sequence[Sequence[int]]
    canonical: Sequence[int] | None = None
    base: Mapping[str, str] = field(default_factory=lambda: {})
    similar: Similar | None = None

    def __post_init__(self) -> None:
        sizes = self.old_size, self.new_size, self.padded_size
        inside = all(p and 0 <= min(p) <= max(p) < self.old_size for p in self.pieces)
        if not (0 < sizes[0] <= sizes[1] <= sizes[2] and inside) or (
            len(self.pieces) != self.new_size - self.old_size
        ):
            raise TokenizerError(
                "No extension: {old} ids before, {new} after and {padded} padded must rise, with "
                "old ids for each of the new ones; there are {pieces} lists of them.",
                old=self.old_size,
                new=self.new_size,
                padded=self.padded_size,
                pieces=len(self.pieces),
            )

    @property
    def new_rows(self) -> slice:
        """The rows of the new ids."""
        return slice(self.old_size, self.new_size)

    @classmethod
    def read(cls, folder: str | Path) -> Extension:
        """The extension that ``tokenizer extend`` wrote into ``folder``.

        Raises:
            ArtifactError: the folder has none, or a damaged one.
        """
        path = Path(folder) / FILE
        if not path.is_file():
            raise ArtifactError(
                "{path} is missing: this tokenizer was not made by `yaongi tokenizer extend`.",
                path=path,
            )
        found = read_json(path)
        names = {"old_size", "new_size", "padded_size", "pieces", "canonical", "base"}
        if not is_mapping(found) or set(found) != names:
            raise ArtifactError(
                "{path} must hold {expected}.", path=path, expected=", ".join(sorted(names))
            )
        return cls(**found, similar=_read_similar(path.with_name(SIMILAR_FILE)))

    def write(self, folder: Path) -> None:
        """Write it into ``folder``, atomically."""
        data = {
            "base": dict(self.base),
            "old_size": self.old_size,
            "new_size": self.new_size,
            "padded_size": self.padded_size,
            "pieces": [list(piece) for piece in self.pieces],
            "canonical": None if self.canonical is None else list(self.canonical),
        }  # on one line: a number a line would make it ten times as long
        write_bytes(folder / FILE, (json.dumps(data) + "\n").encode())
        if self.similar is not None:
            arrays = {"ids": self.similar.ids, "weights": self.similar.weights}
            write_with(
                folder / SIMILAR_FILE, lambda path: _numpy_files.save_file(arrays, str(path))
            )


def padded(size: int) -> int:
    """``size`` rounded up to what matrices like."""
    return -(-size // PADDED_TO) * PADDED_TO


def _read_similar(path: Path) -> Similar | None:
    if not path.is_file():
        return None
    found = cast("dict[str, np.ndarray]", _numpy_files.load_file(str(path)))
    return Similar(found["ids"], found["weights"])
