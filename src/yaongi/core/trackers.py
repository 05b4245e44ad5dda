"""Experiment trackers, each an optional extra: TensorBoard, Weights & Biases, trackio."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

from yaongi.core.config import Config, Registry
from yaongi.core.errors import CapabilityError


class Tracker(Protocol):
    """An open connection to a tracker."""

    def log(self, step: int, metrics: dict[str, float]) -> None: ...
    def close(self) -> None: ...


class TrackerConfig(Config):
    """Settings of one tracker."""

    kind: str

    def open(self, folder: Path, *, name: str, config: dict[str, Any]) -> Tracker:
        """Start a run called ``name``; local files go below ``folder``."""
        raise NotImplementedError


class TensorBoard(TrackerConfig):
    """Event files for ``tensorboard --logdir``."""

    kind: str = "tensorboard"

    def open(self, folder: Path, *, name: str, config: dict[str, Any]) -> Tracker:
        module = _extra("tensorboardX", "tensorboard")
        return _TensorBoardRun(module.SummaryWriter(str(folder / "tensorboard")))


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

    def open(self, folder: Path, *, name: str, config: dict[str, Any]) -> Tracker:
        module = _extra("wandb", "wandb")
        folder.mkdir(parents=True, exist_ok=True)
        run = module.init(
            project=self.project, name=name, config=config, mode=self.mode, dir=str(folder)
        )
        return _RunObject(run.log, run.finish)


class Trackio(TrackerConfig):
    """trackio: a local, W&B-shaped dashboard (``trackio show``)."""

    kind: str = "trackio"
    project: str = "yaongi"

    def open(self, folder: Path, *, name: str, config: dict[str, Any]) -> Tracker:
        module = _extra("trackio", "trackio")
        run = module.init(project=self.project, name=name, config=config)
        return _RunObject(run.log, run.finish)


class _RunObject:
    """Trackers whose run has ``log(metrics, step=)`` and ``finish()``."""

    def __init__(self, log: Any, finish: Any) -> None:
        self._log, self._finish = log, finish

    def log(self, step: int, metrics: dict[str, float]) -> None:
        if metrics:
            self._log(metrics, step=step)

    def close(self) -> None:
        self._finish()


def _extra(module: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise CapabilityError(
            "The tracker needs the package '{module}': pip install 'yaongi[{extra}]'",
            module=module,
            extra=extra,
        ) from error


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
