"""Writing files so that a crash leaves the old file or the new one, never half of either."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_IMODE
from typing import Any, TypeGuard, cast

from yaongi.core.errors import ArtifactError, StorageError, YaongiError, os_reason


def write_bytes(path: Path, data: bytes) -> None:
    """Replace ``path`` atomically: temporary file beside it, fsync, rename, fsync the folder.

    Raises:
        StorageError: the disk refused; ``path`` is the whole old file (or, when only the last
            fsync of the folder failed, the whole new one) and the temporary file is gone.
    """

    def fill(temporary: Path) -> None:
        temporary.write_bytes(data)

    write_with(path, fill)


def write_with(path: Path, fill: Callable[[Path], None]) -> None:
    """Like ``write_bytes``, for writers that want a path (safetensors, numpy)."""
    temporary = path.with_name(f".{path.name}.tmp{os.getpid()}")
    with storage_errors(path):
        try:
            with_usual_mode(temporary, fill)
            sync(temporary)
            temporary.replace(path)
            sync(path.parent)
        finally:
            with suppress(OSError):  # the error that brought us here matters more
                temporary.unlink(missing_ok=True)


def with_usual_mode(path: Path, fill: Callable[[Path], object]) -> None:
    """Let ``fill`` write ``path``, which then has the permissions of any new file.

    safetensors makes its files anew, for nobody but their owner.
    """
    path.touch()
    usual = path.stat().st_mode
    fill(path)
    if path.stat().st_mode != usual:
        path.chmod(S_IMODE(usual))


def remove_temporaries(folder: Path) -> None:
    """Remove what ``write_with`` left below ``folder`` when its process was killed."""
    for path in folder.rglob(".*.tmp*"):
        if _TEMPORARY.fullmatch(path.name):
            path.unlink(missing_ok=True)


_TEMPORARY = re.compile(r"\..+\.tmp[0-9]+")


def write_json(path: Path, value: Any) -> None:
    """Atomically write strict JSON (no NaN), indented, UTF-8."""
    text = json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False, sort_keys=False)
    write_bytes(path, (text + "\n").encode())


def is_mapping(value: object) -> TypeGuard[Mapping[str, Any]]:
    """Whether ``value`` has named entries: ``isinstance`` alone leaves their types unknown."""
    return isinstance(value, Mapping)


def plain(value: Any) -> Any:
    """``value`` as strict JSON can hold it: numpy numbers unwrapped, NaN and infinity as text."""
    if is_mapping(value):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(v) for v in cast("list[Any]", value)]
    if isinstance(value, (str, bool, int, type(None))):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return plain(value.item()) if hasattr(value, "item") else str(value)


def read_json(path: Path) -> Any:
    """Read JSON. Raises ArtifactError naming the file when it is missing or cut short."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtifactError("{path} is missing.", path=path) from error
    except (ValueError, RecursionError) as error:
        raise ArtifactError(
            "{path} is not readable as JSON ({reason}); it may have been cut short.",
            path=path,
            reason=error,
        ) from error


@contextmanager
def storage_errors(path: Path) -> Generator[None]:
    """Turn a full or read-only disk into a StorageError that names the place.

    safetensors and tokenizers are Rust: their errors are no OSError but end in "(os error 28)".
    A forbidden *read* of some other file inside the block stays what it is.
    """
    try:
        yield
    except YaongiError:
        raise
    except Exception as error:
        code = error.errno if isinstance(error, OSError) else _rust_errno(error)
        denied = code == errno.EACCES and _concerns(error, path)
        if not denied and code not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG):
            raise
        raise StorageError(
            "Cannot write {path}: {reason}. Nothing half-written was kept.",
            path=path,
            reason=os_reason(OSError(code, os.strerror(code or 0))),
        ) from error


def _rust_errno(error: Exception) -> int | None:
    found = re.search(r"\(os error (\d+)\)", str(error))
    return int(found[1]) if found else None


def _concerns(error: Exception, path: Path) -> bool:
    """Whether the refused file is ``path``, its working folder, its temporary, or their folder."""
    name = getattr(error, "filename", None)
    if name is None:
        return True
    found = Path(os.fsdecode(name))
    temporary = found.name.startswith(f".{path.name}")
    return temporary or found == path.parent or str(found).startswith(str(path))


def sync(path: Path) -> None:
    """fsync a file or folder."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_tree(folder: Path) -> None:
    """fsync every file below ``folder``, then its folders. Links are left alone."""
    for root, _, names in os.walk(folder):
        for name in names:
            if not (Path(root) / name).is_symlink():
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
