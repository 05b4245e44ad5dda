"""Files on this machine: one, a glob, or a folder with everything below it.

In a folder every table (JSON lines, CSV, parquet) is read for its rows, and every text file is a
document, but for those that are about the tables beside them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from datatrove.data import Document
from pydantic import field_validator

from yaongi.core.errors import ConfigError, DataError, did_you_mean, nearest
from yaongi.data.recognise import BrokenRow, Parsed, documents
from yaongi.data.sources import Reading, Source, Unit, check_inside, locate
from yaongi.data.sources.formats import KNOWN, Opened, ReadRows, is_text, reader_of
from yaongi.data.wording import notice

_WHOLE_HASH_BYTES = 256 * 2**20  # larger files are fingerprinted by samples
_SAMPLE_BYTES = 2**20
_ADVANCE_ROWS = 500

ABOUT_DATA = ("changelog", "copying", "licence", "license", "notice", "readme")
"""Names of texts that, beside tables, tell of a data set and are none of it."""


class FilesSource(Source):
    """Rows of files below ``data.root``.

    Args:
        path: a file, a folder, or a glob such as ``news/**/*.jsonl.zst``; relative to the root.
        exchange: a regular expression with the groups ``question`` and ``answer`` that a whole
            text must match; it is a conversation then, and otherwise kept aside.
    """

    kind: str = "files"
    path: str
    exchange: str | None = None

    @field_validator("exchange")
    @classmethod
    def _has_both_groups(cls, pattern: str | None) -> str | None:
        if pattern is None:
            return None
        try:
            groups = set(re.compile(pattern, re.DOTALL).groupindex)
        except re.error as error:
            raise ConfigError(
                "'{pattern}' is no regular expression: {error}", pattern=pattern, error=error
            ) from error
        if groups != {"question", "answer"}:
            raise ConfigError(
                "'{pattern}' needs the groups (?P<question>…) and (?P<answer>…) and no others "
                "with names; it has: {found}",
                pattern=pattern,
                found=", ".join(sorted(groups)) or "-",
            )
        return pattern

    @property
    def name(self) -> str:
        return self.path

    def units(self, reading: Reading) -> list[Unit]:
        """One for each file."""
        files, skipped = self.files(reading.root)
        if skipped:
            reading.warn(
                notice(
                    "{source}: {n} files of another kind, or about the data, were not read, "
                    "e.g. {file}",
                    source=self.path,
                    n=len(skipped),
                    file=skipped[0].name,
                )
            )
        if 0 < len(texts := list(filter(is_text, files))) < len(files):
            reading.warn(
                notice(
                    "{source}: {n} text files beside tables are documents, too, e.g. {file}; a "
                    "glob (FOLDER/*.jsonl) reads tables alone",
                    source=self.path,
                    n=len(texts),
                    file=texts[0].name,
                )
            )
        return [Unit(_label(file, reading.root), file.stat().st_size) for file in files]

    def read(self, reading: Reading) -> Iterator[Document]:
        units = [Unit(reading.unit)] if reading.unit else self.units(reading)
        files = [reading.root / unit.name for unit in units]
        sizes = [file.stat().st_size + 1 for file in files]
        read = 0
        for file, size in zip(files, sizes, strict=True):
            for share, document in self._read_file(file, reading):
                reading.advance((read + share * size) / sum(sizes))
                yield document
            read += size

    def _read_file(self, file: Path, reading: Reading) -> Iterator[tuple[float, Document]]:
        """(share of the file read, document)."""
        label = _label(file, reading.root)
        read: ReadRows | None = reader_of(file)
        assert read is not None
        with Opened(file) as opened:
            share = 0.0
            fields = {} if is_text(file) else self.fields  # a text file has no columns
            rows = read(opened)
            if self.exchange is not None:
                rows = _exchanges(rows, re.compile(self.exchange, re.DOTALL), fields)
                fields = {}
            made = documents(rows, fields, where=label, reject=reading.reject_row)
            for n, document in enumerate(made):
                if n % _ADVANCE_ROWS == 0:
                    share = opened.fraction()
                yield share, document

    def fingerprint(self, root: Path) -> str:
        digest = hashlib.sha256()
        for file in self.files(root)[0]:
            digest.update(f"{_label(file, root)}\0{file.stat().st_size}\0".encode())
            _sample(file, digest)
        return digest.hexdigest()

    def files(self, root: Path) -> tuple[list[Path], list[Path]]:
        """The files to read, in order, and those of the folder that are left out."""
        place = locate(self.path, root)
        if any(c in self.path for c in "*?["):
            base = Path(place.anchor) if place.is_absolute() else Path()
            found = sorted(p for p in base.glob(str(place.relative_to(base))) if p.is_file())
        elif place.is_dir():
            found = sorted(p for p in place.rglob("*") if _is_visible_file(p, place))
        elif place.is_file():
            found = [place]
            if reader_of(place) is None:
                raise DataError(
                    "{path} is no kind of file that can be read. Known: {known}.",
                    path=place,
                    known=KNOWN,
                )
        else:
            raise _missing(place, root)
        if not found and not root.is_dir():
            raise _missing(place, root)
        if not Path(self.path).expanduser().is_absolute():
            for file in found:
                check_inside(file, root)
        return _choose(found, place)


def _choose(found: list[Path], place: Path) -> tuple[list[Path], list[Path]]:
    chosen = [file for file in found if reader_of(file)]
    if not chosen:
        raise DataError(
            "{path} holds no file that can be read ({n} others). Known: {known}.",
            path=place,
            n=len(found),
            known=KNOWN,
        )
    if not all(map(is_text, chosen)):
        chosen = [f for f in chosen if not is_text(f) or f.stem.lower() not in ABOUT_DATA]
    return chosen, [file for file in found if file not in set(chosen)]


def _exchanges(
    rows: Iterable[Parsed], pattern: re.Pattern[str], fields: dict[str, str]
) -> Iterator[Parsed]:
    """Rows of a text as rows of a question and its answer."""
    column = fields.get("text", "text")
    for line, row in rows:
        if isinstance(row, BrokenRow) or not isinstance(text := row.get(column), str):
            yield Parsed(line, row)
        elif found := pattern.fullmatch(text):
            rest = {k: v for k, v in row.items() if k != column}
            yield Parsed(line, {**rest, **found.groupdict()})
        else:
            yield Parsed(line, BrokenRow("text is no question and answer", text))


def _label(file: Path, root: Path) -> str:
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else file.as_posix()


def _is_visible_file(path: Path, folder: Path) -> bool:
    return path.is_file() and not any(p.startswith(".") for p in path.relative_to(folder).parts)


def _missing(place: Path, root: Path) -> DataError:
    if place == root and not root.is_dir():
        return DataError(
            "The data folder {root} does not exist. Set data.root in the recipe or YAONGI_DATA "
            "to the folder of your texts.",
            root=root,
        )
    if place.is_relative_to(root) and not root.is_dir():
        return DataError(
            "The data folder {root} does not exist. Set data.root in the recipe or YAONGI_DATA "
            "to the folder that holds {path}.",
            root=root,
            path=place.relative_to(root),
        )
    siblings = [p.name for p in place.parent.iterdir()] if place.parent.is_dir() else []
    near = nearest(place.name, siblings)
    return DataError(
        "There is no {path}. {help}",
        path=place,
        help=did_you_mean(str(place), [str(place.parent / near)]) if near else "",
    )


def _sample(file: Path, digest: hashlib._Hash) -> None:
    size = file.stat().st_size
    with file.open("rb") as stream:
        if size <= _WHOLE_HASH_BYTES:
            while block := stream.read(_SAMPLE_BYTES):
                digest.update(block)
            return
        for i in range(16):
            stream.seek((size - _SAMPLE_BYTES) * i // 15)
            digest.update(stream.read(_SAMPLE_BYTES))
