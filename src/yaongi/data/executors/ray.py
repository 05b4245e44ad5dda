"""Ray, on this machine or a cluster: datatrove's ``RayPipelineExecutor``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from datatrove.executor import RayPipelineExecutor
from pydantic import Field

from yaongi.core.install import import_extra
from yaongi.core.units import ByteSize
from yaongi.data.executors import (
    Executor,
    Pipeline,
    Watch,
    check_complete,
    noting_errors,
    quietly,
    wait,
)


class RayExecutor(Executor):
    """Every worker has to see the sources and the output folder under the same paths.

    Args:
        address: of a running cluster; by default $RAY_ADDRESS, else a Ray on this machine.
        workers: tasks at once; by default as many as the cluster has room for.
        memory: what each task reserves.
    """

    kind: str = "ray"
    address: str | None = None
    workers: int | None = Field(default=None, ge=1)
    memory: ByteSize = Field(default=2 * 10**9, ge=1)

    def run(
        self, pipeline: Pipeline, sizes: Sequence[int], folder: Path, watch: Watch | None = None
    ) -> None:
        """See ``Executor.run``."""
        ray = _ray()
        started = not ray.is_initialized()
        if started:
            ray.init(address=self.address, log_to_driver=False)
        try:
            with quietly(), ThreadPoolExecutor(1) as thread:
                job = _Noting(
                    list(pipeline),
                    tasks=len(sizes),
                    workers=self.workers or -1,
                    logging_dir=str(folder),
                    mem_per_cpu_gb=self.memory / 2**30,
                )
                running = thread.submit(job.run)
                wait(lambda: not running.done(), folder, watch)
                running.result()
        finally:
            if started:
                ray.shutdown()
        check_complete(len(sizes), folder)


class _Noting(RayPipelineExecutor):
    def _run_for_rank(self, rank: int, *args: Any, **options: Any) -> Any:
        with noting_errors(Path(self.logging_dir.path), rank):
            return super()._run_for_rank(rank, *args, **options)


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    return import_extra("The executor 'ray' needs the package '{package}': {command}", "ray", "ray")
