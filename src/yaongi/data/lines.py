"""JSON lines in zstd, the files between the steps: written whole or not at all, read as streams."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import zstandard

from yaongi.core.files import sync


def json_line(row: Mapping[str, Any]) -> bytes:
    """``row`` as one line; half of a surrogate pair is written as its escape."""
    text = json.dumps(row, ensure_ascii=False, separators=(",", ":"), default=str)
    return text.encode(errors="backslashreplace") + b"\n"


def writer(path: Path, level: int = 3) -> Any:
    """A stream that compresses into ``path``."""
    compressor = zstandard.ZstdCompressor(level=level, write_checksum=True)
    return compressor.stream_writer(path.open("wb"), closefd=True)


def reader(path: Path) -> io.BufferedReader:
    """The lines of ``path``."""
    stream: Any = zstandard.ZstdDecompressor().stream_reader(path.open("rb"), closefd=True)
    return io.BufferedReader(stream, 2**18)


@contextmanager
def whole_file(path: Path, level: int = 1) -> Generator[BinaryIO]:
    """Like ``writer``, but ``path`` appears only when the block ends well.

    Two processes that write the same do not meet: each has a temporary file of its own.
    """
    temporary = path.with_name(f".{path.name}.tmp{os.getpid()}")
    try:
        with writer(temporary, level) as stream:
            yield stream
        sync(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
