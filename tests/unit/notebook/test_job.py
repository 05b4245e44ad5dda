"""A job: found again by whoever comes later, ended for certain, and its last words kept."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from yaongi.core.errors import ArtifactError
from yaongi.core.files import write_json
from yaongi.notebook import job as jobs
from yaongi.notebook.job import Job, Outcome

psutil = pytest.importorskip("psutil")

PROGRAM = """
import json, os, signal, sys, time
how = sys.argv[1]
signal.signal(signal.SIGINT, signal.SIG_IGN if how == "deaf" else signal.default_int_handler)
print("colour", os.environ.get("FORCE_COLOR"), file=sys.stderr, flush=True)
print("on its way", file=sys.stderr, flush=True)
try:
    if how in ("sleep", "deaf"):
        time.sleep(60)
    if how == "crash":
        raise ZeroDivisionError("<b>")
    if how == "fault":
        print(json.dumps({"error": {"slug": "numerics", "message": "nan", "exit_code": 1}}))
        sys.exit(1)
    print("first\\n" + json.dumps({"model": "m"}))
except KeyboardInterrupt:
    if how == "sleep":
        message = {"slug": "interrupted", "message": "again", "exit_code": 130}
        print(json.dumps({"error": message}))
        sys.exit(130)
"""


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.setattr(jobs, "PROGRAM", PROGRAM)
    monkeypatch.setattr(jobs, "AGAIN_S", 0.1)
    return Job(tmp_path / "out")


def until(true: Callable[[], bool], timeout_s: float = 20) -> None:
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def begun(job: Job) -> Job:
    until(lambda: "on its way" in job.log(9))
    return job


def no_zombie() -> bool:
    children = psutil.Process().children()
    return not any(child.status() == psutil.STATUS_ZOMBIE for child in children)


@pytest.mark.parametrize(
    ("how", "outcome"),
    [
        ("done", Outcome(None, "")),
        ("fault", Outcome("numerics", "nan")),
        ("crash", Outcome("killed", "The process ended without a word; was it killed?")),
    ],
)
def test_how_it_ended_is_known_to_another_who_looks(job: Job, how: str, outcome: Outcome) -> None:
    assert job.outcome() is None and not job.known
    job.start([how])
    until(lambda: not job.alive)
    until(no_zombie)
    assert job.outcome() == Job(job.out).outcome() == outcome
    assert ("ZeroDivisionError: <b>" in job.log(1)[-1]) == (how == "crash")


def test_an_interrupt_lets_it_end_in_order(job: Job) -> None:
    job.start(["sleep"])
    begun(job).interrupt()
    until(lambda: not job.alive)
    assert job.outcome() == Outcome("interrupted", "again")


def test_one_that_does_not_listen_is_killed_and_counts_as_interrupted(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "PATIENCE_S", 0.5)
    job.start(["deaf"])
    begun(job).end()
    assert not job.alive
    until(no_zombie)
    assert job.outcome() == Outcome("interrupted", "")


def test_one_killed_by_somebody_else_is_told_so(job: Job) -> None:
    job.start(["sleep"])
    os.kill(begun(job)._told()["pid"], signal.SIGKILL)
    until(lambda: not job.alive)
    outcome = job.outcome()
    assert outcome is not None and outcome.slug == "killed"


def test_the_one_at_work_is_not_started_twice(job: Job) -> None:
    job.start(["sleep"])
    with pytest.raises(ArtifactError, match="Another process is writing"):
        Job(job.out).start(["done"])
    job.end()
    job.start(["done"])
    until(lambda: not job.alive)
    assert job.outcome() == Outcome(None, ""), "nothing is left of the one before"


def test_a_process_that_has_its_number_is_not_taken_for_it(job: Job) -> None:
    job.start(["done"])
    until(lambda: not job.alive)
    other = {**job._told(), "pid": os.getpid()}
    write_json(job.folder / jobs.PROCESS, other)
    assert not job.alive
    job.interrupt()  # would end these tests


def test_its_log_is_plain_and_its_starter_may_ignore_sigint(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the kernel of a notebook does, which also tells its children to write colours."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        job.start(["sleep"])
    finally:
        signal.signal(signal.SIGINT, before)
    begun(job).interrupt()
    until(lambda: not job.alive)
    assert "colour None" in job.log(9)


def test_it_outlives_its_starter_and_everybody_in_the_starters_group(
    tmp_path: Path,
) -> None:
    """A kernel that shuts down ends the processes of its group."""
    starter = (
        "import os, signal; from pathlib import Path; from yaongi.notebook import job\n"
        f"job.PROGRAM = {PROGRAM!r}\n"
        f"job.Job(Path({str(tmp_path / 'out')!r})).start(['sleep'])\n"
        "os.killpg(0, signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", starter], start_new_session=True, check=False)
    found = Job(tmp_path / "out")
    assert found.alive
    begun(found).end()
    assert found.outcome() == Outcome("interrupted", "again")


def test_the_real_program_hears_sigint() -> None:
    """Not only in training, which listens by itself."""
    assert "signal.default_int_handler" in jobs.PROGRAM
    done = subprocess.run(
        [sys.executable, "-c", jobs.PROGRAM, "--help"], capture_output=True, text=True, check=True
    )
    assert "quickstart" in done.stdout
