"""Atomic writes: whatever the disk refuses, the old file or the new one is there, whole."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from yaongi.core import files
from yaongi.core.errors import ArtifactError, DataError, StorageError
from yaongi.core.files import (
    plain,
    read_json,
    remove_temporaries,
    sha256_file,
    sha256_json,
    storage_errors,
    sync_tree,
    write_bytes,
    write_json,
    write_with,
)

OLD, NEW = b"old" * 1000, b"new" * 2000


class FullDisk:
    """Raises ENOSPC at the n-th step that touches the disk."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fail_at: int) -> None:
        self.steps: list[str] = []
        self.fail_at = fail_at
        for owner, name in [(os, "open"), (os, "fsync"), (Path, "write_bytes"), (Path, "replace")]:
            monkeypatch.setattr(owner, name, self._wrap(name, getattr(owner, name)))

    def _wrap(self, name: str, real: Callable) -> Callable:
        def step(*args: object, **kwargs: object) -> object:
            self.steps.append(name)
            if len(self.steps) == self.fail_at:
                if name == "write_bytes":  # a full disk takes some of the bytes
                    real(args[0], NEW[:100])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(args[0]))
            return real(*args, **kwargs)

        return step


def steps_of_a_write(tmp_path: Path) -> int:
    with pytest.MonkeyPatch.context() as patch:
        disk = FullDisk(patch, fail_at=0)
        write_bytes(tmp_path / "count", NEW)
    assert {"open", "fsync", "write_bytes", "replace"} <= set(disk.steps)
    return len(disk.steps)


def test_disk_full_at_every_step(tmp_path: Path) -> None:
    for step in range(1, steps_of_a_write(tmp_path) + 1):
        path = tmp_path / f"at{step}"
        path.write_bytes(OLD)
        with pytest.MonkeyPatch.context() as patch:
            disk = FullDisk(patch, fail_at=step)
            with pytest.raises(StorageError, match=r"at\d.*No space left") as caught:
                write_bytes(path, NEW)
        renamed = "replace" in disk.steps[: step - 1]
        assert path.read_bytes() == (NEW if renamed else OLD), disk.steps
        assert caught.value.exit_code == 1
    assert not [p for p in tmp_path.iterdir() if "tmp" in p.name], "no temporary file is left"


def test_the_rename_happens_after_the_data_is_on_disk(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        disk = FullDisk(patch, fail_at=0)
        write_bytes(tmp_path / "x", NEW)
    assert disk.steps.index("fsync") < disk.steps.index("replace")
    assert disk.steps[-1] == "fsync", "the folder's entry is made durable too"


def test_killed_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(OLD)
    code = f"""
        import os, signal
        from pathlib import Path
        from yaongi.core.files import write_with
        def fill(temporary):
            temporary.write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
        write_with(Path({str(path)!r}), fill)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == OLD
    assert len(list(tmp_path.iterdir())) == 2, "the kill left a temporary file"
    remove_temporaries(tmp_path)
    assert list(tmp_path.iterdir()) == [path]


def test_remove_temporaries_takes_nothing_else(tmp_path: Path) -> None:
    kept = [tmp_path / name for name in (".env", "a.tmp12", ".x.tmp", ".x.tmp12b", "b.tmp")]
    for path in kept:
        path.touch()
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / ".a.json.tmp123").touch()
    remove_temporaries(tmp_path)
    assert sorted(p for p in tmp_path.rglob("*") if p.is_file()) == sorted(kept)


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_every_file_gets_the_permissions_of_a_new_one(tmp_path: Path, mask: int) -> None:
    """safetensors writes its own for the owner alone."""
    path = tmp_path / "x.safetensors"
    before = os.umask(mask)
    try:
        write_with(path, lambda temporary: save_file({"a": np.zeros(3)}, temporary))
        write_bytes(tmp_path / "plain", NEW)
    finally:
        os.umask(before)
    modes = {p.name: p.stat().st_mode & 0o777 for p in tmp_path.iterdir()}
    assert modes == {"x.safetensors": 0o666 & ~mask, "plain": 0o666 & ~mask}


def test_a_failing_writer_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(OLD)

    def fill(temporary: Path) -> None:
        temporary.write_bytes(b"half")
        raise DataError("no")

    with pytest.raises(DataError):
        write_with(path, fill)
    assert list(tmp_path.iterdir()) == [path] and path.read_bytes() == OLD


full_device = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")


@full_device
def test_a_really_full_device(tmp_path: Path) -> None:
    with (
        pytest.raises(StorageError, match="No space left"),
        storage_errors(tmp_path / "x"),
        Path("/dev/full").open("wb") as stream,
    ):
        stream.write(NEW)


REFUSED = """
    import resource, signal
    import numpy as np
    from pathlib import Path
    from safetensors.numpy import save_file
    from yaongi.core.errors import StorageError
    from yaongi.core.files import write_bytes, write_with
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    try:
        {write}
    except StorageError as error:
        print(error)
"""


@pytest.mark.parametrize(
    "write",
    [
        "write_bytes(Path({path!r}), b'x' * 2000)",
        # safetensors is Rust and raises an error of its own, not OSError
        "write_with(Path({path!r}), lambda p: save_file({{'a': np.zeros(9999)}}, p))",
    ],
)
def test_a_file_size_limit(tmp_path: Path, write: str) -> None:
    """A real refusal by the kernel (EFBIG) below the writers."""
    path = tmp_path / "x"
    path.write_bytes(b"old")
    code = textwrap.dedent(REFUSED).format(write=write.format(path=str(path)))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "Cannot write" in done.stdout and "File too large" in done.stdout, done.stderr
    assert list(tmp_path.iterdir()) == [path] and path.read_bytes() == b"old"


def test_forbidden_to_read_something_else_is_not_a_full_disk(tmp_path: Path) -> None:
    inputs = str(tmp_path / "inputs" / "a.jsonl")
    denied = PermissionError(errno.EACCES, "Permission denied", inputs)
    with pytest.raises(PermissionError), storage_errors(tmp_path / "out"):
        raise denied


@pytest.mark.parametrize("name", ["out", "out.partial/x", ".out.lock", ".out.tmp3", ""])
def test_forbidden_to_write_here_names_the_place(tmp_path: Path, name: str) -> None:
    denied = PermissionError(errno.EACCES, "Permission denied", str(tmp_path / name))
    with (
        pytest.raises(StorageError, match="Permission denied"),
        storage_errors(tmp_path / "out"),
    ):
        raise denied


def test_other_errors_pass_unchanged(tmp_path: Path) -> None:
    for error in (DataError("x"), KeyError("x"), FileNotFoundError(errno.ENOENT, "x")):
        with pytest.raises(type(error)) as caught, storage_errors(tmp_path):
            raise error
        assert caught.value is error


def test_json_round_trip_is_readable_korean(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"이름": "야옹이", "n": [1, 2.5, None, True]})
    assert "야옹이" in path.read_text(encoding="utf-8")
    assert read_json(path) == {"이름": "야옹이", "n": [1, 2.5, None, True]}


def test_json_never_holds_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        write_json(tmp_path / "x.json", {"loss": float("nan")})
    assert not (tmp_path / "x.json").exists()


def test_plain_values_are_strict_json() -> None:
    value = {
        "loss": float("nan"), "n": np.int64(3), "x": np.float32(0.5), "p": Path("a/b"),
        "t": (1, float("-inf")), 3: {"deep": np.float64("inf")}, "b": np.bool_(True),
    }  # fmt: skip
    assert json.loads(json.dumps(plain(value), allow_nan=False)) == {
        "loss": "nan", "n": 3, "x": 0.5, "p": "a/b",
        "t": [1, "-inf"], "3": {"deep": "inf"}, "b": True,
    }  # fmt: skip


@pytest.mark.parametrize("content", [b"", b'{"a": 1', b"\xff\xfe", b'{"a": "\xea\xb0'])
def test_json_cut_short_names_the_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"x\.json is not readable as JSON.*cut short"):
        read_json(path)
    with pytest.raises(ArtifactError, match=r"y\.json is missing"):
        read_json(tmp_path / "y.json")


def test_known_hashes(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_file(tmp_path / "x") == abc
    assert sha256_json({"b": 1, "a": "가"}) == sha256_json({"a": "가", "b": 1})
    assert sha256_json({"a": 1}) != sha256_json({"a": 1.5})


def test_sync_tree_survives_dangling_links(tmp_path: Path) -> None:
    """W&B leaves links to logs elsewhere."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "a" / "file").write_text("x")
    synced: list[Path] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "sync", synced.append)
        sync_tree(tmp_path)
    assert set(synced) == {tmp_path, tmp_path / "a", tmp_path / "a" / "file"}
