"""What goes into a repository: an artifact's files, what they are to the Hub, and its manifest.

A repository holds one artifact, as it lies on disk: pulling it gives the same artifact again.
"""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any

from yaongi.core.artifact import (
    MANIFEST,
    Ancestor,
    Artifact,
    FileEntry,
    Manifest,
    machine,
    open_artifact,
    versions,
)
from yaongi.core.errors import ArtifactError
from yaongi.core.files import is_mapping, plain, sha256_file
from yaongi.core.i18n import translate
from yaongi.interop.hub_files import CARD, check_local, check_names


class What(Enum):
    """What an artifact is to those who find it."""

    MODEL = "yaongi"
    HF = "transformers"
    GGUF = "gguf"
    ADAPTER = "yaongi adapter"
    PEFT = "peft"
    TOKENIZER = "tokenizers"
    DATA = "data"

    @property
    def repo_type(self) -> str:
        """The kind of repository it goes into."""
        return "dataset" if self is What.DATA else "model"


@dataclass(frozen=True)
class Parcel:
    """An artifact ready to be sent.

    Attributes:
        files: name in the repository -> file here; the manifest and the card are not among them.
    """

    artifact: Artifact
    what: What
    files: Mapping[str, Path]

    @property
    def settings(self) -> dict[str, Any]:
        """The model's ``config.json``, empty where it has none."""
        path = self.files.get("config.json")
        found = json.loads(path.read_text("utf-8")) if path else {}
        return dict(found) if is_mapping(found) else {}

    @property
    def parameters(self) -> int | None:
        """How many numbers the model has; None without safetensors.

        Read from their headers, but for quantized ones, which pack several into one.
        """
        if self.artifact.manifest.kind == QUANTIZED:
            return sum(self.artifact.manifest.counts.get(name, 0) for name in PRECISIONS)
        counts = [_numbers(p) for n, p in self.files.items() if n.endswith(".safetensors")]
        return sum(counts) if counts else None


def _numbers(path: Path) -> int:
    try:
        with path.open("rb") as stream:
            head = json.loads(stream.read(struct.unpack("<Q", stream.read(8))[0]))
        shapes = [entry["shape"] for name, entry in head.items() if name != "__metadata__"]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ArtifactError("{path} is not readable as safetensors.", path=path) from error
    total = 0
    for shape in shapes:
        size = 1
        for extent in shape:
            size *= extent
        total += size
    return total


QUANTIZED, PRECISIONS = "quantized", ("int4", "int8", "kept")
"""The kind of artifact that is a model in few bits, and its counts of numbers by their bits."""
ROLLOUTS = "rollouts/"
"""Prompts and completions that a model has learnt from; they are many, and may be private."""
REFUSED = ("rejected.jsonl.zst", "examples.jsonl")
"""Texts that cleaning took out of a corpus: what they hold is why they are not in it."""


def pack(path: Path, *, made_from: Path | None = None, rollouts: bool = False) -> Parcel:
    """Everything of the artifact ``path``, checked.

    Args:
        path: a folder with a manifest, or a ``.gguf`` file.
        made_from: for a ``.gguf`` file, the artifact it was exported from.
        rollouts: whether those of a model that learnt from rewards come along.
    Raises:
        ArtifactError: no artifact, a damaged one, nothing for the Hub, or a file that must not
            travel (a pickle, a link, an unsafe name).
    """
    artifact = _gguf(path, made_from) if path.suffix == ".gguf" else open_artifact(path)
    if path.is_dir():
        _check_whole(path)
        artifact.verify()
    m = artifact.manifest
    names = [name for name in m.files if name not in (*m.withheld, CARD)]  # it gets our card
    what = _what(artifact, names)
    if what is What.DATA:
        names = [name for name in names if name not in REFUSED]
    if m.kind == "grpo" and not rollouts:
        names = [name for name in names if not name.startswith(ROLLOUTS)]
    check_names([*names, MANIFEST, CARD], str(path))
    check_local(artifact.path, names)
    return Parcel(artifact, what, {name: artifact.path / name for name in names})


def _check_whole(path: Path) -> None:
    inner = sorted(p.parent for p in path.glob(f"*/{MANIFEST}"))
    if inner and not (path / "model.safetensors").is_file():
        raise ArtifactError(
            "{path} holds another artifact; push that: {inner}", path=path, inner=inner[0]
        )


def _gguf(path: Path, made_from: Path | None) -> Artifact:
    """A GGUF file as an artifact of its own."""
    if not path.is_file():
        raise ArtifactError("{path} is missing.", path=path)
    parents = [] if made_from is None else [open_artifact(made_from)]
    manifest = Manifest(
        kind="gguf",
        created=datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds"),
        config={},
        parents=[parent.as_ancestor() for parent in parents],
        licences=sorted({x for parent in parents for x in parent.manifest.licences}),
        hardware=plain(machine()),
        versions=versions(),
        files={path.name: FileEntry(bytes=path.stat().st_size, sha256=sha256_file(path))},
    )
    return Artifact(path.parent, manifest)


def _what(artifact: Artifact, names: list[str]) -> What:
    kind, present = artifact.manifest.kind, set(names)
    if any(name.endswith(".gguf") for name in names):
        return What.GGUF
    if kind == "hf":
        return What.HF
    if "adapter_model.safetensors" in present:
        return What.PEFT
    if "adapter.safetensors" in present:
        return What.ADAPTER
    if "config.json" in present and any(name.endswith(".safetensors") for name in names):
        return What.HF if kind == "hub" else What.MODEL
    if kind in ("corpus", "answers"):
        return What.DATA
    if "tokenizer.json" in present:
        return What.TOKENIZER
    raise ArtifactError(
        "{path} is a '{kind}' artifact, and the Hub takes models, adapters, tokenizers, GGUF files "
        "and corpora.",
        path=artifact.path,
        kind=kind,
    )


def kept_back(parcel: Parcel) -> list[str]:
    """Files of the artifact that are not sent."""
    return sorted(set(parcel.artifact.manifest.files) - set(parcel.files))


def strangers(parcel: Parcel) -> list[str]:
    """Files in its folder that are none of the artifact's, and so not sent either."""
    folder, m = parcel.artifact.path, parcel.artifact.manifest
    if m.kind == "gguf":  # the folder of a file is not its own
        return []
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(set(found) - {MANIFEST, CARD, *m.files})


def rollouts_here(parcel: Parcel) -> bool:
    """Whether there are some that are not sent, and could be."""
    folder = parcel.artifact.path
    return any(n.startswith(ROLLOUTS) and (folder / n).is_file() for n in kept_back(parcel))


def folded(names: Sequence[str]) -> str:
    """Names in a row, those of a folder by their number."""
    folders = Counter(name.partition("/")[0] + "/" for name in names if "/" in name)
    single = [name for name in names if "/" not in name]
    counted = [translate("{folder} ({n} files)", folder=f, n=n) for f, n in folders.items()]
    return ", ".join([*single, *counted])


def manifest_of(parcel: Parcel) -> bytes:
    """The manifest as it travels: folders of this machine by their last names only."""
    m = parcel.artifact.manifest
    sent = m.model_copy(update={"parents": list(map(_without_home, m.parents)),
                                "withheld": kept_back(parcel)})  # fmt: skip
    text = json.dumps(sent.model_dump(mode="json"), ensure_ascii=False, indent=2)
    return (text + "\n").encode()


def _without_home(node: Ancestor) -> Ancestor:
    return node.model_copy(
        update={"path": short_path(node.path), "parents": list(map(_without_home, node.parents))}
    )


def short_path(path: str) -> str:
    """An absolute path without who works where: below here or home, else its last two names."""
    place = Path(path)
    if not place.is_absolute():
        return path
    for root in (Path.cwd(), Path.home()):
        if place.is_relative_to(root) and root != Path("/"):
            return place.relative_to(root).as_posix()
    return Path(*place.parts[-2:]).as_posix()


def private_places(parcel: Parcel) -> list[str]:
    """Absolute paths of this machine that travel: they are part of what the artifact is."""
    found = list(_places(parcel.artifact.manifest.config))
    if adapter := parcel.files.get("adapter.json"):
        found += _places(json.loads(adapter.read_text("utf-8")))
    return list(dict.fromkeys(found))


def _places(value: Any) -> Iterator[str]:
    if is_mapping(value):
        value = list(value.values())
    if isinstance(value, list):
        for entry in value:
            yield from _places(entry)
    elif isinstance(value, str) and Path(value.removeprefix("hf:")).is_absolute():
        yield value
