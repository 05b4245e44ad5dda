"""From the Hub: an artifact of ours as it was pushed, or the safe files of somebody else's model.

Everything is fetched into ``OUT.partial``, compared with the hashes of the Hub and of the manifest,
and renamed when it is whole. A broken connection leaves ``OUT.partial``, where the next pull goes
on.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from yaongi.core.artifact import (
    MANIFEST,
    Artifact,
    Draft,
    Manifest,
    draft,
    open_artifact,
    partial_path,
)
from yaongi.core.errors import ArtifactError, HubError, StorageError
from yaongi.core.i18n import translate
from yaongi.core.licences import UNSTATED
from yaongi.core.units import human_bytes
from yaongi.interop.hf_licence import find_licence
from yaongi.interop.hub import read_manifest
from yaongi.interop.hub_client import Repo, connect, find, listing
from yaongi.interop.hub_fetch import fetch
from yaongi.interop.hub_files import (
    CARD,
    PARTS,
    Remote,
    check_content,
    check_names,
    chosen,
    is_pickle,
)

KIND = "hub"
"""Of what was not made by yaongi, or is a part of what was."""


@dataclass(frozen=True)
class Pulled:
    """What a pull did.

    Attributes:
        repo: with the commit.
        artifact: None in a dry run.
        files: bytes by name.
        left: files that stay where they are, with the reason.
        fetched: False in a dry run, and where an earlier pull has left the same.
    """

    repo: Repo
    artifact: Artifact | None
    files: dict[str, int]
    left: dict[str, str] = field(default_factory=dict)
    fetched: bool = False


def pull(repo: Repo, out: Path, *, only: str | None = None, dry_run: bool = False) -> Pulled:
    """Fetch ``repo`` as the artifact ``out``.

    Args:
        only: a part of it: one of ``PARTS``, or a pattern of file names.
        dry_run: ask the Hub what there is, and fetch nothing.
    Raises:
        HubError: no such repository or revision, no permission, no connection, or the Hub sent
            something else than it listed.
        ArtifactError: ``out`` holds something else, file names are not safe, or the weights are
            pickles.
        StorageError: there is no room for it.
    """
    api = connect()
    repo, info = find(repo, api)
    there = listing(repo, api)
    check_names(there, repo.uri)
    manifest = read_manifest(repo, there, api)
    whole = manifest is not None and only is None
    names = _promised(repo, manifest, there) if whole and manifest else _some(repo, there, only)
    left = _left(there, names, manifest)
    sizes = {name: there[name].bytes for name in names}
    if dry_run:
        return Pulled(repo, None, sizes, left)
    if done := _there_already(repo, out, only):
        return Pulled(repo, done, sizes, left)
    _check_room(out, sum(sizes.values()))
    parents = [_at(repo, manifest)] if manifest and not whole else []
    config = {"repo": repo.name, "revision": repo.revision, "only": only}
    with draft(out, KIND, config=config, parents=parents, resumable=True) as work:
        fetch(repo, [there[name] for name in names], work.path, api)
        _check(work, repo, there, names)
        if whole and manifest:
            _check_manifest(work, manifest, repo)
            artifact = work.adopt(manifest.model_copy(update={"origin": repo.uri}))
        else:
            licences = None if parents else [_licence(info, work.path)]
            artifact = work.finish(licences=licences, origin=repo.uri)
    return Pulled(repo, artifact, sizes, left, fetched=True)


def _at(repo: Repo, manifest: Manifest) -> Artifact:
    """The artifact as it lies on the Hub, for the ancestry of a part of it."""
    return Artifact(Path(repo.name), manifest.model_copy(update={"origin": repo.uri}))


def _promised(repo: Repo, manifest: Manifest, there: Mapping[str, Remote]) -> list[str]:
    """The files of a manifest and the card, all of which must be there as promised."""
    names = [name for name in manifest.files if name not in manifest.withheld]
    check_names(names, f"{repo.uri}/{MANIFEST}")
    for name in names:
        entry = manifest.files[name]
        if is_pickle(name):
            raise ArtifactError(
                "{repo} holds {name}, which can hide a program; it is not fetched.",
                repo=repo.uri,
                name=name,
            )
        found = there.get(name)
        if found is None or found.bytes != entry.bytes or found.sha256 not in (None, entry.sha256):
            raise HubError(
                "{repo} is not what its manifest says: {name} should have {size} bytes with sha256 "
                "{sha256}. Somebody changed it after it was pushed; nothing was fetched.",
                repo=repo.uri,
                name=name,
                size=entry.bytes,
                sha256=entry.sha256,
            )
    return names + [name for name in (CARD,) if name in there and name not in names]


def _some(repo: Repo, there: Mapping[str, Remote], only: str | None) -> list[str]:
    """The files to take of a repository that is not ours, or of which a part is asked for."""
    safe = [n for n in there if not is_pickle(n) and n not in (MANIFEST, ".gitattributes")]
    names = chosen(safe, only)
    if not names and only is None:
        raise ArtifactError("{repo} holds nothing that could be fetched.", repo=repo.uri)
    if not names:
        raise ArtifactError(
            "{repo} has no files for --only {only}. It has {names}. Parts are {parts}, or a "
            "pattern such as '*q8_0.gguf'.",
            repo=repo.uri,
            only=only,
            names=", ".join(sorted(safe)[:12]) or translate("none"),
            parts=", ".join(PARTS),
        )
    pickled = [name for name in there if is_pickle(name)]
    weights = any(name.endswith((".safetensors", ".gguf")) for name in safe)
    if repo.kind == "model" and only is None and pickled and not weights:
        raise ArtifactError(
            "The weights of {repo} are there only as {names}: pickles, which can hide programs. "
            "Look for a revision or a copy with safetensors.",
            repo=repo.uri,
            names=", ".join(pickled[:3]),
        )
    return names


def _left(
    there: Mapping[str, Remote], names: Sequence[str], manifest: Manifest | None
) -> dict[str, str]:
    reasons = {
        True: translate("can hide a program"),
        False: translate("not asked for") if manifest is None else translate("not in its manifest"),
    }
    taken = {*names, MANIFEST, ".gitattributes"}
    return {name: reasons[is_pickle(name)] for name in there if name not in taken}


def _there_already(repo: Repo, out: Path, only: str | None) -> Artifact | None:
    """What an earlier pull of the same commit left, whole."""
    if not (out / MANIFEST).is_file():
        return None
    found = open_artifact(out)
    part = found.manifest.config.get("only") if found.manifest.kind == KIND else None
    if found.manifest.origin != repo.uri or part != only:
        raise ArtifactError(
            "{path} exists already; choose another --out or remove it first.", path=out
        )
    found.verify()
    return found


def _check_room(out: Path, needed: int) -> None:
    place = next(p for p in out.absolute().parents if p.exists())
    partial = partial_path(out)
    have = sum(p.stat().st_size for p in partial.rglob("*") if p.is_file())
    free = shutil.disk_usage(place).free
    if needed - have > free:
        raise StorageError(
            "{path} needs {needed}, and {free} are free. Nothing was fetched.",
            path=out,
            needed=human_bytes(needed - have),
            free=human_bytes(free),
        )


def _check(work: Draft, repo: Repo, there: Mapping[str, Remote], names: Sequence[str]) -> None:
    """Only these files, each exactly what the Hub listed; else nothing stays."""
    shutil.rmtree(work.path / ".cache", ignore_errors=True)  # the client's notes for resuming
    for path in sorted(work.path.rglob("*"), reverse=True):
        if path.is_symlink() or (path.is_file() and _name(path, work.path) not in names):
            path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    for name in names:
        if not there[name].is_at(work.path / name):
            shutil.rmtree(work.path)
            raise HubError(
                "{name} came from {repo} with another content than is listed there. Nothing was "
                "kept; pull again.",
                name=name,
                repo=repo.uri,
            )
        _only_if_whole(work, lambda name=name: check_content(work.path / name))


def _check_manifest(work: Draft, manifest: Manifest, repo: Repo) -> None:
    _only_if_whole(work, Artifact(work.path, manifest).verify)


def _only_if_whole(work: Draft, check: Any) -> None:
    try:
        check()
    except ArtifactError:
        shutil.rmtree(work.path)
        raise


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _licence(info: Any, folder: Path) -> str:
    """What the card says, else a licence file."""
    stated = getattr(info.card_data, "license", None)
    if stated == "other":
        stated = getattr(info.card_data, "license_name", None) or stated
    if isinstance(stated, list):
        stated = "; ".join(str(name) for name in stated)
    return stated if isinstance(stated, str) and stated else find_licence(folder, {}) or UNSTATED
