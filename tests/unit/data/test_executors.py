"""The same corpus whoever does the work, whatever is killed on the way."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from yaongi.core.config import parse
from yaongi.core.errors import CapabilityError, ConfigError, DataError
from yaongi.core.seeds import Seed
from yaongi.data.corpus import CorpusConfig, build_corpus
from yaongi.data.executors import complete_ranks
from yaongi.data.executors.local import LocalExecutor

FILES = 4
linux = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="reads /proc")


def write(folder):
    folder.mkdir(exist_ok=True)
    for i in range(FILES):
        lines = [f'{{"text": "{i}번 파일의 {n // 2}번째 글 010-2345-6789"}}' for n in range(60)]
        (folder / f"{i}.jsonl").write_text("\n".join([*lines, "broken"]), "utf-8")
    return folder


def config(root, executor, **more):
    settings = {"filters": ["pii"], "keep_rejected": True, "val_fraction": 0.1, **more}
    return parse(
        CorpusConfig,
        {"root": str(root), "sources": ["."], "executor": executor, **settings},
    )


def contents(folder):
    files = [p for p in folder.rglob("*") if p.is_file() and p.name != "manifest.json"]
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Sources, and the corpus one process makes of them without a break."""
    base = tmp_path_factory.mktemp("made")
    root = write(base / "in")
    return root, build_corpus(config(root, {"kind": "local", "workers": 1}), base / "out", Seed(0))


def same(corpus, made):
    return contents(corpus.path) == contents(made.path) and corpus.hash == made.hash


def test_the_corpus_does_not_depend_on_the_number_of_workers(made, tmp_path):
    root, alone = made
    assert {"train/text.jsonl.zst", "examples.jsonl"} < set(contents(alone.path))
    notes = []
    many = build_corpus(
        config(root, {"kind": "local", "workers": 3}),
        tmp_path / "out",
        Seed(0),
        on_progress=lambda share, note: notes.append((share, note)),
    )
    assert same(many, alone) and many.manifest.counts == alone.manifest.counts
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert {f"{i}/{FILES}" for i in range(1, FILES + 1)} >= {n for _, n in notes if "/" in n}
    assert [share for share, _ in notes] == sorted(share for share, _ in notes)


def test_a_finished_corpus_is_not_made_again_with_other_workers(made, tmp_path):
    root, _ = made
    first = build_corpus(config(root, "local"), tmp_path / "out", Seed(0))
    again = build_corpus(config(root, {"kind": "local", "workers": 7}), tmp_path / "out", Seed(0))
    assert again.manifest.created == first.manifest.created


def test_little_work_is_done_in_this_process():
    assert LocalExecutor()._workers([10, 20, 30]) == 1
    assert LocalExecutor(workers=2)._workers([10, 20, 30]) == 2
    assert LocalExecutor(workers=8)._workers([10]) == 1


def test_an_error_in_a_worker_is_the_users_error(tmp_path):
    root = write(tmp_path / "in")
    (root / "2.jsonl").write_text('{"body": "글"}\n' * 3, "utf-8")
    with pytest.raises(DataError, match=r"2\.jsonl: cannot tell.*body"):
        build_corpus(config(root, {"kind": "local", "workers": 2}), tmp_path / "out", Seed(0))


def test_executors_are_chosen_by_one_key(monkeypatch):
    assert config("in", "local").executor == LocalExecutor()
    with pytest.raises(ConfigError, match="'slurm'"):
        config("in", "slrm")
    with pytest.raises(ConfigError, match=r"executor\.partition"):
        config("in", "slurm")
    assert "executor" not in config("in", "local").as_json()
    monkeypatch.setenv("PATH", "/nowhere")
    slurm = config("in", {"kind": "slurm", "partition": "cpu"}).executor
    with pytest.raises(CapabilityError, match="sbatch"):
        slurm.run([], [1], Path("nowhere"))


# --- killed on the way -----------------------------------------------------------------------

WAITING = """
import time
from pathlib import Path

from yaongi.data.filters import Cleaned, Filter

class Waiting(Filter):
    kind: str = "waiting"

    def clean(self, text):
        while "2번 파일" in text and not Path("go").exists():
            Path("there").touch()
            time.sleep(0.02)
        return Cleaned(text.replace("010", "011"))
"""
BUILD = """
import sys
from pathlib import Path
from yaongi.core.config import parse
from yaongi.core.seeds import Seed
from yaongi.data.corpus import CorpusConfig, build_corpus

if __name__ == "__main__":
    settings = {"root": "in", "sources": ["."], "filters": [{"kind": "waiting:Waiting"}, "pii"],
                "executor": {"kind": "local", "workers": int(sys.argv[1])}}
    build_corpus(parse(CorpusConfig, settings), sys.argv[2], Seed(0))
"""


class Site:
    """A folder in which a build of its own process stops in file 2 until ``go`` is there."""

    def __init__(self, folder):
        self.folder = folder
        write(folder / "in")
        (folder / "waiting.py").write_text(WAITING)
        (folder / "build.py").write_text(BUILD)

    def start(self, workers, out="out"):
        env = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(self.folder), *filter(None, sys.path)])
        }
        self.process = subprocess.Popen(
            [sys.executable, "build.py", str(workers), out],
            cwd=self.folder,
            env=env,
            stderr=subprocess.PIPE,
            text=True,
        )
        return self.process

    def wait_for(self, what, ended=False):
        deadline = time.monotonic() + 120
        while not what():
            assert time.monotonic() < deadline, "nothing happened in two minutes"
            assert ended or not self.process.poll(), self.process.stderr.read()
            time.sleep(0.05)

    def stopped(self):
        return (self.folder / "there").exists()

    def done(self, out="out"):
        return complete_ranks(self.folder / f"{out}.partial" / "cleaning")

    def finish(self, workers, out="out"):
        (self.folder / "go").touch()
        process = self.start(workers, out)
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said
        return contents(self.folder / out)


@pytest.mark.serial
def test_a_build_killed_in_the_middle_resumes_at_the_shard(tmp_path):
    site = Site(tmp_path)
    build = site.start(1)
    site.wait_for(site.stopped)
    build.send_signal(signal.SIGKILL)
    build.wait()
    assert site.done() == {0, 1}
    marks = tmp_path / "out.partial" / "cleaning" / "documents"
    before = {p.name: p.stat().st_mtime_ns for p in marks.glob("0000[01]*")}
    assert len(before) == 6 and not list(marks.glob("00002.*"))
    assert site.finish(2) == site.finish(1, "whole")
    assert not (tmp_path / "out.partial").exists()


@linux
@pytest.mark.serial
def test_a_killed_worker_ends_the_build_and_what_is_done_is_kept(tmp_path):
    site = Site(tmp_path)
    build = site.start(2)
    site.wait_for(lambda: site.stopped() and site.done() == {0, 1, 3})
    workers = [p for p in children(build.pid) if "spawn_main" in command(p)]
    assert len(workers) == 2
    os.kill(workers[0], signal.SIGKILL)
    _, said = build.communicate(timeout=60)
    assert build.returncode == 1 and "WorkerError: A worker process was killed" in said
    assert "3 of 4 parts" in said
    site.wait_for(lambda: not any(map(alive, workers)), ended=True)
    assert site.finish(1) == site.finish(2, "whole")


@linux
@pytest.mark.serial
def test_workers_end_with_the_build(tmp_path):
    site = Site(tmp_path)
    build = site.start(2)
    site.wait_for(lambda: site.stopped() and site.done() == {0, 1, 3})
    workers = children(build.pid)
    build.send_signal(signal.SIGKILL)
    build.wait()
    site.wait_for(lambda: not any(map(alive, workers)), ended=True)


def test_another_build_does_not_continue_in_the_same_folder(tmp_path):
    root = write(tmp_path / "in")
    (root / "3.jsonl").write_text('{"body": "글"}\n', "utf-8")
    with pytest.raises(DataError):
        build_corpus(config(root, "local"), tmp_path / "out", Seed(0))
    assert complete_ranks(tmp_path / "out.partial" / "cleaning") == {0, 1, 2}
    write(root)
    other = build_corpus(config(root, "local", filters=[]), tmp_path / "out", Seed(0))
    texts = contents(other.path)["train/text.jsonl.zst"]
    fresh = build_corpus(config(root, "local", filters=[]), tmp_path / "fresh", Seed(0))
    assert texts == contents(fresh.path)["train/text.jsonl.zst"]


def children(pid):
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def command(pid):
    return Path(f"/proc/{pid}/cmdline").read_text()


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


# --- Ray and Slurm ---------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.serial
def test_ray_makes_the_same_corpus(made, tmp_path, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    root, alone = made
    ray = {"kind": "ray", "workers": 2, "memory": "200MB"}
    assert same(build_corpus(config(root, ray), tmp_path / "out", Seed(0)), alone)


SBATCH = """
    #!{python}
    # Slurm's sbatch for one machine: runs the tasks of an array at once, in the background.
    import os, re, subprocess, sys
    from pathlib import Path

    site = Path("{site}")
    script = Path(sys.argv[-1]).read_text()
    job = str(100 + len(list(site.glob("job_*"))))
    (site / f"job_{{job}}").write_text(" ".join(sys.argv[1:-1]) + "\\n" + script)
    options = dict(re.findall(r"#SBATCH --([a-z-]+)=(.*)", script))
    first, last = re.match(r"(\\d+)-(\\d+)", options["array"]).groups()
    run = site / f"run_{{job}}.sh"
    run.write_text(script)
    (site / f"queued_{{job}}").touch()
    tasks = "".join(
        f"SLURM_ARRAY_TASK_ID={{i}} SLURM_NODELIST=here bash {{run}} >>{{site}}/log 2>&1;"
        for i in range(int(first), int(last) + 1)
    )
    offset = re.search(r"RUN_OFFSET=(\\d+)", " ".join(sys.argv))
    env = os.environ | {{"RUN_OFFSET": offset[1] if offset else "0"}}
    command = f"{{tasks}} rm -f {{site}}/queued_{{job}}"
    subprocess.Popen(["bash", "-c", command], env=env, start_new_session=True)
    print("Submitted batch job", job)
"""
SQUEUE = """
    #!/bin/bash
    test -e {site}/job_$3 || {{ echo "error: Invalid job id specified" >&2; exit 1; }}
    test ! -e {site}/queued_$3 || echo "$3 cpu yaongi R"
"""
SRUN = """
    #!/bin/bash
    while [[ $1 != launch_pickled_pipeline ]]; do shift; done
    exec "$@"
"""
SCONTROL = """
    #!/bin/bash
    echo here
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Stand-ins for Slurm's commands, and the executor that uses them."""
    site = tmp_path / "slurm"
    site.mkdir()
    for name, text in (
        ("sbatch", SBATCH), ("squeue", SQUEUE), ("srun", SRUN), ("scontrol", SCONTROL),
    ):  # fmt: skip
        script = site / name
        script.write_text(textwrap.dedent(text).lstrip().format(site=site, python=sys.executable))
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
    bin = Path(sys.executable).parent
    monkeypatch.setenv("PATH", os.pathsep.join([str(site), str(bin), os.environ["PATH"]]))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    monkeypatch.delenv("SLURM_ARRAY_TASK_ID", raising=False)
    monkeypatch.setattr("yaongi.data.executors.slurm.POLL_S", 0.5)
    return site, {
        "kind": "slurm",
        "partition": "cpu",
        "time": "01:00:00",
        "workers": 2,
        "memory": "3GB",
        "sbatch": {"account": "lab"},
    }


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_slurm_makes_the_same_corpus(made, tmp_path, slurm):
    """With stand-ins for Slurm's commands that run the generated scripts."""
    root, alone = made
    site, executor = slurm
    assert same(build_corpus(config(root, executor), tmp_path / "out", Seed(0)), alone)
    arguments, _, script = (site / "job_100").read_text().partition("\n")
    assert "--export=ALL,RUN_OFFSET=0" in arguments and "dependency" not in arguments
    for line in (
        "#SBATCH --partition=cpu", "#SBATCH --time=01:00:00", "#SBATCH --account=lab",
        "#SBATCH --array=0-3%2", "#SBATCH --mem-per-cpu=3G", "#SBATCH --cpus-per-task=1",
        "#SBATCH --job-name=yaongi",
    ):  # fmt: skip
        assert line in script.splitlines()
    assert "--qos" not in script and f"source {sys.prefix}/bin/activate" in script
    assert "#SBATCH --dependency=afterok:100" in (site / "job_101").read_text()  # statistics


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_a_failed_slurm_task_is_reported_and_only_the_rest_is_run_again(tmp_path, slurm):
    site, executor = slurm
    root = write(tmp_path / "in")
    (root / "2.jsonl").write_text('{"body": "글"}\n' * 3, "utf-8")
    with pytest.raises(DataError, match=r"2\.jsonl: cannot tell.*body"):
        build_corpus(config(root, executor), tmp_path / "out", Seed(0))
    cleaning = tmp_path / "out.partial" / "cleaning"
    assert complete_ranks(cleaning) == {0, 1, 3}
    job = (cleaning / "slurm_job").read_text()
    with pytest.raises(DataError):  # nothing has changed, so only the failed task runs again
        build_corpus(config(root, executor), tmp_path / "out", Seed(0))
    again = (cleaning / "slurm_job").read_text()
    assert again != job and "#SBATCH --array=0-0%2" in (site / f"job_{again}").read_text()
