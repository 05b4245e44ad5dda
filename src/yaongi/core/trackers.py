"""Experiment trackers, each an optional extra: TensorBoard, Weights & Biases, trackio.

A resumed run continues its curve: each tracker is told the step it continues after.
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import Generator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

from yaongi.core.config import Config, Registry
from yaongi.core.errors import CapabilityError
from yaongi.core.install import import_extra


class Tracker(Protocol):
    """An open connection to a tracker."""

    def log(self, step: int, metrics: dict[str, float]) -> None: ...
    def close(self) -> None: ...


class TrackerConfig(Config):
    """Settings of one tracker."""

    kind: str

    def open(
        self, folder: Path, *, name: str, config: dict[str, Any], resume_step: int | None = None
    ) -> Tracker:
        """Start a run called ``name``, or continue it after ``resume_step``.

        Local files go below ``folder``.
        Raises: CapabilityError when the extra is missing or the service refuses.
        """
        raise NotImplementedError


class TensorBoard(TrackerConfig):
    """Event files for ``tensorboard --logdir``."""

    kind: str = "tensorboard"

    def open(
        self, folder: Path, *, name: str, config: dict[str, Any], resume_step: int | None = None
    ) -> Tracker:
        module = _extra("tensorboardX", "tensorboard")
        place = folder / "tensorboard"
        parts = len(list(place.glob("*"))) if place.is_dir() else 0
        writer = module.SummaryWriter(
            str(place),
            purge_step=None if resume_step is None else resume_step + 1,
            # its file names have seconds: a quick resume would overwrite the first part
            filename_suffix=f".{parts}",
        )
        return _TensorBoardRun(writer)


class _TensorBoardRun:
    def __init__(self, writer: Any) -> None:
        self.writer = writer

    def log(self, step: int, metrics: dict[str, float]) -> None:
        for key, value in metrics.items():
            self.writer.add_scalar(key, value, step)

    def close(self) -> None:
        self.writer.close()


class WandB(TrackerConfig):
    """Weights & Biases; ``offline`` keeps the run on disk for ``wandb sync``."""

    kind: str = "wandb"
    project: str = "yaongi"
    mode: Literal["online", "offline"] = "online"

    def open(
        self, folder: Path, *, name: str, config: dict[str, Any], resume_step: int | None = None
    ) -> Tracker:
        module = _extra("wandb", "wandb")
        folder.mkdir(parents=True, exist_ok=True)
        with _wandb_starts():
            run = module.init(
                project=self.project,
                name=name,
                config=config,
                mode=self.mode,
                dir=str(folder),
                id=_run_id(folder / "wandb.id", resume_step),
                resume="allow",
            )
        return _RunObject(run.log, run.finish)


class Trackio(TrackerConfig):
    """trackio: a local, W&B-shaped dashboard (``trackio show``)."""

    kind: str = "trackio"
    project: str = "yaongi"

    def open(
        self, folder: Path, *, name: str, config: dict[str, Any], resume_step: int | None = None
    ) -> Tracker:
        module = _extra("trackio", "trackio")
        resume = "never" if resume_step is None else "allow"
        with redirect_stdout(sys.stderr):  # it greets on stdout, where --json answers belong
            run = module.init(project=self.project, name=name, config=config, resume=resume)
        return _RunObject(run.log, module.finish)  # run.finish would be repeated at exit


class _RunObject:
    """Trackers whose run has ``log(metrics, step=)`` and ``finish()``."""

    def __init__(self, log: Any, finish: Any) -> None:
        self._log, self._finish = log, finish

    def log(self, step: int, metrics: dict[str, float]) -> None:
        if metrics:
            self._log(metrics, step=step)

    def close(self) -> None:
        with redirect_stdout(sys.stderr):
            self._finish()


def _run_id(path: Path, resume_step: int | None) -> str:
    """The W&B id of this run: kept in ``path`` so that a resumed run continues the same one."""
    if resume_step is None or not path.is_file():
        path.write_text(uuid.uuid4().hex[:12], encoding="utf-8")
    return path.read_text(encoding="utf-8").strip()


@contextmanager
def _wandb_starts() -> Generator[None]:
    """W&B's own refusal (no key, no network) in our words, its reason kept; stdout stays ours."""
    try:
        with redirect_stdout(sys.stderr):
            yield
    except Exception as error:
        raise CapabilityError(
            "wandb did not start: {reason} Put WANDB_API_KEY into the environment or .env, "
            "or set mode: offline.",
            reason=error,
        ) from error


def _extra(module: str, extra: str) -> Any:
    return import_extra("The tracker needs the package '{package}': {command}", module, extra)


TRACKERS = Registry(
    "tracker",
    TrackerConfig,
    {
        "tensorboard": "yaongi.core.trackers:TensorBoard",
        "wandb": "yaongi.core.trackers:WandB",
        "trackio": "yaongi.core.trackers:Trackio",
    },
)
TrackerChoice = Annotated[TrackerConfig, TRACKERS.field()]
