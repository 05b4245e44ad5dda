"""Which files may travel between a folder and the Hub: safe names, no pickles, nothing damaged.

A name in a repository was written by a stranger. It must mean the same file on Linux, macOS and
Windows, and nothing outside its folder on any of them.
"""

from __future__ import annotations

import fnmatch
import hashlib
import re
import struct
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from yaongi.core.artifact import MANIFEST
from yaongi.core.errors import ArtifactError
from yaongi.core.files import sha256_file
from yaongi.core.i18n import translate

PICKLES = (
    *(".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"),
    *(".joblib", ".dill", ".pdparams", ".nemo", ".mar"),
)
"""Endings of files that are pickles or hold some: reading one can run a program."""
CARD = "README.md"
PARTS = {
    "model": ("*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "tokenizer.model"),
    "gguf": ("*.gguf",),
    "adapter": ("adapter_config.json", "adapter_model.safetensors", "adapter.json",
                "adapter.safetensors"),
    "tokenizer": ("tokenizer*.json", "tokenizer.model", "special_tokens_map.json", "vocab.json",
                  "merges.txt", "*.jinja"),
    "data": ("*.jsonl*", "*.json", "*.parquet", "*.csv", "*.txt"),
}  # fmt: skip
"""What ``pull --only`` calls a part of a repository, and the names of its files."""
LEGAL = "[Ll][Ii][Cc][Ee][Nn][CcSs][Ee]*", "NOTICE*", "USE_POLICY*", "COPYING*"
"""They come along with every part."""
FILE_BYTES = 200 * 10**9
"""The largest file the Hub takes; it recommends far less."""


@dataclass(frozen=True)
class Remote:
    """A file of a repository. Large files are known by SHA-256, small ones by git's hash."""

    name: str
    bytes: int
    sha256: str | None
    git_sha1: str | None

    def is_at(self, path: Path) -> bool:
        """Whether ``path`` holds exactly this file."""
        if not path.is_file() or path.stat().st_size != self.bytes:
            return False
        if self.sha256:
            return sha256_file(path) == self.sha256
        return git_sha1(path.read_bytes()) == self.git_sha1


def git_sha1(content: bytes) -> str:
    """What git calls a file of this content."""
    head = b"blob %d\0" % len(content)
    return hashlib.sha1(head + content, usedforsecurity=False).hexdigest()


def check_names(names: Iterable[str], where: str) -> None:
    """Refuse names that do not mean one file inside the folder on every system.

    Args:
        where: the folder or repository, for the message.
    Raises:
        ArtifactError: with the first such names and what is wrong with each.
    """
    names = list(names)
    wrong = [f"{name!r}: {reason}" for name in names if (reason := _wrong(name))]
    wrong += [] if wrong else list(_clashes(names))
    if wrong:
        raise ArtifactError(
            "{where} has file names that are not safe: {wrong}. Nothing was transferred.",
            where=where,
            wrong="; ".join(wrong[:3]),
        )


def _wrong(name: str) -> str | None:
    """What is wrong with a name, if anything."""
    if name.startswith("/") or "\\" in name or re.match(r"[A-Za-z]:", name):
        return translate("it is not relative to the folder")
    parts = name.split("/")
    if any(part in ("", ".", "..") or part.lower() == ".git" for part in parts):
        return translate("it leaves the folder or enters git's own")
    if parts[:2] == [".cache", "huggingface"]:
        return translate("downloads keep their own notes there")
    if any(unicodedata.category(c) in ("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp") for c in name):
        return translate("it has characters nobody sees")
    if any(len(part.encode()) > 240 for part in parts) or len(name.encode()) > 1000:
        return translate("it is too long")
    if any(_RESERVED.fullmatch(part) or part[-1] in ". " for part in parts):
        return translate("Windows cannot store it")
    return None


_RESERVED = re.compile(
    r'(?i)(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])(\..*)?|.*[<>:"|?*].*'
)


def _clashes(names: Sequence[str]) -> Iterable[str]:
    """Names that are one file where case or composition does not count, or file and folder."""
    seen: dict[str, str] = {}
    for name in names:
        key = unicodedata.normalize("NFC", name).casefold()
        if key in seen:
            yield translate("'{a}' and '{b}' are one file on some systems", a=seen[key], b=name)
        seen[key] = name
    for name in names:
        for parent in PurePosixPath(unicodedata.normalize("NFC", name).casefold()).parents:
            if str(parent) in seen:
                yield translate("'{name}' would be a file and a folder", name=seen[str(parent)])


def is_pickle(name: str) -> bool:
    """Whether reading the file could run a program, by its name."""
    return PurePosixPath(name).suffix.lower() in PICKLES


def chosen(names: Iterable[str], only: str | None) -> list[str]:
    """The names that ``--only`` asks for, and licence files; all where it is None.

    Args:
        only: one of ``PARTS``, or a pattern such as ``*Q4_K_M.gguf``.
    """
    if only is None:
        return list(names)
    patterns = PARTS.get(only, (only,))
    found = [name for name in names if name != MANIFEST and _fits(name, patterns)]
    return found + [n for n in names if n not in found and _fits(n, LEGAL)] if found else []


def _fits(name: str, patterns: Iterable[str]) -> bool:
    base = name.rpartition("/")[2]
    return any(fnmatch.fnmatchcase(name, p) or fnmatch.fnmatchcase(base, p) for p in patterns)


def check_local(folder: Path, names: Iterable[str]) -> None:
    """Refuse to send what others could not read safely.

    Raises:
        ArtifactError: a pickle, a link, a device, a file that is not what its name says, or one
            larger than the Hub takes.
    """
    for name in names:
        path = folder / name
        if is_pickle(name):
            raise ArtifactError(
                "{path} is not sent: files like this can hide programs or are raw memory. Models "
                "travel as safetensors or GGUF; of shards, push the corpus they were made from.",
                path=path,
            )
        inside = path.resolve().is_relative_to(folder.resolve())
        if path.is_symlink() or not path.is_file() or not inside:
            raise ArtifactError("{path} is not an ordinary file of this folder.", path=path)
        if path.stat().st_size > FILE_BYTES:
            raise ArtifactError(
                "{path} is larger than the Hub takes in one file ({limit} bytes). Export the model "
                "in several files.",
                path=path,
                limit=f"{FILE_BYTES:,}",
            )
        check_content(path)


def check_content(path: Path) -> None:
    """A ``.safetensors`` or ``.gguf`` file must begin like one.

    Raises:
        ArtifactError: it does not.
    """
    if path.suffix not in (".safetensors", ".gguf"):
        return
    with path.open("rb") as stream:
        head = stream.read(9)
    fits = head[:4] == b"GGUF"
    if path.suffix == ".safetensors":
        length = struct.unpack("<Q", head[:8])[0] if len(head) == 9 else 0
        fits = head[8:] == b"{" and 2 <= length <= path.stat().st_size - 8
    if not fits:
        raise ArtifactError(
            "{path} is not a {kind} file, whatever its name says.", path=path, kind=path.suffix[1:]
        )
