"""Artifacts to the Hugging Face Hub and back: ``plan_push`` and ``push``, and ``pull``.

One artifact is one repository and one push is one commit, so nobody ever meets half of one. What
is there already is recognised by its hash, in both directions.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from yaongi.core.artifact import MANIFEST, Manifest
from yaongi.core.errors import ArtifactError, ConfigError, DataError, HubError
from yaongi.core.files import read_json
from yaongi.core.i18n import translate
from yaongi.interop.hub_card import About, card
from yaongi.interop.hub_client import Repo, connect, find, library, listing, tried
from yaongi.interop.hub_files import CARD, Remote, git_sha1
from yaongi.interop.hub_licence import base_licence, objections, origins
from yaongi.interop.hub_parcel import (
    Parcel,
    What,
    folded,
    kept_back,
    manifest_of,
    pack,
    private_places,
    rollouts_here,
    strangers,
)
from yaongi.interop.hub_quantized import quantized_from
from yaongi.interop.hub_results import scores


@dataclass(frozen=True)
class Plan:
    """A push that has been checked and not begun.

    Attributes:
        repo: with its kind.
        texts: the card and the manifest, by name.
        notes: what whoever pushes should know.
    """

    repo: Repo
    parcel: Parcel
    public: bool
    licence: str | None
    texts: dict[str, bytes]
    notes: list[str]

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes by name of everything the repository will hold."""
        files = self.parcel.artifact.manifest.files
        return {
            **{name: len(text) for name, text in self.texts.items()},
            **{name: files[name].bytes for name in self.parcel.files},
        }


@dataclass(frozen=True)
class Pushed:
    """What a push did. ``sent`` and ``there`` are names: changed, and unchanged on the Hub."""

    url: str
    commit: str
    sent: list[str] = field(default_factory=list)
    there: list[str] = field(default_factory=list)


def plan_push(
    path: Path,
    repo: Repo,
    *,
    public: bool = False,
    licence: str | None = None,
    base_model: str | None = None,
    made_from: Path | None = None,
    rollouts: bool = False,
) -> Plan:
    """Check everything of a push that can be checked without the Hub, and write the card.

    Args:
        path: the artifact, or a ``.gguf`` file.
        public: for everybody to see; None of its licences may speak against it.
        licence: what people may use a model under, as the Hub spells it; None takes its base
            model's, if it has one.
        base_model: the Hub's name of the model it was made from, where the ancestry does not know.
        made_from: of a ``.gguf`` file, the artifact it was exported from.
        rollouts: as ``pack``'s.
    Raises:
        ArtifactError: see ``pack``.
        ConfigError: a licence for a data set, or none for a public model.
        DataError: the licences do not allow it to be public; the message names the sources.
        CapabilityError: ``huggingface_hub`` is missing.
    """
    parcel = pack(path, made_from=made_from, rollouts=rollouts)
    found = origins(parcel.artifact)
    is_data = parcel.what is What.DATA
    if is_data and licence:
        raise ConfigError(
            "A data set keeps the licences of its sources; --licence is for models. Leave it out."
        )
    licence = (licence or base_licence(found) or "").lower() or None
    if licence and not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", licence):
        raise ConfigError(
            "'{licence}' is no licence the Hub knows. It writes them like apache-2.0, mit, "
            "cc-by-sa-4.0: hf.co/docs/hub/repositories-licenses",
            licence=licence,
        )
    if public:
        _check_public(parcel, objections(found, licence), licence)
    about = About(
        repo=repo.name,
        parcel=parcel,
        origins=found,
        licence=licence,
        base_model=base_model
        or quantized_from(parcel)
        or next((o.hub_id for o in found if o.role == "model"), None),
        is_quantized_base=bool(base_model or quantized_from(parcel)),
        scores=scores(parcel.artifact),
    )
    texts = {CARD: card(about).encode(), MANIFEST: manifest_of(parcel)}
    place = Repo(repo.name, parcel.what.repo_type, repo.revision)
    return Plan(place, parcel, public, licence, texts, list(_notes(parcel)))


def _check_public(parcel: Parcel, against: Sequence[str], licence: str | None) -> None:
    if parcel.what is not What.DATA and licence is None:
        raise ConfigError(
            "Say under which licence people may use it, for example --licence apache-2.0."
        )
    if against:
        raise DataError(
            "The licences do not let this be public:\n{reasons}\nPush it without --public, or make "
            "it again without these sources.",
            reasons="\n".join(f"- {line}" for line in against),
        )


def _notes(parcel: Parcel) -> list[str]:
    m = parcel.artifact.manifest
    notes = []
    if parcel.what is What.GGUF and not m.parents:
        notes.append(
            translate("Nothing says what it was made from; --made-from names its artifact.")
        )
    if places := private_places(parcel):
        notes.append(
            translate(
                "What is sent names folders of this machine: {places}", places=", ".join(places)
            )
        )
    if names := kept_back(parcel):
        notes.append(translate("Kept back: {names}", names=folded(names)))
    if rollouts_here(parcel):
        notes.append(translate("--rollouts sends those prompts and completions along."))
    if names := strangers(parcel):
        notes.append(translate("Not part of the artifact, not sent: {names}", names=folded(names)))
    return notes


def push(plan: Plan, *, on_url: Callable[[str], None] | None = None) -> Pushed:
    """Send a plan: create the repository privately, upload what is new, commit it all at once.

    An interrupted push leaves the repository as it was; the next one finds the large files that
    were uploaded whole.

    Args:
        on_url: told where it goes, before anything is uploaded.
    Raises:
        HubError: no token, one that may not write, no connection, or the Hub refuses.
        ConfigError: the repository is public already and the plan is not.
    """
    api = connect(writing=True)
    repo, is_public = _repository(plan, api)
    url = f"{api.endpoint}/{'datasets/' if repo.kind == 'dataset' else ''}{repo.name}"
    if on_url:
        on_url(url)
    done = tried(lambda: _commit(plan, repo, url, api), repo, api)
    if plan.public and not is_public:
        tried(
            lambda: api.update_repo_settings(repo.name, private=False, repo_type=repo.kind),
            repo,
            api,
        )
    return done


def _repository(plan: Plan, api: Any) -> tuple[Repo, bool]:
    """The repository, made if need be, and whether everybody sees it."""
    repo = Repo(plan.repo.name, plan.repo.kind)
    missing = library().errors.RepositoryNotFoundError
    try:
        found, info = find(repo, api)
    except HubError as error:
        if not isinstance(error.__cause__, missing):
            raise
        tried(
            lambda: api.create_repo(repo.name, private=True, repo_type=repo.kind, exist_ok=True),
            repo,
            api,
        )
        found, info = find(repo, api)
    if not info.private and not plan.public:
        raise ConfigError(
            "{repo} is public, and this push is private. Add --public, which looks at the licences "
            "first, or choose another name.",
            repo=repo.name,
        )
    return found, not info.private


def _commit(plan: Plan, repo: Repo, url: str, api: Any) -> Pushed:
    """One attempt. Reads anew what is there, so that a lost answer is no second commit."""
    repo, _info = find(Repo(repo.name, repo.kind), api)
    there = listing(repo, api)
    contents: dict[str, Path | bytes] = {**plan.parcel.files, **plan.texts}
    same = [name for name in contents if name in there and _same(plan, there[name])]
    new = [name for name in contents if name not in same]
    stale = sorted(_sent_before(repo, there, api) & set(there) - set(contents))
    if not new and not stale:
        return Pushed(url, repo.revision or "", there=same)
    hub = library()
    add = [hub.CommitOperationAdd(name, _content(contents[name])) for name in new]
    made = api.create_commit(
        repo.name,
        [*add, *(hub.CommitOperationDelete(name) for name in stale)],
        commit_message=f"{plan.parcel.artifact.manifest.kind} {plan.parcel.artifact.hash[:12]}",
        repo_type=repo.kind,
        parent_commit=repo.revision,
    )
    return Pushed(url, made.oid, sent=new, there=same)


def _content(value: Path | bytes) -> str | bytes:
    return str(value) if isinstance(value, Path) else value


def _same(plan: Plan, there: Remote) -> bool:
    """Whether the Hub has this file already. Ours were hashed when they were packed."""
    if (text := plan.texts.get(there.name)) is not None:
        return git_sha1(text) == there.git_sha1 or sha256(text).hexdigest() == there.sha256
    if there.sha256:
        return there.sha256 == plan.parcel.artifact.manifest.files[there.name].sha256
    return there.is_at(plan.parcel.files[there.name])


def _sent_before(repo: Repo, there: dict[str, Remote], api: Any) -> set[str]:
    """Files of the artifact that lies there now: what the new one lacks would belong to nothing."""
    manifest = read_manifest(repo, there, api)
    return set() if manifest is None else set(manifest.files)


def read_manifest(repo: Repo, there: dict[str, Remote], api: Any) -> Manifest | None:
    """The manifest of a repository; None where it has none of ours.

    Raises:
        ArtifactError: it was written by a newer yaongi.
    """
    if MANIFEST not in there or there[MANIFEST].bytes > MANIFEST_BYTES:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = tried(
            lambda: api.hf_hub_download(
                repo.name, MANIFEST, repo_type=repo.kind, revision=repo.revision, local_dir=folder
            ),
            repo,
            api,
        )
        try:
            content = read_json(Path(path))
            json.dumps(content, ensure_ascii=False).encode()  # half a surrogate is no text
            manifest = Manifest.model_validate(content)
        except (ArtifactError, ValueError, RecursionError):  # others have files of this name
            return None
    if manifest.schema_version > Manifest.model_fields["schema_version"].default:
        raise ArtifactError(
            "{path} was written by a newer yaongi (schema {found}, this one reads {known}).",
            path=repo.uri,
            found=manifest.schema_version,
            known=Manifest.model_fields["schema_version"].default,
        )
    return manifest


MANIFEST_BYTES = 64 * 1024**2
"""The ancestry of a large recipe takes a fraction of this."""
