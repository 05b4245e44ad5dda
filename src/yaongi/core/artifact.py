"""A stage's output folder: data plus ``manifest.json``, written atomically, never edited.

A stage works in ``DIR.partial/`` and the folder is renamed to ``DIR`` when complete, manifest
last, so a folder without a manifest is never mistaken for a result. The manifest names the
parents by hash and carries their ancestry, so ``trace`` works even where they are gone.
"""

from __future__ import annotations

import functools
import os
import platform
import shutil
import subprocess
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from yaongi.core.errors import ArtifactError, StorageError, nearest, os_reason
from yaongi.core.files import (
    is_mapping,
    plain,
    read_json,
    remove_temporaries,
    sha256_file,
    sha256_json,
    storage_errors,
    sync,
    sync_tree,
    write_json,
)
from yaongi.core.i18n import translate

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"


class Ancestor(BaseModel):
    """A parent artifact as its child remembers it.

    Attributes:
        origin: where it was downloaded from, with the exact revision; None for what was made here.
    """

    model_config = ConfigDict(extra="ignore")
    kind: str
    path: str
    hash: str
    licences: list[str] = []
    origin: str | None = None
    parents: list[Ancestor] = []

    @property
    def identity(self) -> tuple[str, str]:
        """Hash and place: the same content may lie in two, under two licences."""
        return self.hash, self.path

    def walk(self) -> Iterator[Ancestor]:
        """This entry, its parents, their parents, ...: level by level."""
        level = [self]
        while level:
            yield from level
            level = [parent for node in level for parent in node.parents]

    def nearest(self, kind: str) -> Ancestor | None:
        """The first entry of ``kind`` on that walk."""
        return next((node for node in self.walk() if node.kind == kind), None)


class FileEntry(BaseModel):
    """Size and hash of one file of the artifact."""

    bytes: int
    sha256: str


class Manifest(BaseModel):
    """Everything about an artifact but its data.

    Attributes:
        origin: as an ``Ancestor``'s.
        withheld: those of ``files`` that were kept back when the artifact was passed on.
    """

    model_config = ConfigDict(extra="ignore")
    kind: str
    schema_version: int = SCHEMA_VERSION
    created: str
    config: dict[str, Any]
    parents: list[Ancestor] = []
    seed: int | None = None
    git_commit: str | None = None
    counts: dict[str, Any] = {}
    licences: list[str] = []
    metrics: dict[str, Any] = {}
    hardware: dict[str, Any] = {}
    versions: dict[str, str] = {}
    origin: str | None = None
    files: dict[str, FileEntry] = Field(default_factory=dict)
    withheld: list[str] = []


class Artifact:
    """A finished artifact on disk."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest

    @functools.cached_property
    def hash(self) -> str:
        """Identity of kind, config, parents and file contents (not of when or where)."""
        m = self.manifest
        return sha256_json(
            {
                "kind": m.kind,
                "config": m.config,
                "seed": m.seed,
                "parents": [p.hash for p in m.parents],
                "files": {k: v.sha256 for k, v in sorted(m.files.items()) if not _is_log(k)},
            }
        )

    def as_ancestor(self) -> Ancestor:
        """This artifact as an entry of a child's manifest."""
        m = self.manifest
        return Ancestor(
            kind=m.kind,
            path=str(self.path),
            hash=self.hash,
            licences=m.licences,
            origin=m.origin,
            parents=m.parents,
        )

    def verify(self) -> None:
        """Compare every file with its recorded size and hash.

        Raises:
            ArtifactError: naming the file, the expected and the found hash.
        """
        for name, entry in self.manifest.files.items():
            if name in self.manifest.withheld:
                continue
            check_file(self.path / name, entry.bytes, entry.sha256)


def check_file(
    path: Path, size: int, sha256: str, error: type[ArtifactError] = ArtifactError
) -> None:
    """Raise ``error`` unless ``path`` has this size and hash."""
    if not path.is_file():
        raise error("{path} is missing.", path=path)
    found_size, found = path.stat().st_size, sha256_file(path)
    if (found_size, found) != (size, sha256):
        raise error(
            "{path} is damaged: expected {size} bytes with sha256 {sha256}, "
            "found {found_size} bytes with sha256 {found}.",
            path=path,
            size=size,
            sha256=sha256,
            found_size=found_size,
            found=found,
        )


def check_size(path: Path, size: int) -> None:
    """Raise ArtifactError unless ``path`` has this size: what a file cut short has not."""
    if not path.is_file():
        raise ArtifactError("{path} is missing.", path=path)
    if (found := path.stat().st_size) != size:
        raise ArtifactError(
            "{path} is damaged: expected {size} bytes, found {found_size}.",
            path=path,
            size=size,
            found_size=found,
        )


def open_artifact(path: str | Path, kind: str | Sequence[str] | None = None) -> Artifact:
    """Open a finished artifact.

    Raises:
        ArtifactError: missing, a file, unfinished, of another kind, or from a newer yaongi.
    """
    path = Path(path)
    check_is_no_file(path)
    manifest_path = path / MANIFEST
    if not manifest_path.is_file():
        raise ArtifactError(
            "{path} is not a yaongi artifact: {reason}", path=path, reason=_why(path)
        )
    content = read_json(manifest_path)
    _check_schema(path, content)
    try:
        manifest = Manifest.model_validate(content)
    except ValidationError as error:
        raise ArtifactError(
            "{path} is not a valid manifest: {reason}", path=manifest_path, reason=error
        ) from error
    kinds = [kind] if isinstance(kind, str) else list(kind or [])
    if kinds and manifest.kind not in kinds:
        raise ArtifactError(
            "{path} is a '{found}' artifact; expected {expected}. {help}",
            path=path,
            found=manifest.kind,
            expected=" / ".join(f"'{k}'" for k in kinds),
            help=_no_model(manifest.kind) if "base" in kinds else "",
        )
    return Artifact(path, manifest)


def check_is_no_file(path: Path) -> None:
    """Raise ArtifactError for a file: models, and whatever else a stage makes, are folders."""
    if not path.exists() or path.is_dir():
        return
    hint = ""
    if path.suffix == ".gguf":
        hint = translate(
            "A GGUF can be run as it is (yaongi chat, generate, serve); everything else takes the "
            "folder it was exported from."
        )
    elif any((path.parent / name).is_file() for name in (MANIFEST, "config.json")):
        hint = translate("Did you mean its folder, {folder}?", folder=path.parent)
    raise ArtifactError(
        "{path} is a file; expected the folder of a model or of another artifact. {hint}",
        path=path,
        hint=hint,
    )


def unfinished(path: Path) -> str | None:
    """The reason why ``path`` is not there, where it is being made; else None."""
    if not partial_path(path).is_dir():
        return None
    return translate(
        "the command that makes it has not finished ({partial} is there): it is still running, or "
        "was stopped and has to be run again.",
        partial=partial_path(path),
    )


def _no_model(kind: str) -> str:
    """What to do with an artifact that is taken for a model."""
    return {
        "adapter": translate(
            "It is an adapter: name its model and give this as --adapter, write it into its model "
            "with yaongi merge, or export it with --to peft."
        ),
        "reward": translate(
            "It judges answers and is no model to talk to: yaongi reward evaluate measures it, "
            "yaongi grpo learns from it."
        ),
    }.get(kind, "")


def _check_schema(path: Path, content: Any) -> None:
    """A newer manifest may have any shape, so its version is read before the rest."""
    version = content.get("schema_version") if is_mapping(content) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise ArtifactError(
            "{path} was written by a newer yaongi (schema {found}, this one reads {known}).",
            path=path,
            found=version,
            known=SCHEMA_VERSION,
        )


def _why(path: Path) -> str:
    if reason := unfinished(path):
        return reason
    if path.suffix == ".partial":
        return translate("it is the working folder of a stage that has not finished.")
    if not path.is_dir():
        siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        near = nearest(path.name, siblings)
        hint = translate("Did you mean '{near}'?", near=path.parent / near) if near else ""
        return " ".join(filter(None, [translate("there is no such folder."), hint]))
    inside = sorted(p.parent.name for p in path.glob(f"*/{MANIFEST}"))
    if inside:
        return translate("it holds several: {names}. Name one.", names=", ".join(inside))
    return translate("it has no manifest.json.")


class Draft:
    """An artifact being made. Write files below ``path``, then call ``finish`` once.

    Attributes:
        stop_when_done: the user wants to stop, but too late to leave this stage unfinished.
    """

    def __init__(
        self,
        out: Path,
        kind: str,
        config: Mapping[str, Any],
        parents: Sequence[Artifact],
        seed: int | None,
    ) -> None:
        self.out = out
        self.path = partial_path(out)
        self.kind = kind
        self.config: dict[str, Any] = plain(config)
        self.parents = list(parents)
        self.seed = seed
        self.artifact: Artifact | None = None
        self.stop_when_done = False

    def finish(
        self,
        *,
        counts: Mapping[str, Any] | None = None,
        licences: Sequence[str] | None = None,
        metrics: Mapping[str, Any] | None = None,
        hardware: Mapping[str, Any] | None = None,
        origin: str | None = None,
    ) -> Artifact:
        """Hash the files, write the manifest last, and rename the folder into place.

        ``licences`` defaults to the union of the parents'.
        """
        inherited = sorted({x for p in self.parents for x in p.manifest.licences})
        manifest = Manifest(
            kind=self.kind,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            config=self.config,
            parents=[p.as_ancestor() for p in self.parents],
            seed=self.seed,
            git_commit=git_commit(),
            counts=plain(counts or {}),
            licences=sorted(set(licences)) if licences is not None else inherited,
            metrics=plain(metrics or {}),
            hardware=plain({**machine(), **(hardware or {})}),
            versions=versions(),
            origin=origin,
            files=_files_of(self.path),
        )
        return self.adopt(manifest)

    def adopt(self, manifest: Manifest) -> Artifact:
        """Finish under a manifest that came with the files, as an artifact from elsewhere has."""
        with storage_errors(self.out):
            sync_tree(self.path)
            write_json(self.path / MANIFEST, manifest.model_dump(mode="json"))
            self.path.rename(self.out)
            sync(self.out.parent)
        self.artifact = Artifact(self.out, manifest)
        return self.artifact


def _files_of(folder: Path) -> dict[str, FileEntry]:
    """Every data file with size and hash; trackers go on changing theirs (``wandb sync``)."""
    names = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    return {
        name: FileEntry(bytes=path.stat().st_size, sha256=sha256_file(path))
        for name, path in sorted(names.items())
        if name != MANIFEST and not name.startswith("trackers/")
    }


@contextmanager
def draft(
    out: str | Path,
    kind: str,
    *,
    config: Mapping[str, Any],
    parents: Sequence[Artifact] = (),
    seed: int | None = None,
    resumable: bool = False,
) -> Generator[Draft]:
    """Own ``out``.partial while a stage works in it.

    Args:
        resumable: keep the partial folder when the stage fails or is killed, and continue in it
            (the stage has checkpoints inside); otherwise start empty and leave nothing behind.
    Raises:
        ArtifactError: ``out`` exists already, or another process is writing it.
    """
    out = Path(out)
    with _place_of(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    with _only_writer(out):
        work = Draft(out, kind, config, parents, seed)
        try:
            if not resumable:
                shutil.rmtree(work.path, ignore_errors=True)
            with storage_errors(out):
                work.path.mkdir(exist_ok=True)
                remove_temporaries(work.path)
                yield work
        finally:
            if not resumable:
                shutil.rmtree(work.path, ignore_errors=True)


@contextmanager
def _only_writer(out: Path) -> Generator[None]:
    """Hold the lock of ``out``; the lock file is gone afterwards."""
    lock = FileLock(_lock_path(out), timeout=0)
    try:
        with storage_errors(out):
            lock.acquire()
    except Timeout as error:
        with _place_of(out):  # a lock that cannot be made reads as one that is held
            _probe(out.with_name(f".{out.name}.tmp{os.getpid()}"))
        raise ArtifactError("Another process is writing {path}.", path=out) from error
    try:
        if out.exists():  # asked only now: the lock's last holder may just have made it
            raise ArtifactError(
                "{path} exists already; choose another --out or remove it first.", path=out
            )
        yield
    finally:
        # Before the release: once released, the file may already be the next writer's lock.
        with suppress(OSError):
            Path(lock.lock_file).unlink()
        lock.release()


@contextmanager
def _place_of(out: Path) -> Generator[None]:
    """Whatever the system says inside is about a place where ``out`` cannot be."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            "Cannot write {path}: {reason}. Nothing half-written was kept.",
            path=out,
            reason=os_reason(error),
        ) from error


def _probe(path: Path) -> None:
    path.touch()
    path.unlink()


def _lock_path(out: Path) -> Path:
    return out.with_name(f".{out.name}.lock")


def is_written(out: str | Path) -> bool:
    """Whether a process is writing ``out`` at this moment.

    One that was killed leaves its lock file behind, but nobody holds it; the file goes then.
    """
    path = _lock_path(Path(out))
    if not path.is_file():
        return False
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        return True
    path.unlink(missing_ok=True)  # before the release, as in ``_only_writer``
    lock.release()
    return False


def existing(
    out: str | Path,
    kind: str,
    *,
    config: Mapping[str, Any],
    parents: Sequence[Artifact] = (),
    seed: int | None = None,
) -> Artifact | None:
    """The finished artifact at ``out`` if config, parents and seed are unchanged (skip the stage).

    Raises:
        ArtifactError: something else is there; the message names the first differences.
    """
    if not (Path(out) / MANIFEST).is_file():
        return None
    found = open_artifact(out, kind)
    changes = differences(found.manifest.config, plain(config))
    if found.manifest.seed != seed:
        changes.append(f"seed: {found.manifest.seed} -> {seed}")
    for old, new in zip(found.manifest.parents, parents, strict=False):
        told = old.kind == "source" and changes  # its settings, the data folder too, are in config
        if old.hash != new.hash and not told:
            changes.append(translate("its input {path} has changed", path=new.path))
    if len(found.manifest.parents) != len(parents):
        changes.append(translate("it was made from other inputs"))
    if changes:
        raise ArtifactError(
            "{path} holds a result of different settings: {changes}. "
            "Remove that folder to make it again. To keep it, give another --out where it is the "
            "command's own result; name=NEW gives a recipe's other folders another place.",
            path=out,
            changes="; ".join(changes[:4]),
        )
    return found


def differences(old: Any, new: Any, where: str = "") -> list[str]:
    """Dotted paths at which two JSON values differ, as ``path: old -> new``."""
    if is_mapping(old) and is_mapping(new):
        keys = [*old, *(k for k in new if k not in old)]
        return [
            line
            for k in keys
            for line in differences(old.get(k), new.get(k), f"{where}.{k}" if where else str(k))
        ]
    return [] if old == new else [f"{where}: {old!r} -> {new!r}"]


def partial_path(out: str | Path) -> Path:
    """The folder a stage works in until it is done."""
    out = Path(out) if Path(out).name else Path(out).resolve()  # "." has no name of its own
    return out.parent / f"{out.name}.partial"


def trace(path: str | Path) -> list[tuple[int, Ancestor]]:
    """The ancestry of an artifact as (depth, entry), itself first, raw sources last.

    An entry that several others come from appears below each, its own ancestry only once.
    """
    rows: list[tuple[int, Ancestor]] = []
    seen: set[tuple[str, str]] = set()

    def walk(node: Ancestor, depth: int) -> None:
        rows.append((depth, node))
        if node.identity in seen:
            return
        seen.add(node.identity)
        for parent in node.parents:
            walk(parent, depth + 1)

    walk(open_artifact(path).as_ancestor(), 0)
    return rows


def _is_log(name: str) -> bool:
    """Timings differ between identical runs; logs do not identify an artifact."""
    return name.startswith(("metrics.jsonl", "trackers/"))


@functools.cache
def git_commit() -> str | None:
    """The commit of this source tree, or None for an installed package."""
    root = Path(__file__).parents[3]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:  # no git here
        return None
    return done.stdout.strip() or None


@functools.cache
def machine() -> dict[str, Any]:
    """CPU, cores and memory of this machine."""
    cpu = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next(x.split(":", 1)[1].strip() for x in lines if x.startswith("model name"))
    except (OSError, StopIteration):
        pass
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        memory = None
    return {"cpu": cpu, "cores": os.cpu_count(), "memory_bytes": memory, "os": platform.platform()}


@functools.cache
def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide results."""
    found = {"python": platform.python_version()}
    for name in ("yaongi", "torch", "numpy", "tokenizers", "safetensors", "datatrove"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
