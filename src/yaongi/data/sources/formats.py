"""Rows out of files: JSON lines, CSV, parquet and plain text, compressed or not, streamed.

A file is never held whole (a text file is cut into pieces), a bomb stops at the expansion cap,
and whatever is damaged becomes a ``BrokenRow`` while the rest of the file is used.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import zstandard

from yaongi.core.errors import DataError
from yaongi.core.units import human_bytes
from yaongi.data.recognise import BrokenRow, Parsed

MAX_LINE_BYTES = 16 * 2**20
MAX_EXPANSION = 300  # times the compressed size; text rarely passes 20
FREE_EXPANSION_BYTES = 256 * 2**20  # below this much output nobody is harmed
TEXT_PIECE_BYTES = 64 * 2**10  # a longer text file is cut at blank lines, so part can be held out
_BUFFER_BYTES = 2**18
_COMPRESSIONS = (".gz", ".zst")
_DAMAGE = (OSError, EOFError, zlib.error, zstandard.ZstdError)

ReadRows = Callable[["Opened"], Iterator[Parsed]]


class Opened:
    """A file being read, decompressed on the way. Use as a context manager.

    Args:
        path: what to open; ``.gz`` and ``.zst`` are unpacked.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = path.stat().st_size
        self._raw = path.open("rb")
        self.stream = io.BufferedReader(_Capped(_unpack(self._raw, path), self), _BUFFER_BYTES)

    def fraction(self) -> float:
        """The share of the file on disk that has been read."""
        return min(1.0, self._raw.tell() / self.size) if self.size else 1.0

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *_: object) -> None:
        self._raw.close()


class _Capped(io.RawIOBase):
    """Stops a stream that unpacks to far more than any text would."""

    def __init__(self, inner: Any, opened: Opened) -> None:
        self.inner, self.path = inner, opened.path
        self.left = max(FREE_EXPANSION_BYTES, MAX_EXPANSION * opened.size)
        self.limit = self.left

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        n = self.inner.readinto1(buffer)  # filling the buffer, a cut file would lose all of it
        self.left -= n
        if self.left < 0:
            raise DataError(
                "{path} unpacks to more than {limit}, over {times} times its size. "
                "If that is right, unpack it first and give the unpacked file.",
                path=self.path,
                limit=human_bytes(self.limit),
                times=MAX_EXPANSION,
            )
        return n


def _unpack(raw: BinaryIO, path: Path) -> Any:
    if path.suffix == ".gz":
        return gzip.GzipFile(fileobj=raw)
    return _ZstStream(raw) if path.suffix == ".zst" else raw


class _ZstStream:
    """zstd frames as a stream that notices a file cut short (``stream_reader`` does not)."""

    CHUNK = 2048  # unpacks to 64 MB at the very worst

    def __init__(self, raw: BinaryIO) -> None:
        self.raw = raw
        self.pending, self.at = bytearray(), 0
        self.frame: Any = None

    def readinto1(self, buffer: Any) -> int:
        while self.at == len(self.pending):
            self.pending, self.at = bytearray(), 0
            data = self.raw.read(self.CHUNK)
            if not data and self.frame is not None:
                raise EOFError("the file ends in the middle of a zstd frame")
            if not data:
                return 0
            self._feed(data)
        n = min(len(buffer), len(self.pending) - self.at)
        buffer[:n] = self.pending[self.at : self.at + n]
        self.at += n
        return n

    def _feed(self, data: bytes) -> None:
        while data:
            if self.frame is None:
                self.frame = zstandard.ZstdDecompressor().decompressobj()
            self.pending += self.frame.decompress(data)
            data = b""
            if self.frame.eof:
                data, self.frame = self.frame.unused_data, None


def reader_of(path: Path) -> ReadRows | None:
    """How to read ``path``, by its name; None when it is no kind of file we know."""
    name = path.name
    for compression in _COMPRESSIONS:
        if name.endswith(compression):
            return _READERS.get(Path(name.removesuffix(compression)).suffix.lower())
    return {**_READERS, ".parquet": read_parquet}.get(path.suffix.lower())


def is_text(path: Path) -> bool:
    """Whether ``path`` is a text as a whole, and no table of rows."""
    return reader_of(path) is read_text


def read_jsonl(opened: Opened) -> Iterator[Parsed]:
    """One JSON object per line; blank lines are no rows."""
    for number, line in _lines(opened):
        if isinstance(line, BrokenRow):
            yield Parsed(number, line)
        elif line.strip():
            yield Parsed(number, _json_row(line))


def _json_row(line: bytes) -> dict[str, Any] | BrokenRow:
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return _not_utf8(line)
    except (ValueError, RecursionError):
        return _broken("not JSON", line)
    return row if isinstance(row, dict) else _broken("not a JSON object", line)


def read_csv(opened: Opened) -> Iterator[Parsed]:
    """CSV or TSV with a header line, quoted as RFC 4180; line numbers are of the row's end."""
    csv.field_size_limit(MAX_LINE_BYTES)
    tabs = ".tsv" in opened.path.suffixes
    broken: list[Parsed] = []
    reader = csv.reader(_csv_lines(opened, broken), delimiter="\t" if tabs else ",")
    header: list[str] | None = None
    done = False
    while not done:
        try:
            cells = next(reader, None)
        except csv.Error:
            cells = []
            broken.append(Parsed(reader.line_num, BrokenRow("not CSV")))
        yield from broken
        broken.clear()
        done = cells is None
        if header is None:
            header = cells
        elif cells:
            yield Parsed(reader.line_num, _csv_row(header, cells))


def _csv_lines(opened: Opened, broken: list[Parsed]) -> Iterator[str]:
    for number, line in _lines(opened):
        if isinstance(line, BrokenRow):
            broken.append(Parsed(number, line))
            continue
        text = line.decode("utf-8", errors="surrogateescape")
        yield text.removeprefix("\ufeff") if number == 1 else text


def _csv_row(header: list[str], cells: list[str]) -> dict[str, Any] | BrokenRow:
    if len(cells) != len(header):
        return BrokenRow("wrong number of columns", repr(cells))
    try:
        "".join(cells).encode()
    except UnicodeEncodeError:
        return _not_utf8(",".join(cells).encode(errors="surrogateescape"))
    return dict(zip(header, cells, strict=True))


def read_text(opened: Opened) -> Iterator[Parsed]:
    """A whole file as one document, or pieces of it where it is long."""
    piece: list[bytes] = []
    start, size = 1, 0
    for number, line in _lines(opened):
        if isinstance(line, BrokenRow):
            yield Parsed(number, line)
            continue
        piece.append(line)
        size += len(line)
        if size >= TEXT_PIECE_BYTES and (not line.strip() or size >= MAX_LINE_BYTES):
            yield Parsed(start, _text_row(b"".join(piece)))
            piece, start, size = [], number + 1, 0
    if b"".join(piece).strip() or start == 1:
        yield Parsed(start, _text_row(b"".join(piece)))


def _text_row(data: bytes) -> dict[str, Any] | BrokenRow:
    try:
        return {"text": data.decode("utf-8-sig")}
    except UnicodeDecodeError:
        return _not_utf8(data)


def read_parquet(opened: Opened) -> Iterator[Parsed]:
    """Parquet rows, a few hundred at a time; the line is the row's number from 1."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        for batch in pq.ParquetFile(opened.path).iter_batches(batch_size=256):
            for row in _parquet_rows(batch):
                number += 1
                yield Parsed(number, row)
    except (pa.ArrowException, OSError) as error:
        yield Parsed(number + 1, BrokenRow("damaged file", str(error)))


def _parquet_rows(batch: Any) -> list[dict[str, Any] | BrokenRow]:
    try:
        return batch.to_pylist()
    except UnicodeDecodeError:
        if batch.num_rows == 1:
            return [BrokenRow("not UTF-8")]
        return [row for i in range(batch.num_rows) for row in _parquet_rows(batch.slice(i, 1))]


_READERS: dict[str, ReadRows] = {
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".csv": read_csv,
    ".tsv": read_csv,
    ".txt": read_text,
    ".md": read_text,
}
KNOWN = ".jsonl, .csv, .tsv, .txt and .md (each also with .gz or .zst) and .parquet"


def _lines(opened: Opened) -> Iterator[tuple[int, bytes | BrokenRow]]:
    """(number, line) of the unpacked stream; over-long lines and damage as BrokenRow."""
    number = 0
    try:
        while line := opened.stream.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > MAX_LINE_BYTES:
                _skip_line(opened.stream)
                yield number, _broken("line too long", line)
            else:
                yield number, line
    except _DAMAGE as error:
        yield number + 1, BrokenRow("damaged file", str(error))


def _skip_line(stream: io.BufferedReader[Any]) -> None:
    while (rest := stream.readline(_BUFFER_BYTES)) and not rest.endswith(b"\n"):
        pass


def _not_utf8(data: bytes) -> BrokenRow:
    """With the row as Windows wrote it, where that can be read: to be recognised, not used."""
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        decoder = codecs.getincrementaldecoder("utf-16" if wide else "cp949")()
        shown = decoder.decode(data[:4000])  # which may end in the middle of a letter
    except UnicodeDecodeError:
        return _broken("not UTF-8", data)
    return BrokenRow("not UTF-8", shown.rstrip("\r\n"))


def _broken(reason: str, line: bytes) -> BrokenRow:
    return BrokenRow(reason, line[:4000].decode("utf-8", errors="replace").rstrip("\r\n"))
