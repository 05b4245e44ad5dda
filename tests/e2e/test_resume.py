"""The promise of exact resume: kill -9 at random moments changes no bit of the result."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest
import tiny_run
from safetensors.torch import load_file

from yaongi.core.runlog import read_metrics

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["resume_job"])


def start(job: str, inputs: Path, out: Path, save_s: float):
    import resume_job

    process = SERVER.Process(target=getattr(resume_job, job), args=(inputs, out, save_s))
    process.start()
    return process


def finish(job: str, inputs: Path, out: Path) -> float:
    """Run to the end; returns the seconds it took."""
    began = time.monotonic()
    process = start(job, inputs, out, save_s=1e9)
    process.join(600)
    assert process.exitcode == 0
    return time.monotonic() - began


def kill_at(process, moment: float) -> None:
    process.join(moment)
    process.kill()


def saving(checkpoints: Path) -> set[tuple[str, int]]:
    """Checkpoints half written; the creation time tells a new one from a leftover."""
    found = set()
    for path in checkpoints.glob(".step-*.tmp"):
        with contextlib.suppress(FileNotFoundError):
            found.add((path.name, path.stat().st_ino))
    return found


def kill_in_save(process, checkpoints: Path, extra: float) -> None:
    """Kill ``extra`` seconds after the folder of a new checkpoint appears."""
    before = saving(checkpoints)
    while process.is_alive() and not saving(checkpoints) - before:
        time.sleep(0.0005)
    kill_at(process, extra)


@pytest.mark.parametrize(
    ("job", "kills", "kills_in_saves"), [("work", 22, 8), ("continued", 10, 4)]
)
def test_killed_at_random_moments_nothing_differs(
    job, kills, kills_in_saves, tmp_path, monkeypatch
):
    tests = Path(tiny_run.__file__).parent  # the server does not inherit sys.path before 3.13
    monkeypatch.setenv("PYTHONPATH", str(tests), prepend=os.pathsep)
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    tiny_run.shards(inputs)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    seconds = finish(job, inputs, whole)

    draw = random.Random(20240229)
    checkpoints = tmp_path / "broken.partial" / "checkpoints"
    killed = in_saves = lives = 0
    resumed_from = set()
    while killed < kills or in_saves < kills_in_saves:
        lives += 1
        assert lives < 4 * kills and not broken.exists(), "the run ended before it was killed"
        resumed_from.add(max((p.name for p in checkpoints.glob("step-*")), default="start"))
        before = saving(checkpoints)
        process = start(job, inputs, broken, save_s=0.0)
        if lives % 2:
            kill_at(process, draw.uniform(0.02, 0.12 * seconds))
        else:
            kill_in_save(process, checkpoints, draw.uniform(0, 0.12))
        process.join()
        killed += process.exitcode == -signal.SIGKILL
        in_saves += bool(saving(checkpoints) - before)
    finish(job, inputs, broken)
    assert len(resumed_from) >= 5

    expected, found = (load_file(d / "model.safetensors") for d in (whole, broken))
    assert expected.keys() == found.keys()
    assert all(expected[k].equal(found[k]) for k in expected)
    numbers = [
        [{k: v for k, v in line.items() if k != "tokens_per_s"} for line in read_metrics(d)]
        for d in (whole, broken)
    ]
    steps = [line["step"] for line in numbers[0]]
    assert steps == list(range(steps[0], 41)) and steps[0] == (job == "work")
    assert job == "work" or sum("decision" in line for line in numbers[0]) > 1
    assert numbers[0] == numbers[1]
    print(f"{killed} kills, {in_saves} while saving, at {len(resumed_from)} places")
