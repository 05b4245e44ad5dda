"""What a GGUF says about itself, read without trusting it.

Every length is compared with what is left of the file before anything of that size is read, so a
damaged or hostile header ends in an error at once: it neither hangs nor asks for memory. Layout:
ggml's docs/gguf.md, versions 2 and 3, little-endian.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yaongi.core.errors import ArtifactError, os_reason
from yaongi.core.i18n import translate as _

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q",
            12: "d"}  # fmt: skip
_STRING, _ARRAY = 8, 9
_MIN_TENSOR = 8 + 4 + 4 + 8  # bytes: its name's length, number of dimensions, type, offset
_MIN_KEY = 8 + 4  # bytes: a key's length and its type


MOST = {"block_count": 512, "context_length": 2**31 - 1}
"""What llama.cpp has room for. Beyond it, or below 1, it ends the process and not only the call."""


@dataclass(frozen=True)
class Header:
    """The keys of a file and its tensors.

    Attributes:
        tensors: name -> sizes, the fastest-running first as ggml counts.
    """

    path: Path
    keys: dict[str, Any]
    tensors: dict[str, tuple[int, ...]]

    @property
    def architecture(self) -> str:
        """The graph that computes it."""
        return self.text("general.architecture")

    def text(self, key: str) -> str:
        """A key that must be there as text. Raises ArtifactError."""
        return self._of(key, str)

    def number(self, key: str) -> int:
        """A key that must be there as a number. Raises ArtifactError."""
        return self._of(key, int)

    def strings(self, key: str) -> list[str]:
        """A key that must be there as a list of texts. Raises ArtifactError."""
        return self._all(key, str)

    def numbers(self, key: str) -> list[int]:
        """A key that must be there as a list of numbers. Raises ArtifactError."""
        return self._all(key, int)

    def check_sizes(self) -> None:
        """Raise ArtifactError unless the sizes are within ``MOST``."""
        for name, most in MOST.items():
            key = f"{self.architecture}.{name}"
            if not 1 <= (found := self.number(key)) <= most:
                reason = _("{key} is {found}; llama.cpp takes 1 to {most}",
                           key=key, found=found, most=most)  # fmt: skip
                raise _damaged(self.path, reason)

    def _all(self, key: str, kind: type) -> list[Any]:
        found = self._of(key, list)
        if not all(isinstance(item, kind) for item in found):
            raise _damaged(self.path, _("{key} has values of another type", key=key))
        return found

    def _of(self, key: str, kind: type) -> Any:
        found = self.keys.get(key)
        if not isinstance(found, kind):
            raise _damaged(self.path, _("it has no {key}, or one of another type", key=key))
        return found


def read_header(path: Path) -> Header:
    """Read the keys and the list of tensors of a GGUF file.

    Raises:
        ArtifactError: missing, no GGUF, of another version, cut short, or damaged.
    """
    try:
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as m:
            return _Reader(path, m).header()
    except (OSError, ValueError) as error:  # ValueError: an empty file cannot be mapped
        reason = os_reason(error) if isinstance(error, OSError) else _("it is empty")
        raise _damaged(path, reason) from error


def _damaged(path: Path, reason: str) -> ArtifactError:
    return ArtifactError("{path} is not a usable GGUF: {reason}.", path=path, reason=reason)


class _Reader:
    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self.path, self.data, self.at = path, data, 0

    def header(self) -> Header:
        if self.take(4) != b"GGUF":
            raise _damaged(self.path, _("it does not begin with GGUF"))
        version = self.number("I")
        if version not in (2, 3):
            raise _damaged(
                self.path, _("its version is {version}; expected 2 or 3", version=version)
            )
        n_tensors, n_keys = self.number("Q"), self.number("Q")
        self.check(n_keys, _MIN_KEY)
        keys = dict(self.key() for _ in range(n_keys))
        self.check(n_tensors, _MIN_TENSOR)
        tensors = [self.tensor() for _ in range(n_tensors)]
        if not tensors:
            raise _damaged(self.path, _("it has no tensors"))
        start = max(offset for _name, _sizes, offset in tensors)
        if self.at + start >= len(self.data):
            raise _damaged(self.path, _("it has been cut short"))
        return Header(self.path, keys, {name: sizes for name, sizes, _at in tensors})

    def key(self) -> tuple[str, Any]:
        name = self.string()
        kind = self.number("I")
        return name, self.array() if kind == _ARRAY else self.reader(kind)()

    def tensor(self) -> tuple[str, tuple[int, ...], int]:
        name, n_dims = self.string(), self.number("I")
        self.check(n_dims, 8)
        sizes = tuple(self.number("Q") for _ in range(n_dims))
        self.number("I")  # its number format, which llama.cpp checks
        return name, sizes, self.number("Q")

    def array(self) -> list[Any]:
        kind, count = self.number("I"), self.number("Q")
        self.check(count, 8 if kind == _STRING else 1)
        if kind in _SCALARS:
            size = struct.calcsize(f"<{_SCALARS[kind]}")
            self.check(count, size)
            return list(struct.unpack(f"<{count}{_SCALARS[kind]}", self.take(count * size)))
        read = self.reader(kind)  # of arrays in arrays there are none in files for llama.cpp
        return [read() for _ in range(count)]

    def reader(self, kind: int) -> Callable[[], Any]:
        if kind == _STRING:
            return self.string
        if kind not in _SCALARS:
            raise _damaged(self.path, _("a value has the unknown type {kind}", kind=kind))
        return lambda: self.number(_SCALARS[kind])

    def string(self) -> str:
        return self.take(self.number("Q")).decode("utf-8", "replace")

    def number(self, kind: str) -> Any:
        return struct.unpack(f"<{kind}", self.take(struct.calcsize(f"<{kind}")))[0]

    def take(self, count: int) -> bytes:
        self.check(count, 1)
        self.at += count
        return self.data[self.at - count : self.at]

    def check(self, count: int, size: int) -> None:
        """Raise unless ``count`` things of at least ``size`` bytes are left."""
        if count * size > len(self.data) - self.at:
            raise _damaged(self.path, _("it has been cut short, or a length in it is wrong"))
