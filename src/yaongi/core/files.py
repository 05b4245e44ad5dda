"""Writing files so that a crash leaves the old file or the new one, never half of either."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from yaongi.core.errors import ArtifactError, StorageError


def write_bytes(path: Path, data: bytes) -> None:
    """Replace ``path`` atomically: temporary file beside it, fsync, rename, fsync the folder.

    Raises:
        StorageError: the disk refused; ``path`` is as it was and the temporary file is gone.
    """

    def fill(temporary: Path) -> None:
        temporary.write_bytes(data)

    write_with(path, fill)


def write_with(path: Path, fill: Callable[[Path], None]) -> None:
    """Like ``write_bytes``, for writers that want a path (safetensors, numpy)."""
    temporary = path.with_name(f".{path.name}.tmp{os.getpid()}")
    with storage_errors(path):
        try:
            fill(temporary)
            sync(temporary)
            os.replace(temporary, path)
            sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Atomically write strict JSON (no NaN), indented, UTF-8."""
    text = json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False, sort_keys=False)
    write_bytes(path, (text + "\n").encode())


def read_json(path: Path) -> Any:
    """Read JSON. Raises ArtifactError naming the file when it is missing or cut short."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtifactError("{path} is missing.", path=path) from error
    except (ValueError, UnicodeDecodeError) as error:
        raise ArtifactError(
            "{path} is not readable as JSON ({reason}); it may have been cut short.",
            path=path,
            reason=error,
        ) from error


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn a full or read-only disk into a StorageError that names the place."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EACCES):
            raise StorageError(
                "Cannot write {path}: {reason}. Nothing half-written was kept.",
                path=path,
                reason=error.strerror,
            ) from error
        raise


def sync(path: Path) -> None:
    """fsync a file or folder."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_tree(folder: Path) -> None:
    """fsync every file below ``folder``, then its folders."""
    for root, _, names in os.walk(folder):
        for name in names:
            sync(Path(root) / name)
        sync(Path(root))


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_json(value: Any) -> str:
    """Hex SHA-256 of a value's canonical JSON."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
