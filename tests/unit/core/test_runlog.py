"""metrics.jsonl: whole lines, strict JSON, and one uninterrupted run after a resume."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from yaongi.core.errors import CapabilityError, StorageError
from yaongi.core.runlog import METRICS, MetricsTail, RunLog, cut_back, read_metrics
from yaongi.core.trackers import TrackerConfig


class Recorder(TrackerConfig):
    """A tracker that remembers."""

    kind: str = "recorder"
    fails: bool = False

    def open(self, folder, *, name, config, resume_step=None):
        if self.fails:
            raise CapabilityError("no")
        OPENED.append(recorder := Recorded())
        return recorder


class Recorded:
    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []
        self.closed = False

    def log(self, step: int, metrics: dict[str, float]) -> None:
        self.rows.append((step, metrics))

    def close(self) -> None:
        self.closed = True


OPENED: list[Recorded] = []


@pytest.fixture(autouse=True)
def _fresh() -> None:
    OPENED.clear()


def steps(folder: Path) -> list[int]:
    return [row["step"] for row in read_metrics(folder)]


def log_steps(folder: Path, start: int, stop: int, resume_step: int | None = None) -> None:
    with RunLog(folder, resume_step=resume_step) as log:
        for step in range(start, stop):
            log.log(step, loss=float(step), text="가\u2028나\x85다")


def test_a_line_is_there_at_once(tmp_path: Path) -> None:
    log = RunLog(tmp_path / "run")
    log.log(1, loss=2.5, phase="warm up", val_bpb={"ko": 1.5})
    assert read_metrics(tmp_path / "run") == [
        {"step": 1, "loss": 2.5, "phase": "warm up", "val_bpb": {"ko": 1.5}}
    ]
    log.close()


def test_a_resumed_run_reads_as_one(tmp_path: Path) -> None:
    log_steps(tmp_path, 0, 8)  # killed at 8; the checkpoint is of step 4
    log_steps(tmp_path, 5, 10, resume_step=4)
    assert steps(tmp_path) == list(range(10))


def test_a_new_run_starts_empty(tmp_path: Path) -> None:
    log_steps(tmp_path, 0, 3)
    log_steps(tmp_path, 0, 2)
    assert steps(tmp_path) == [0, 1]


@pytest.mark.parametrize(
    "tail",
    ['{"step": 3, "lo', '{"step": 3, "text": "가', "{", "7\n", '{"loss": 1}\n', '{"step": "x"}\n'],
)
@pytest.mark.parametrize("cut", [0, 1, 2])
def test_what_a_crash_left_half_is_dropped(tmp_path: Path, tail: str, cut: int) -> None:
    log_steps(tmp_path, 0, 3)
    path = tmp_path / METRICS
    data = tail.encode()
    path.write_bytes(path.read_bytes() + data[: len(data) - cut])  # also inside a character
    assert steps(tmp_path) == [0, 1, 2]
    log_steps(tmp_path, 3, 5, resume_step=2)
    assert steps(tmp_path) == [0, 1, 2, 3, 4]
    assert len(path.read_bytes().splitlines()) == 5


def test_cut_back_of_nothing(tmp_path: Path) -> None:
    cut_back(tmp_path / METRICS, 3)
    assert not (tmp_path / METRICS).exists()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(
    values=st.lists(
        st.dictionaries(
            st.text(max_size=5).filter(lambda k: k not in ("step", "self")),
            st.one_of(st.floats(), st.text(), st.integers(), st.none()),
            max_size=3,
        ),
        max_size=6,
    ),
    keep=st.integers(-1, 6),
)
def test_any_values_survive_a_resume(tmp_path: Path, values: list[dict], keep: int) -> None:
    with RunLog(tmp_path) as log:
        for step, value in enumerate(values):
            log.log(step, **value)
    before = read_metrics(tmp_path)
    cut_back(tmp_path / METRICS, keep)
    assert read_metrics(tmp_path) == before[: keep + 1]
    assert len(before) == len(values)


def test_numbers_that_are_none_become_text(tmp_path: Path) -> None:
    with RunLog(tmp_path) as log:
        log.log(0, loss=float("nan"), list=[float("inf")], x=np.float32(0.5), n=np.int64(2))
    line = (tmp_path / METRICS).read_text()
    assert "NaN" not in line and "Infinity" not in line
    assert json.loads(line) == {"step": 0, "loss": "nan", "list": ["inf"], "x": 0.5, "n": 2}


def test_trackers_get_numbers_flat(tmp_path: Path) -> None:
    with RunLog(tmp_path, [Recorder(), Recorder()]) as log:
        log.log(3, loss=1.5, note="text", val_bpb={"ko": 1.25, "en": {"web": 2}}, x=np.float32(2))
    rows = [(3, {"loss": 1.5, "val_bpb/ko": 1.25, "val_bpb/en/web": 2, "x": 2.0})]
    assert [tracker.rows for tracker in OPENED] == [rows, rows]
    assert all(tracker.closed for tracker in OPENED)


def test_one_tracker_failing_to_open_closes_the_others(tmp_path: Path) -> None:
    with pytest.raises(CapabilityError):
        RunLog(tmp_path, [Recorder(), Recorder(fails=True)])
    assert [tracker.closed for tracker in OPENED] == [True]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_a_storage_error_and_trackers_still_close(tmp_path: Path) -> None:
    (tmp_path / METRICS).symlink_to("/dev/full")
    with (
        pytest.raises(StorageError, match=r"metrics\.jsonl: No space left"),
        RunLog(tmp_path, [Recorder()]) as log,
    ):
        log.log(0, loss=1.0)
    assert OPENED[0].closed


def test_a_tail_reads_each_line_once_and_follows_what_happens_to_the_file(tmp_path: Path) -> None:
    work, out, tail = tmp_path / "a.partial", tmp_path / "a", MetricsTail()
    assert tail.follow(work) == []
    with RunLog(work) as log:
        log.log(1, loss=3.0)
        assert [m["step"] for m in tail.follow(work)] == [1]
        first = tail.records[0]
        log.log(2, loss=2.0)
        assert [m["step"] for m in tail.follow(work)] == [1, 2]
        assert tail.records[0] is first, "not read again"
    with (work / METRICS).open("ab") as stream:
        stream.write('{"step": 3, "note": "가'.encode()[:-1])  # half a character, half a line
    assert [m["step"] for m in tail.follow(work)] == [1, 2]
    with RunLog(work, resume_step=1) as log:  # cuts it back
        assert [m["step"] for m in tail.follow(work)] == [1]
        log.log(2, loss=2.5)
    work.rename(out)
    assert [m.get("loss") for m in tail.follow(out)] == [3.0, 2.5]
    assert tail.follow(work) == tail.records, "it may be on its way to another name"
