"""Data sets of the Hugging Face hub, streamed: ``hf:owner/name`` or ``hf:owner/name:config``.

Nothing is downloaded whole. A lost connection is tried again from the row it broke at, and caps
on rows and bytes keep a terabyte from arriving by mistake. A local folder in the hub's layout
works by its path: ``hf:./my-data`` (below ``data.root``) or ``hf:/absolute/path``.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datatrove.data import Document
from pydantic import model_validator

from yaongi.core.artifact import Artifact
from yaongi.core.errors import ConfigError, DataError, InputError
from yaongi.core.install import import_extra
from yaongi.core.units import ByteSize, Count, human_bytes
from yaongi.data.recognise import COLUMNS, BrokenRow, Parsed, documents
from yaongi.data.sources import Reading, Source, Unit, locate
from yaongi.data.wording import notice

ATTEMPTS = 6
FIRST_WAIT_S = 1.0
_CLIENTS = ("httpx", "httpcore", "aiohttp", "requests", "urllib3")


class HFSource(Source):
    """A data set of the hub, or a local folder laid out like one.

    Args:
        path: ``hf:owner/name[:config]``, ``hf:./folder[:config]`` or ``hf:/folder[:config]``.
        split: which split of it.
        revision: which state of a data set on the hub: a commit, a tag or a branch. A commit gives
            the same rows next year; without one the manifest does not say which rows they were.
        max_rows: stop after so many rows.
        max_bytes: stop after so many bytes of text.
    """

    kind: str = "hf"
    path: str
    split: str = "train"
    revision: str | None = None
    max_rows: Count | None = None
    max_bytes: ByteSize = 10 * 10**9

    @property
    def name(self) -> str:
        return self.path if self.path.startswith("hf:") else f"hf:{self.path}"

    @model_validator(mode="after")
    def _revision_is_of_the_hub(self) -> HFSource:
        if self.revision is not None and self._is_local:
            raise ConfigError(
                "{name} is a folder of this machine and has no revisions; leave revision out.",
                name=self.name,
            )
        return self

    def as_parent(self, root: Path) -> Artifact:
        """As every source's; with a revision, trace shows where it can be had again."""
        parent = super().as_parent(root).manifest
        if self.revision is not None:
            origin = f"hf://datasets/{self._place}@{self.revision}"
            return Artifact(Path(self.name), parent.model_copy(update={"origin": origin}))
        config = {k: v for k, v in parent.config.items() if k != "revision"}
        # without one, the hash is what it was before sources had revisions
        return Artifact(Path(self.name), parent.model_copy(update={"config": config}))

    @property
    def _place(self) -> str:
        """The path without ``hf:`` and the config."""
        return self.path.removeprefix("hf:").partition(":")[0]

    @property
    def _is_local(self) -> bool:
        return self._place.startswith(("/", "./", "../", "~"))

    def units(self, reading: Reading) -> list[Unit]:
        """One: the hub streams a data set from its beginning."""
        return [Unit(bytes=self.max_bytes)]

    def read(self, reading: Reading) -> Iterator[Document]:
        rows = self._rows(reading)
        taken = 0
        made = documents(rows, self.fields, where=self.name, reject=reading.reject_row)
        for document in made:
            taken += len(document.text.encode())
            if taken > self.max_bytes:
                reading.warn(
                    notice(
                        "{source}: stopped at max_bytes ({size})",
                        source=self.name,
                        size=human_bytes(self.max_bytes),
                    )
                )
                return
            yield document
            if self.max_rows:
                reading.advance(int(document.id.rpartition(":")[2]) / self.max_rows)

    def fingerprint(self, root: Path) -> str:
        place, _ = self._target(root)
        if not isinstance(place, Path):
            return ""  # the hub is asked when it is read
        digest = hashlib.sha256()
        for file in sorted(p for p in place.rglob("*") if p.is_file()):
            state = file.stat()
            name = file.relative_to(place).as_posix()
            digest.update(f"{name}\0{state.st_size}\0{state.st_mtime_ns}\0".encode())
        return digest.hexdigest()

    def _target(self, root: Path) -> tuple[Path | str, str | None]:
        """(local folder or name on the hub, config)."""
        where, config = self._place, self.path.removeprefix("hf:").partition(":")[2]
        if not self._is_local:
            return where, config or None
        place = locate(where, root)
        if not place.is_dir():
            raise DataError(
                "There is no folder {path} (source {name}).", path=place, name=self.name
            )
        return place, config or None

    def _rows(self, reading: Reading) -> Iterator[Parsed]:
        """Rows by number from 1, tried again where the connection breaks."""
        seen, failures = 0, 0
        while True:
            try:
                for row in self._open(reading.root, seen):
                    if seen == self.max_rows:
                        reading.warn(
                            notice(
                                "{source}: stopped at max_rows ({n})",
                                source=self.name,
                                n=self.max_rows,
                            )
                        )
                        return
                    seen, failures = seen + 1, 0
                    yield Parsed(seen, row)
                return
            except InputError:
                raise
            except Exception as error:
                failures += 1
                if not _is_transient(error) and seen:
                    yield Parsed(seen + 1, BrokenRow("damaged file", str(error)))
                    return
                if not _is_transient(error) or failures == ATTEMPTS:
                    raise self._unreadable(error, failures) from error
                reading.warn(
                    notice(
                        "{source}: tried again after row {row}: {error}",
                        source=self.name,
                        row=seen,
                        error=str(error),
                    )
                )
                time.sleep(FIRST_WAIT_S * 2 ** (failures - 1))

    def _open(self, root: Path, skip: int) -> Any:
        place, config = self._target(root)
        stream = _datasets().load_dataset(
            str(place), config, split=self.split, revision=self.revision, streaming=True
        )
        known = [c for c in stream.column_names or [] if c in {*COLUMNS, *self.fields.values()}]
        if known:  # do not fetch pictures and embeddings that nobody reads
            stream = stream.select_columns(known)
        return stream.skip(skip) if skip else stream

    def _unreadable(self, error: Exception, attempts: int) -> DataError:
        return DataError(
            "{name} (split {split}) cannot be read, tried {n} times: {reason}",
            name=self.name,
            split=self.split,
            n=attempts,
            reason=f"{type(error).__name__}: {error}",
        )


def _datasets() -> Any:
    return import_extra(
        "Reading hf: sources needs the package 'datasets': {command}", "datasets", "hf"
    )


def _is_transient(error: Exception) -> bool:
    """Whether trying again may help: a network or disk hiccup, not a wrong name or file."""
    if isinstance(error, (FileNotFoundError, PermissionError)):
        return False
    return isinstance(error, OSError) or type(error).__module__.startswith(_CLIENTS)
