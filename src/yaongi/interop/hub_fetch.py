"""Files of a repository into a folder: several at once, large ones from where they stopped.

The client's own download begins each file anew in every process (huggingface_hub#4228), and so does
Xet's. Large files therefore come by plain HTTP with a ``Range``; only those beyond what the Hub
serves that way are left to the client.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from threading import Event
from typing import Any

from yaongi.interop.hub_client import Repo, library, tried
from yaongi.interop.hub_files import Remote

WORKERS = 4
RESUME_BYTES = 10_000_000
"""Files from this size on are worth continuing in the middle."""


def fetch(repo: Repo, files: Sequence[Remote], folder: Path, api: Any) -> None:
    """Every file into ``folder``; what is there whole is not asked for again.

    Raises:
        HubError: the way to the Hub broke; what came is kept below ``folder``.
    """
    stop = Event()
    bar = _stoppable_bar(stop)

    def one(remote: Remote) -> None:
        if not remote.is_at(folder / remote.name):
            large = RESUME_BYTES <= remote.bytes <= library().constants.MAX_HTTP_DOWNLOAD_SIZE
            get = _get_large if large else _get_small
            tried(lambda: get(repo, remote, folder, api, bar), repo, api)

    with ThreadPoolExecutor(WORKERS) as pool:
        futures = [pool.submit(one, remote) for remote in files]
        try:
            for future in futures:
                future.result()
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise


def _stoppable_bar(stop: Event) -> Any:
    """A progress bar that ends its download once ``stop`` is set: threads know no Ctrl-C."""

    class Bar(library().utils.tqdm):
        def update(self, n: float | None = 1) -> bool | None:
            if stop.is_set():
                raise KeyboardInterrupt
            return super().update(n)

    return Bar


def _get_small(repo: Repo, remote: Remote, folder: Path, api: Any, bar: Any) -> None:
    api.hf_hub_download(
        repo.name,
        remote.name,
        repo_type=repo.kind,
        revision=repo.revision,
        local_dir=folder,
        tqdm_class=bar,
    )


def _get_large(repo: Repo, remote: Remote, folder: Path, api: Any, bar: Any) -> None:
    """By HTTP, from the byte where the last attempt ended, also that of another process."""
    hub = library()
    named = sha256(remote.name.encode()).hexdigest()[:16]  # two names may have one content
    part = folder / ".cache" / f"{named}-{remote.sha256 or remote.git_sha1}.part"
    part.parent.mkdir(exist_ok=True)
    if part.is_file() and part.stat().st_size > remote.bytes:
        part.unlink()
    url = hub.hf_hub_url(
        repo.name,
        remote.name,
        repo_type=repo.kind,
        revision=repo.revision,
        endpoint=api.endpoint,
    )
    with part.open("ab") as stream:
        hub.file_download.http_get(
            url,
            stream,
            resume_size=stream.tell(),
            headers=hub.utils.build_hf_headers(token=api.token),
            expected_size=remote.bytes,
            displayed_filename=remote.name,
            tqdm_class=bar,
        )
    (folder / remote.name).parent.mkdir(parents=True, exist_ok=True)
    part.replace(folder / remote.name)
