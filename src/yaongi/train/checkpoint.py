"""Checkpoints of a run: safetensors and JSON in a folder that appears whole or not at all.

Written beside, synced, renamed; every file's SHA-256 is recorded and checked on loading, as in
Megatron-LM's integrity file. The state is all of it: weights, optimizer, loss scaler, random
numbers and position, so a resumed run continues bit for bit.
"""

from __future__ import annotations

import logging
import platform
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from yaongi.core.artifact import check_file, differences
from yaongi.core.errors import ArtifactError, CheckpointError
from yaongi.core.files import (
    read_json,
    sha256_file,
    storage_errors,
    sync,
    sync_tree,
    with_usual_mode,
    write_json,
)
from yaongi.model.io import read_tensors

log = logging.getLogger(__name__)

MODEL, TRAINING, STATE = "model.safetensors", "training.safetensors", "state.json"
HASHES = "hashes.json"


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint on disk, its hashes not yet checked."""

    path: Path
    step: int

    def verify(self) -> None:
        """Compare every file with its recorded hash.

        Raises:
            CheckpointError: naming the file, the expected and the found hash.
        """
        place = self.path / HASHES
        try:
            entries = [(n, e["bytes"], e["sha256"]) for n, e in read_json(place).items()]
        except (ArtifactError, AttributeError, TypeError, KeyError) as error:
            raise CheckpointError(
                "{path} is damaged: {reason}", path=place, reason=error
            ) from error
        if {name for name, _, _ in entries} != {MODEL, TRAINING, STATE}:
            raise CheckpointError("{path} does not list the checkpoint's files.", path=place)
        for name, size, sha256 in entries:
            check_file(self.path / name, size, sha256, CheckpointError)

    def read(self) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Any]]:
        """Model tensors, training tensors, and the rest as JSON."""
        return (
            read_tensors(self.path / MODEL),
            read_tensors(self.path / TRAINING),
            read_json(self.path / STATE),
        )


def save(
    root: Path,
    step: int,
    model: Mapping[str, Tensor],
    training: Mapping[str, Tensor],
    state: Mapping[str, Any],
    *,
    keep: int = 2,
) -> Checkpoint:
    """Write the checkpoint of ``step`` below ``root`` and drop old ones.

    Args:
        state: JSON; ``state["metric"]`` (lower is better, or None) decides which is best.
        keep: the newest this many stay, and the best one.
    Raises:
        StorageError: the disk refused; earlier checkpoints are untouched.
    """
    final = root / f"step-{step:08d}"
    work = root / f".{final.name}.tmp"
    with storage_errors(final):
        root.mkdir(parents=True, exist_ok=True)
        sweep(root)
        try:
            work.mkdir()
            for name, tensors in ((MODEL, dict(model)), (TRAINING, dict(training))):
                fill = partial(save_file, tensors, metadata={"format": "pt"})
                with_usual_mode(work / name, fill)
            write_json(work / STATE, {"step": step, **state})
            write_json(work / HASHES, {p.name: _entry(p) for p in sorted(work.iterdir())})
            sync_tree(work)
            if final.exists():  # a damaged one, or a step done again after an older resume
                _remove(final)
            work.rename(final)
            sync(root)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    _prune(root, keep)
    return Checkpoint(final, step)


def _entry(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": sha256_file(path)}


def complete(root: Path) -> list[Checkpoint]:
    """Checkpoints below ``root``, newest first."""
    found = [
        Checkpoint(path, int(match[1]))
        for path in (root.iterdir() if root.is_dir() else ())
        if (match := re.fullmatch(r"step-(\d+)", path.name))
    ]
    return sorted(found, key=lambda c: -c.step)


def newest(root: Path) -> Checkpoint | None:
    """The newest valid checkpoint, or None where there is none at all.

    A damaged newer one is passed over with a warning: the run only repeats some steps.

    Raises:
        CheckpointError: there are checkpoints, and all are damaged.
    """
    first: CheckpointError | None = None
    for checkpoint in complete(root):
        try:
            checkpoint.verify()
        except CheckpointError as error:
            first = first or error
            log.warning("%s Trying the one before.", error)
        else:
            return checkpoint
    if first is not None:
        raise first
    return None


def sweep(root: Path) -> None:
    """Remove what a killed save or removal left."""
    for path in root.glob(".step-*"):
        shutil.rmtree(path, ignore_errors=True)


def _prune(root: Path, keep: int) -> None:
    found = complete(root)
    scored = [(m, -c.step, c) for c in found if (m := _metric(c)) is not None]
    best = min(scored, key=lambda item: item[:2])[2] if scored else None
    for checkpoint in found[keep:]:
        if checkpoint != best:
            _remove(checkpoint.path)


def _metric(checkpoint: Checkpoint) -> float | None:
    try:
        return read_json(checkpoint.path / STATE).get("metric")
    except CheckpointError:
        return None


def _remove(path: Path) -> None:
    """Rename first: a folder half deleted by a crash must not look like a checkpoint."""
    gone = path.with_name(f".{path.name}.gone")
    shutil.rmtree(gone, ignore_errors=True)
    path.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


# What a checkpoint holds ---------------------------------------------------------------------


def training_state(
    model: nn.Module, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Optimizer, loss scaler and random numbers as (tensors, JSON)."""
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, Any] = {}
    names = _names(model, optimizer)
    saved = optimizer.state_dict()
    for index, entries in saved["state"].items():
        for key, value in entries.items():
            place = tensors if isinstance(value, Tensor) else numbers
            place[f"{names[index]}/{key}"] = value
    tensors["rng/cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["rng/cuda"] = torch.cuda.get_rng_state()
    groups = [{k: v for k, v in g.items() if k != "params"} for g in saved["param_groups"]]
    state = {"numbers": numbers, "groups": groups, "scaler": scaler.state_dict()}
    return to_cpu(tensors), state


def restore(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    tensors: Mapping[str, Tensor],
    state: Mapping[str, Any],
) -> None:
    """Undo ``training_state``: the optimizer was built anew from the same settings."""
    names = _names(model, optimizer)
    index_of = {name: index for index, name in enumerate(names)}
    per_param: dict[int, dict[str, Any]] = {}
    for full, value in [*tensors.items(), *state["numbers"].items()]:
        name, _, key = full.rpartition("/")
        if name in index_of:
            per_param.setdefault(index_of[name], {})[key] = value
    layout = optimizer.state_dict()["param_groups"]
    groups = [
        {**saved, "params": now["params"]}
        for saved, now in zip(state["groups"], layout, strict=True)
    ]
    optimizer.load_state_dict({"state": per_param, "param_groups": groups})
    scaler.load_state_dict(dict(state["scaler"]))
    torch.set_rng_state(tensors["rng/cpu"])
    if "rng/cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["rng/cuda"])


def _names(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[str]:
    """Names of the optimizer's parameters, in the order its state_dict numbers them."""
    known = {id(p): name for name, p in model.named_parameters()}
    return [known[id(p)] for group in optimizer.param_groups for p in group["params"]]


def to_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous copies safetensors can write, on the CPU."""
    return {k: v.detach().cpu().contiguous() for k, v in tensors.items()}


def machine_facts(device: torch.device) -> dict[str, Any]:
    """What decides the last bits of a result besides the program and its input."""
    return {
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "instruction set": torch.backends.cpu.get_cpu_capability(),
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
    }


def warn_if_moved(saved: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Warn when the run continues under other conditions."""
    changes = differences(saved, now)
    if changes:
        log.warning(
            "The run continues under other conditions (%s): it goes on, but not bit for bit.",
            "; ".join(changes),
        )
