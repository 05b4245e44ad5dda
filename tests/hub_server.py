"""A Hub on this machine: the part of its API that huggingface_hub uses to push and pull.

Repositories, commits, LFS objects, private ones, tokens that may read or write, and faults on
request. Written from the client's requests; no package on PyPI serves commits (``hf-local-hub`` is
a client for a program that is not in it, ``cheesecave`` an empty name).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

WRITER, READER = "hf_writer0123456789", "hf_reader0123456789"
LFS_BYTES = 5_000
"""Files from this size on are large ones, and everything that ends like a weights file."""
WEIGHTS = (".safetensors", ".gguf", ".zst", ".bin")


@dataclass
class Blob:
    """A file: its bytes, and whether git holds only a pointer to it."""

    data: bytes
    lfs: bool

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def git(self) -> str:
        data = self.data
        if self.lfs:
            data = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}".encode()
        return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.git


@dataclass
class Repository:
    """Its commits, oldest first, as (id, files)."""

    private: bool
    commits: list[tuple[str, dict[str, Blob]]] = field(default_factory=list)

    def commit(self, files: dict[str, Blob]) -> str:
        number = hashlib.sha1(f"{id(self)} {len(self.commits)}".encode()).hexdigest()
        self.commits.append((number, files))
        return number

    def at(self, revision: str) -> tuple[str, dict[str, Blob]] | None:
        if revision in ("main", "HEAD"):
            return self.commits[-1]
        return next((c for c in self.commits if c[0] == revision), None)

    @property
    def files(self) -> dict[str, Blob]:
        return self.commits[-1][1]


@dataclass
class Fault:
    """What goes wrong: an HTTP status, or the line cut after so many bytes of the body.

    Attributes:
        when: which requests, by method and path.
        times: how many of them; the rest succeed.
        after: only the answer is lost; what was asked for has happened.
    """

    when: Callable[[str, str], bool]
    status: int | None = None
    cut_after: int | None = None
    times: int = 1
    headers: dict[str, str] = field(default_factory=dict)
    message: str = "as the test wants"
    code: str = ""
    after: bool = False


class Hub:
    """What the server knows.

    Attributes:
        log: (method, path, headers) of every request; the headers' names in lower case.
        lie: called with (name, bytes) of each file sent; returns what to send instead.
    """

    def __init__(self) -> None:
        self.repos: dict[tuple[str, str], Repository] = {}
        self.objects: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.log: list[tuple[str, str, dict[str, str]]] = []
        self.uploaded: list[str] = []
        self.lie: Callable[[str, bytes], bytes] = lambda name, data: data
        self.url = ""
        self.lock = threading.RLock()

    def add(self, name: str, files: dict[str, bytes], *, kind: str = "model",
            private: bool = False) -> Repository:  # fmt: skip
        """A repository that somebody else made."""
        repo = self.repos.setdefault((kind, name), Repository(private))
        repo.commit({n: Blob(data, _is_large(n, data)) for n, data in files.items()})
        return repo

    def paths(self, method: str) -> list[str]:
        """Which paths were asked for."""
        return [path for verb, path, _headers in self.log if verb == method]

    def fault(self, method: str, path: str) -> Fault | None:
        """The next thing that goes wrong with this request."""
        for one in self.faults:
            if one.times > 0 and one.when(method, path):
                one.times -= 1
                return one
        return None


def _is_large(name: str, data: bytes) -> bool:
    return bool(data) and (name.endswith(WEIGHTS) or len(data) >= LFS_BYTES)


def _row(path: str, blob: Blob) -> dict[str, Any]:
    row: dict[str, Any] = {"type": "file", "path": path, "size": len(blob.data), "oid": blob.git}
    if blob.lfs:
        row["lfs"] = {"oid": blob.sha256, "size": len(blob.data), "pointerSize": 130}
    return row


class Refused(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, message: str, code: str = "") -> None:
        super().__init__(message)
        self.status, self.code = status, code


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    hub: Hub
    quiet = False

    def log_message(self, *_: Any) -> None:
        return None

    def do_GET(self) -> None:
        self._serve()

    do_HEAD = do_POST = do_PUT = do_GET

    def _serve(self) -> None:
        self.path_only = unquote(urlsplit(self.path).path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.hub.log.append((self.command, self.path_only, headers))
        fault = self.hub.fault(self.command, self.path_only)
        if fault and fault.cut_after is not None and self.command in ("POST", "PUT"):
            self.rfile.read(min(fault.cut_after, int(self.headers.get("Content-Length", 0))))
            self.close_connection = True
            self.connection.close()
            return
        body = self._body()
        self.cut_after = fault.cut_after if fault else None
        try:
            if fault and fault.status:
                if fault.after:
                    self.quiet = True
                    self._route(body)
                    self.quiet = False
                raise Refused(fault.status, fault.message, fault.code)
            with nullcontext() if self.command == "GET" else self.hub.lock:
                self._route(body)
        except Refused as error:
            headers = {"X-Error-Message": str(error), "X-Error-Code": error.code}
            extra = fault.headers if fault else {}
            self._send(error.status, {"error": str(error)}, {**headers, **extra})

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            parts = []
            while size := int(self.rfile.readline().strip() or b"0", 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _send(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        if self.quiet:
            return
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        headers = {"Content-Length": str(len(data)), **(headers or {})}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.cut_after is not None:
            self.wfile.write(data[: self.cut_after])
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(2)
            return
        self.wfile.write(data)

    # --- what there is ---------------------------------------------------------------------------

    def _route(self, body: bytes) -> None:
        path = self.path_only
        kinds = r"/api/(model|dataset)s/([^/]+/[^/]+)"
        prefix = r"/(datasets/)?([^/]+/[^/]+)"
        table: list[tuple[str, str, Callable[..., None]]] = [
            ("POST", r"/api/repos/create", self._create),
            ("POST", r"/api/validate-yaml", self._validate),
            ("GET", rf"{kinds}(?:/revision/(.+))?", self._info),
            ("GET", rf"{kinds}/tree/([^/]+)(?:/(.+))?", self._tree),
            ("POST", rf"{kinds}/paths-info/([^/]+)", self._paths_info),
            ("POST", rf"{kinds}/preupload/([^/]+)", self._preupload),
            ("POST", rf"{kinds}/commit/([^/]+)", self._commit),
            ("PUT", rf"{kinds}/settings", self._settings),
            ("POST", rf"{prefix}\.git/info/lfs/objects/batch", self._batch),
            ("PUT", r"/lfs/([0-9a-f]{64})", self._upload),
            ("GET", rf"{prefix}/resolve/([^/]+)/(.+)", self._resolve),
        ]
        for method, pattern, answer in table:
            verb = "GET" if self.command == "HEAD" else self.command
            if verb == method and (found := re.fullmatch(pattern, path)):
                return answer(body, *found.groups())
        raise Refused(404, f"no route {self.command} {path}")

    def _token(self) -> str | None:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ") or None
        if token not in (None, WRITER, READER):
            raise Refused(401, "Invalid credentials in Authorization header")
        return token

    def _may_write(self) -> None:
        token = self._token()
        if token is None:
            raise Refused(401, "Unauthorized")
        if token != WRITER:
            raise Refused(403, "You don't have the rights to create a model under this namespace")

    def _repo(self, kind: str, name: str) -> Repository:
        repo, token = self.hub.repos.get((kind, name)), self._token()
        if repo is None or (repo.private and token is None):
            raise Refused(404 if token else 401, "Repository not found", "RepoNotFound")
        return repo

    def _at(self, kind: str, name: str, revision: str) -> tuple[str, dict[str, Blob]]:
        found = self._repo(kind, name).at(revision)
        if found is None:
            raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return found

    # --- answers ---------------------------------------------------------------------------------

    def _create(self, body: bytes) -> None:
        self._may_write()
        asked = json.loads(body)
        kind, name = asked.get("type", "model"), f"{asked['organization']}/{asked['name']}"
        url = f"{self.hub.url}/{'datasets/' if kind == 'dataset' else ''}{name}"
        if (kind, name) in self.hub.repos:
            return self._send(409, {"error": "You already created this", "url": url})
        repo = self.hub.repos[kind, name] = Repository(asked.get("visibility") == "private")
        repo.commit({".gitattributes": Blob(b"*.safetensors filter=lfs\n", False)})
        return self._send(200, {"url": url, "name": name})

    def _validate(self, body: bytes) -> None:
        import yaml

        content = json.loads(body)["content"]
        head = re.match(r"---\n(.*?)\n---\n", content, re.DOTALL)
        if not head or not isinstance(yaml.safe_load(head[1]), dict):
            raise Refused(400, "Invalid metadata in README.md")
        self._send(200, {"errors": [], "warnings": []})

    def _info(self, body: bytes, kind: str, name: str, revision: str | None) -> None:
        sha, files = self._at(kind, name, revision or "main")
        self._send(200, {
            "id": name,
            "sha": sha,
            "private": self._repo(kind, name).private,
            "tags": [],
            "downloads": 0,
            "likes": 0,
            "siblings": [{"rfilename": n} for n in files],
            "cardData": self._card(files),
        })  # fmt: skip

    def _card(self, files: dict[str, Blob]) -> Any:
        import yaml

        text = files["README.md"].data.decode() if "README.md" in files else ""
        head = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
        return yaml.safe_load(head[1]) if head else None

    def _tree(self, body: bytes, kind: str, name: str, revision: str, below: str | None) -> None:
        _sha, files = self._at(kind, name, revision)
        prefix = f"{below}/" if below else ""
        if prefix and not any(path.startswith(prefix) for path in files):
            raise Refused(404, "Entry not found", "EntryNotFound")
        rows = [_row(p, blob) for p, blob in files.items() if p.startswith(prefix)]
        folders = {p.rpartition("/")[0] for p in files if p.startswith(prefix)} - {below or ""}
        rows += [{"type": "directory", "path": f, "size": 0, "oid": "0" * 40} for f in folders]
        if "recursive=true" not in self.path.lower():
            rows = [row for row in rows if "/" not in row["path"].removeprefix(prefix)]
        self._send(200, rows)

    def _paths_info(self, body: bytes, kind: str, name: str, revision: str) -> None:
        _sha, files = self._at(kind, name, revision)
        form = parse_qs(body.decode()) if body[:1] != b"{" else json.loads(body)
        rows = [_row(path, files[path]) for path in form["paths"] if path in files]
        folders = {path.rpartition("/")[0] for path in files if "/" in path}
        rows += [{"type": "directory", "path": p, "size": 0, "oid": "0" * 40}
                 for p in form["paths"] if p in folders]  # fmt: skip
        self._send(200, rows)

    def _preupload(self, body: bytes, kind: str, name: str, revision: str) -> None:
        self._may_write()
        _sha, files = self._at(kind, name, revision)
        answer = []
        for asked in json.loads(body)["files"]:
            large = asked["size"] >= LFS_BYTES or asked["path"].endswith(WEIGHTS)
            known = files.get(asked["path"])
            answer.append({
                "path": asked["path"],
                "uploadMode": "lfs" if large else "regular",
                "shouldIgnore": False,
                "oid": known.etag if known else None,
            })  # fmt: skip
        self._send(200, {"files": answer})

    def _batch(self, body: bytes, _data: str | None, name: str) -> None:
        self._may_write()
        answer = []
        for asked in json.loads(body)["objects"]:
            entry = {"oid": asked["oid"], "size": asked["size"]}
            if asked["oid"] not in self.hub.objects:
                entry["actions"] = {"upload": {"href": f"{self.hub.url}/lfs/{asked['oid']}"}}
            answer.append(entry)
        self._send(200, {"transfer": "basic", "objects": answer})

    def _upload(self, body: bytes, oid: str) -> None:
        if hashlib.sha256(body).hexdigest() != oid:
            raise Refused(400, "content does not have this hash")
        self.hub.objects[oid] = body
        self.hub.uploaded.append(oid)
        self._send(200, {})

    def _commit(self, body: bytes, kind: str, name: str, revision: str) -> None:
        self._may_write()
        repo = self._repo(kind, name)
        sha, files = self._at(kind, name, revision)
        files = dict(files)
        for line in body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "header" and value.get("parentCommit", sha) != sha:
                raise Refused(412, "A commit has happened since. Please refresh and try again.")
            if entry["key"] == "file":
                files[value["path"]] = Blob(base64.b64decode(value["content"]), False)
            elif entry["key"] == "lfsFile":
                files[value["path"]] = Blob(self.hub.objects[value["oid"]], True)
            elif entry["key"] == "deletedFile":
                del files[value["path"]]
        made = repo.commit(files)
        url = f"{self.hub.url}/{'datasets/' if kind == 'dataset' else ''}{name}/commit/{made}"
        self._send(200, {"commitUrl": url, "commitOid": made})

    def _settings(self, body: bytes, kind: str, name: str) -> None:
        self._may_write()
        self._repo(kind, name).private = json.loads(body)["visibility"] == "private"
        self._send(200, {})

    def _resolve(self, body: bytes, data: str | None, name: str, revision: str, path: str) -> None:
        sha, files = self._at("dataset" if data else "model", name, revision)
        if path not in files:
            raise Refused(404, "Entry not found", "EntryNotFound")
        blob = files[path]
        headers = {"ETag": f'"{blob.etag}"', "X-Repo-Commit": sha, "Accept-Ranges": "bytes"}
        content = self.hub.lie(path, blob.data)
        if found := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
            start = int(found[1])
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            return self._send(206, content[start:], headers)
        return self._send(200, content, headers)


@contextmanager
def serve() -> Iterator[Hub]:
    """A Hub on a free port of the loopback interface."""
    hub = Hub()
    handler = type("Bound", (Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
