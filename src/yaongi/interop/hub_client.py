"""The way to the Hub: one connection with the user's token, tried again where that helps.

The token comes from ``HF_TOKEN`` (environment or ``.env``) and from nowhere else, and no message
repeats it.
"""

from __future__ import annotations

import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from importlib import metadata
from typing import Any, NamedTuple, TypeVar

from yaongi.core.errors import ConfigError, HubError, YaongiError
from yaongi.core.install import import_extra
from yaongi.interop.hub_files import Remote

T = TypeVar("T")
ATTEMPTS = 4
FIRST_WAIT_S = 1.0
_LINE = ("hf_xet", "httpx", "httpcore", "ssl", "socket")


class Repo(NamedTuple):
    """A repository of the Hub.

    Attributes:
        kind: ``model`` or ``dataset``; None until the Hub was asked.
        revision: a branch, a tag or a commit; None is the newest of ``main``.
    """

    name: str
    kind: str | None = None
    revision: str | None = None

    @property
    def uri(self) -> str:
        """As ``hf://`` paths name it."""
        prefix = "datasets/" if self.kind == "dataset" else ""
        return f"hf://{prefix}{self.name}" + (f"@{self.revision}" if self.revision else "")


def parse_repo(text: str) -> Repo:
    """``owner/name``, ``datasets/owner/name``, each also with ``@revision`` or ``hf://`` before.

    Raises:
        ConfigError: it is none of these.
    """
    found = re.fullmatch(
        r"(?:hf://)?(?P<data>datasets/)?"
        r"(?P<name>[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95})(?:@(?P<revision>[\w./-]+))?",
        text,
        re.ASCII,
    )
    if not found or re.search(r"--|\.\.|\.git$|[.-]$", found["name"]):
        raise ConfigError(
            "'{text}' is not a repository of the Hub. Write owner/name, or datasets/owner/name; a "
            "revision goes behind it: owner/name@main.",
            text=text,
        )
    return Repo(found["name"], "dataset" if found["data"] else None, found["revision"])


def library() -> Any:
    """The package ``huggingface_hub``.

    Raises:
        CapabilityError: it is not installed.
    """
    return import_extra(
        "Pushing and pulling need the package '{package}': {command}", "huggingface_hub", "hub"
    )


def connect(*, writing: bool = False) -> Any:
    """An ``HfApi`` for ``HF_ENDPOINT`` (else the Hub) with the token, or without one.

    Raises:
        HubError: no token although something is to be written, or one that cannot be one.
    """
    token = os.environ.get("HF_TOKEN", "").strip()
    if writing and not token:
        raise HubError(
            "Pushing needs a token that may write: make one at hf.co/settings/tokens and put "
            "HF_TOKEN=… into the environment or into .env."
        )
    if not re.fullmatch(r"[\x21-\x7e]*", token):
        raise HubError("HF_TOKEN holds characters that no token has; copy it again.")
    if not sys.stderr.isatty():  # else it draws its bars into a pipe or a log
        library().utils.disable_progress_bars()
    return library().HfApi(
        endpoint=os.environ.get("HF_ENDPOINT") or None,
        token=token or False,
        library_name="yaongi",
        library_version=metadata.version("yaongi"),
    )


def tried(call: Callable[[], T], repo: Repo, api: Any) -> T:
    """What ``call`` returns, tried again where the network or the Hub hiccups.

    Raises:
        HubError: what went wrong in the end, in our words.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return call()
        except YaongiError:
            raise
        except Exception as error:
            if not _is_of_the_hub(error):  # a full disk, a mistake of ours
                raise
            if not _is_passing(error) or attempt == ATTEMPTS:
                raise _told(error, repo, api) from error
            time.sleep(FIRST_WAIT_S * 2 ** (attempt - 1))
    raise AssertionError("unreachable")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _status(error: BaseException) -> int | None:
    """The HTTP status behind an error, if there is one."""
    for one in _causes(error):
        if isinstance(status := getattr(getattr(one, "response", None), "status_code", None), int):
            return status
    return None


def _is_of_the_line(error: BaseException) -> bool:
    """Whether the way to the Hub broke."""
    return any(
        isinstance(one, (ConnectionError, TimeoutError))
        or type(one).__module__.startswith(_LINE)
        or "Consistency check failed" in str(one)
        for one in _causes(error)
    )


def _is_of_the_hub(error: BaseException) -> bool:
    """Whether the Hub, its client or the line raised it. An answer that is no JSON, or lacks
    something, is a ValueError or KeyError; of another shape, any error inside the client."""
    return _is_of_the_line(error) or any(
        isinstance(one, (ValueError, KeyError))
        or type(one).__module__.startswith("huggingface_hub")
        or (isinstance(one, (TypeError, AttributeError)) and _is_inside_the_client(one))
        for one in _causes(error)
    )


def _is_inside_the_client(error: BaseException) -> bool:
    """Whether its code was being run."""
    modules = [f.f_globals.get("__name__", "") for f, _ in traceback.walk_tb(error.__traceback__)]
    return any(module.startswith("huggingface_hub") for module in modules)


def _is_passing(error: BaseException) -> bool:
    """Whether trying again may help: the line broke, or the Hub is overloaded."""
    if (status := _status(error)) is None:
        return _is_of_the_line(error)
    return status in (408, 429) or status >= 500


def _told(error: Exception, repo: Repo, api: Any) -> HubError:
    """An error of the client in our words, without the token."""
    names = {type(one).__name__ for one in _causes(error)}
    fields = {"repo": repo.name, "endpoint": api.endpoint}
    status = _status(error)
    if "GatedRepoError" in names:
        return HubError(
            "{repo} asks you to accept its terms first: {endpoint}/{repo}. Then put a token of the "
            "same account into HF_TOKEN.",
            **fields,
        )
    if "RevisionNotFoundError" in names:
        return HubError(
            "{repo} has no revision {revision}. Branches, tags and commits are listed at "
            "{endpoint}/{repo}.",
            revision=repo.revision,
            **fields,
        )
    if "RepositoryNotFoundError" in names:
        return HubError(
            "There is no {repo} on {endpoint} that this token may see. A private one needs "
            "HF_TOKEN of an account that may read it.",
            **fields,
        )
    if status == 401:
        return HubError(
            "{endpoint} does not know the token in HF_TOKEN: it is mistyped, expired or revoked.",
            **fields,
        )
    if status == 403:
        return HubError(
            "The token in HF_TOKEN may not do this with {repo}. Pushing needs a token with write "
            "permission for that owner.",
            **fields,
        )
    reason = _plain(error, api)
    if status is not None:
        return HubError(
            "{endpoint} answered {status} for {repo}: {reason}. What was already transferred is "
            "kept; run the same command again to go on.",
            status=status,
            reason=reason,
            **fields,
        )
    if not _is_of_the_line(error):
        return HubError(
            "{endpoint} does not answer as a Hub does: {reason}. Look at HF_ENDPOINT, if you set "
            "it; the login page of a network may be in between.",
            reason=reason,
            **fields,
        )
    return HubError(
        "{endpoint} cannot be reached, or the connection broke: {reason}. What was already "
        "transferred is kept; run the same command again to go on.",
        reason=reason,
        **fields,
    )


def _plain(error: Exception, api: Any) -> str:
    """The first lines of the deepest reason; whatever it quotes, the token is not in it."""
    deepest = list(_causes(error))[-1] if _status(error) is None else error
    text = " ".join(str(deepest).split())[:300].rstrip(". ") or type(deepest).__name__
    return text.replace(api.token, "***") if api.token else text


def find(repo: Repo, api: Any) -> tuple[Repo, Any]:
    """The repository with its kind and the commit it stands at, and what the Hub says of it.

    A name without ``datasets/`` is looked for among the models, then among the data sets.

    Raises:
        HubError: not there, not for this token, or no way to ask.
    """
    missing = library().errors.RepositoryNotFoundError
    kinds = [repo.kind] if repo.kind else ["model", "dataset"]
    for kind in kinds:
        try:
            info = tried(
                lambda kind=kind: api.repo_info(
                    repo.name, repo_type=kind, revision=repo.revision
                ),
                repo,
                api,
            )  # fmt: skip
        except HubError as error:
            if kind == kinds[-1] or not isinstance(error.__cause__, missing):
                raise
            continue
        if not isinstance(info.sha, str):
            raise _told(ValueError(f"the commit {info.sha!r}"), repo, api)
        return Repo(repo.name, kind, info.sha), info
    raise AssertionError("unreachable")


def listing(repo: Repo, api: Any) -> dict[str, Remote]:
    """Every file of the repository at its revision, by name."""

    def ask() -> dict[str, Remote]:
        entries = api.list_repo_tree(
            repo.name, recursive=True, revision=repo.revision, repo_type=repo.kind
        )
        found = [_remote(entry) for entry in entries if hasattr(entry, "size")]  # folders have none
        return {remote.name: remote for remote in found}

    return tried(ask, repo, api)


def _remote(entry: Any) -> Remote:
    """A file as the Hub lists it. Raises ValueError for what is none."""
    name, size = entry.path, entry.size
    sha256, git_sha1 = (entry.lfs.sha256, None) if entry.lfs else (None, entry.blob_id)
    known = isinstance(name, str) and isinstance(size, int) and isinstance(sha256 or git_sha1, str)
    if not known or size < 0:
        raise ValueError(f"a file {name!r} of {size!r} bytes with the hash {sha256 or git_sha1!r}")
    return Remote(name, size, sha256, git_sha1)
