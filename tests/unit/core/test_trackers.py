"""Each tracker really run: its own files are read back; nothing leaves the machine."""

from __future__ import annotations

import importlib
import json
import os
import re
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from yaongi.core.config import Config, parse
from yaongi.core.errors import CapabilityError, ConfigError
from yaongi.core.install import install_command
from yaongi.core.trackers import TRACKERS, TrackerChoice

RUN = """
    import json, sys
    from pathlib import Path
    from yaongi.core.runlog import RunLog
    from yaongi.core.trackers import TRACKERS
    kind, settings, folder = sys.argv[1], json.loads(sys.argv[2]), Path(sys.argv[3])
    tracker = TRACKERS.lookup(kind)(**settings)
    with RunLog(folder, [tracker], name="야옹", config={"lr": 0.5}) as log:
        for step in range(4):
            log.log(step, loss=1.0 / (step + 1), val_bpb={"ko": 2.0})
    with RunLog(folder, [tracker], name="야옹", config={"lr": 0.5}, resume_step=1) as log:
        for step in range(2, 5):
            log.log(step, loss=10.0 + step)
"""
RESUMED = {0: 1.0, 1: 0.5, 2: 12.0, 3: 13.0, 4: 14.0}


def run(tmp_path: Path, kind: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Train a pretend run, killed after step 3 and resumed from step 1, in its own process."""
    home = tmp_path / "home"
    home.mkdir()
    environment = {
        **os.environ, "HOME": str(home), "TRACKIO_DIR": str(tmp_path / "trackio"),
        "WANDB_CACHE_DIR": str(home), "WANDB_CONFIG_DIR": str(home), "NETRC": str(home / "none"),
        "HF_HUB_OFFLINE": "1",
    }  # fmt: skip
    folder = str(tmp_path / "run")
    command = [sys.executable, "-c", textwrap.dedent(RUN), kind, json.dumps(settings), folder]
    return subprocess.run(
        command,
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        timeout=100,
    )


def test_tensorboard_events_read_back(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    done = run(tmp_path, "tensorboard")
    assert done.returncode == 0, done.stderr
    events = reading.EventAccumulator(str(tmp_path / "run" / "trackers" / "tensorboard"))
    events.Reload()
    found = {e.step: e.value for e in events.Scalars("loss")}
    assert found == pytest.approx(RESUMED), "the steps after the checkpoint are replaced"
    assert [e.value for e in events.Scalars("val_bpb/ko")] == [2.0, 2.0]


def test_wandb_offline_run_is_on_disk(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    done = run(tmp_path, "wandb", mode="offline", project="yaongi-test")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "", "stdout is kept for --json answers"
    records = sorted((tmp_path / "run" / "trackers" / "wandb").glob("offline-run-*/run-*.wandb"))
    assert len(records) == 2 and all(path.stat().st_size > 0 for path in records)
    assert len({path.name for path in records}) == 1, "a resumed run keeps its id"
    assert b"loss" in records[0].read_bytes()


def test_wandb_leaves_no_service_behind(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    if not Path("/proc").is_dir():
        pytest.skip("needs /proc")
    run(tmp_path, "wandb", mode="offline")
    mine = str(tmp_path).encode()
    left = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mine in (process / "environ").read_bytes():
                left.append((process / "cmdline").read_bytes())
        except OSError:
            continue
    assert left == []


def test_wandb_online_without_a_key_says_what_to_do(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    done = run(tmp_path, "wandb", mode="online")
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert "CapabilityError: wandb did not start" in last
    assert "WANDB_API_KEY" in last and "mode: offline" in last


@pytest.mark.network
def test_wandb_online(tmp_path: Path) -> None:
    pytest.skip("needs the internet and a WANDB_API_KEY; offline is the same code up to the upload")


def test_trackio_database_reads_back(tmp_path: Path) -> None:
    pytest.importorskip("trackio")
    done = run(tmp_path, "trackio", project="yaongi-test")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "", "stdout is kept for --json answers"
    rows = rows_of(tmp_path / "trackio" / "yaongi-test.db")
    assert {step for step, _ in rows} == set(RESUMED)
    assert (4, 14.0) in rows and (0, 1.0) in rows
    assert list((tmp_path / "home").iterdir()) == []


def rows_of(database: Path) -> list[tuple[int, float]]:
    connection = sqlite3.connect(database)
    try:
        rows = connection.execute("SELECT step, metrics FROM metrics ORDER BY id").fetchall()
    finally:
        connection.close()
    return [(step, json.loads(metrics)["loss"]) for step, metrics in rows]


@pytest.mark.parametrize("kind", ["tensorboard", "wandb", "trackio"])
def test_a_missing_extra_says_how_to_install_it(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}")

    tracker = TRACKERS.lookup(kind)()
    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(CapabilityError, match=re.escape(install_command(kind))):
        tracker.open(tmp_path, name="x", config={})


class Recipe(Config):
    trackers: tuple[TrackerChoice, ...] = ()


def test_trackers_in_a_recipe() -> None:
    recipe = parse(Recipe, {"trackers": ["tensorboard", {"kind": "wandb", "mode": "offline"}]})
    assert [t.kind for t in recipe.trackers] == ["tensorboard", "wandb"]
    with pytest.raises(ConfigError, match=r"trackers\.0\.mode: .*'online', 'offline'"):
        parse(Recipe, {"trackers": [{"kind": "wandb", "mode": "of-line"}]})
    with pytest.raises(ConfigError, match="Did you mean 'tensorboard'"):
        parse(Recipe, {"trackers": ["tensorbord"]})
