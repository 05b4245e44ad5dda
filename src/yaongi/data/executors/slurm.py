"""Slurm job arrays: datatrove's ``SlurmPipelineExecutor``, waited for."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datatrove.executor import SlurmPipelineExecutor
from pydantic import Field

from yaongi.core.errors import CapabilityError
from yaongi.core.files import write_bytes
from yaongi.core.units import ByteSize
from yaongi.data.executors import (
    Executor,
    Pipeline,
    Watch,
    check_complete,
    complete_ranks,
    noting_errors,
    quietly,
    wait,
)

POLL_S = 15.0  # Slurm's controller serves many users
_JOB = "slurm_job"


class SlurmExecutor(Executor):
    """Submits an array with one task for each rank, and waits until it has left the queue.

    Start it where ``sbatch`` is. Interrupting it leaves the jobs in the queue; the same command
    finds them there and waits again.

    Args:
        partition: where the jobs go.
        time: limit of each task, as Slurm writes it.
        workers: tasks at once; by default as many as Slurm lets run.
        memory: of each task.
        setup: shell lines every task begins with; by default they activate this Python's
            environment.
        sbatch: more options, without their dashes: ``{account: lab, qos: long}``.
    """

    kind: str = "slurm"
    partition: str
    time: str = "24:00:00"
    workers: int | None = Field(default=None, ge=1)
    memory: ByteSize = Field(default=2 * 10**9, ge=1)
    setup: str | None = None
    sbatch: dict[str, str] = Field(default_factory=dict)

    def run(
        self, pipeline: Pipeline, sizes: Sequence[int], folder: Path, watch: Watch | None = None
    ) -> None:
        """See ``Executor.run``.

        Raises:
            CapabilityError: Slurm's commands are not here.
        """
        for command in ("sbatch", "squeue"):
            if shutil.which(command) is None:
                raise CapabilityError(
                    "The executor 'slurm' needs the command {command}, which is not on this "
                    "machine; run yaongi where jobs are submitted.",
                    command=command,
                )
        note = folder / _JOB
        if note.is_file():  # submitted by a run of ours that was interrupted
            wait(lambda: _is_queued(note.read_text()), folder, watch, POLL_S)
        if len(complete_ranks(folder)) < len(sizes):
            job = self._submit(pipeline, len(sizes), folder)
            write_bytes(note, job.encode())
            wait(lambda: _is_queued(job), folder, watch, POLL_S)
        check_complete(len(sizes), folder)

    def _submit(self, pipeline: Pipeline, tasks: int, folder: Path) -> str:
        """The id of the last job: others that a long array needs run before it."""
        array = _Noting(
            list(pipeline),
            tasks=tasks,
            time=self.time,
            partition=self.partition,
            mem_per_cpu_gb=math.ceil(self.memory / 2**30),
            workers=self.workers or -1,
            job_name="yaongi",
            qos="",
            env_command=_activation() if self.setup is None else self.setup,
            sbatch_args=dict(self.sbatch),
            logging_dir=str(folder),
            slurm_logs_folder=str(folder / "slurm_logs"),
            job_id_retriever=_job_id,
        )
        with quietly():
            array.launch_job()
        return str(array.job_id)


class _Noting(SlurmPipelineExecutor):
    def _run_for_rank(self, rank: int, *args: Any, **options: Any) -> Any:
        with noting_errors(Path(self.logging_dir.path), rank):
            return super()._run_for_rank(rank, *args, **options)


def _job_id(said: str) -> str:
    """From ``Submitted batch job 17``, some clusters add ``on cluster x``."""
    return next(word for word in said.split() if word.isdigit())


def _is_queued(job: str) -> bool:
    """Whether any task of it still waits or runs."""
    asked = subprocess.run(
        ["squeue", "--noheader", "--jobs", job], capture_output=True, text=True, check=False
    )
    if asked.returncode:  # a finished job is forgotten after a while; a busy Slurm is asked again
        return "invalid job id" not in asked.stderr.lower()
    return bool(asked.stdout.strip())


def _activation() -> str:
    script = Path(sys.prefix) / "bin" / "activate"
    return f"source {script}" if script.is_file() else ""
