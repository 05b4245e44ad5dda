"""The teacher of a distillation: at hand, or its likeliest ids kept on disk beforehand.

A cache holds, for each place that is learnt in the first steps of a run, the k likeliest ids and
their log-probabilities, and the mass of all others. Runs that read the same text in the same order
share it, and none of them needs the teacher in memory.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from yaongi.core.artifact import Artifact, draft, existing
from yaongi.core.errors import ConfigError, DataError, NumericsError
from yaongi.core.files import sha256_json, storage_errors
from yaongi.core.units import human_bytes
from yaongi.data.batches import Batch
from yaongi.model.io import load_config, load_model
from yaongi.model.lm import LM
from yaongi.ops.distillation import Whole, top_log_probs
from yaongi.train.objectives import MicroBatch, to_device
from yaongi.train.precision import DTYPES, Precision

log = logging.getLogger(__name__)

KIND = "teacher"
IDS, LOG_PROBS, PLACES = "ids.bin", "log_probs.bin", "places.bin"


class Batches(Protocol):
    """What a run reads: the batch of a step is a pure function of its number."""

    def batch(self, step: int) -> Batch: ...


def check_teacher(teacher: Artifact, n_ids: int, seq_len: int) -> None:
    """Whether ``teacher`` can say something about the text.

    Raises:
        DataError: it learnt on shorter sequences, or has fewer rows than there are ids.
    """
    trained = teacher.manifest.config.get("seq_len")
    if trained is not None and trained < seq_len:
        raise DataError(
            "The teacher {path} knows sequences of {trained} tokens, and seq_len is {seq_len}: it "
            "has never seen a place so late. Set seq_len={trained} or less.",
            path=teacher.path,
            trained=trained,
            seq_len=seq_len,
        )
    size = load_config(teacher.path).vocab_size
    if size < n_ids:
        raise DataError(
            "The teacher {path} has {size} rows, but the tokenizer has {ids} ids.",
            path=teacher.path,
            size=size,
            ids=n_ids,
        )


def load_teacher(teacher: Artifact, precision: Precision) -> LM:
    """The model on its device, in the format of the run, never to change."""
    dtype = DTYPES[precision.name]
    model = load_model(teacher.path, dtype=dtype, device=precision.device, verify=True)
    return model.requires_grad_(False)


@torch.no_grad()
def ask(teacher: LM, batch: MicroBatch, places: torch.Tensor, n_ids: int) -> Whole:
    """What it says at ``places`` (M,) of the flattened rows; its padding is left out."""
    hidden = teacher(batch.ids, doc_ids=batch.doc_ids).hidden
    return Whole(hidden.flatten(0, 1)[places], teacher.head_weight[:n_ids])


# --- a cache on disk --------------------------------------------------------------------------


@dataclass(frozen=True)
class CacheSettings:
    """What decides the contents of a cache, besides teacher and shards.

    Attributes:
        reading: whatever decides the batches: mix or domains, rows, seq_len, seed.
        steps: batches covered.
        n_ids: of the tokenizer; the teacher's padding is left out of its softmax.
    """

    reading: dict[str, Any]
    steps: int
    top_k: int
    temperature: float
    n_ids: int

    def folder(self, parent: Path, teacher: Artifact, shards: Artifact) -> Path:
        """Where it lies below ``parent``: named after all that decides it."""
        made = {"teacher": teacher.hash, "shards": shards.hash, **vars(self)}
        return parent / f"teacher-{sha256_json(made)[:16]}"


def cache_teacher(
    settings: CacheSettings,
    teacher: Artifact,
    shards: Artifact,
    batches: Batches,
    parent: Path,
    precision: Precision,
    *,
    micro_batch: int | None = None,
    on_progress: Callable[[float], None] = lambda share: None,
) -> Artifact:
    """Ask the teacher about every step beforehand; continue where it was interrupted.

    Returns: an artifact of kind ``teacher`` below ``parent``: ``ids.bin`` (places, k) and
        ``log_probs.bin`` (places, k+1) float16, the places in the order of the batches;
        ``places.bin`` (steps,) int64, how many there are up to each step.
    Raises:
        ConfigError: top_k is not less than the ids there are.
        NumericsError: the teacher's numbers are not finite.
    """
    if settings.top_k >= settings.n_ids:
        raise ConfigError(
            "top_k ({k}) must be less than the {ids} ids of the tokenizer; leave it out to use "
            "all of them",
            k=settings.top_k,
            ids=settings.n_ids,
        )
    out = settings.folder(parent, teacher, shards)
    made: dict[str, Any] = {"config": vars(settings), "parents": [teacher, shards]}
    if found := existing(out, KIND, **made):
        return found
    with draft(out, KIND, **made, resumable=True) as work:
        model = load_teacher(teacher, precision)
        with _Files(work.path, settings) as files:
            for step in range(files.done, settings.steps):
                batch = batches.batch(step)
                for part in _parts(batch, micro_batch, precision):
                    files.add(*_top(model, part, settings, precision, teacher.path))
                files.finish_step()
                on_progress((step + 1) / settings.steps)
            places = files.places
        size = human_bytes(sum(p.stat().st_size for p in work.path.iterdir()))
        log.info("%s holds what the teacher says at %d places: %s", out, places, size)
        return work.finish(counts={"steps": settings.steps, "places": places})


def _parts(batch: Batch, rows: int | None, precision: Precision) -> Iterator[MicroBatch]:
    total = len(batch.ids)
    for start in range(0, total, rows or total):
        yield to_device(batch, start, start + (rows or total), precision.device)


def _top(
    model: LM, part: MicroBatch, settings: CacheSettings, precision: Precision, where: Path
) -> tuple[np.ndarray, np.ndarray]:
    places = part.weights.flatten().nonzero()[:, 0]
    with precision.autocast():
        whole = ask(model, part, places, settings.n_ids)
    top = top_log_probs(whole, settings.top_k, settings.temperature)
    if not torch.isfinite(top.log_probs).all():
        raise NumericsError("The teacher {path} gives numbers that are not finite.", path=where)
    return top.ids.cpu().numpy(), top.log_probs.cpu().numpy()


class _Files:
    """A cache in the making: files that are appended to, cut back to the last whole step.

    The places of a step are written after what is said there is on disk.
    """

    def __init__(self, folder: Path, settings: CacheSettings) -> None:
        self.folder, self.k, self.id_type = folder, settings.top_k, _id_type(settings.n_ids)
        saved = read_places(folder)
        self.done, self.places = len(saved) - 1, int(saved[-1])

    def __enter__(self) -> _Files:
        sizes = {
            IDS: self.places * self.k * self.id_type.itemsize,
            LOG_PROBS: self.places * (self.k + 1) * 2,
            PLACES: self.done * 8,
        }
        self.streams = {name: (self.folder / name).open("ab") for name in sizes}
        for name, size in sizes.items():
            self.streams[name].truncate(size)
        return self

    def __exit__(self, *_: object) -> None:
        for stream in self.streams.values():
            stream.close()

    def add(self, ids: np.ndarray, log_probs: np.ndarray) -> None:
        """Some places: their ids and log-probabilities."""
        with storage_errors(self.folder):
            self.streams[IDS].write(ids.astype(self.id_type).tobytes())
            self.streams[LOG_PROBS].write(log_probs.astype(np.float16).tobytes())
        self.places += len(ids)

    def finish_step(self) -> None:
        """Have it on disk that a step is whole."""
        with storage_errors(self.folder):
            self.streams[PLACES].write(np.int64(self.places).tobytes())
            for name in (IDS, LOG_PROBS, PLACES):
                self.streams[name].flush()
                os.fsync(self.streams[name].fileno())
        self.done += 1


def read_places(folder: Path) -> np.ndarray:
    """(steps + 1,) int64: how many places lie before each step, and in all."""
    path = folder / PLACES
    data = path.read_bytes() if path.is_file() else b""
    saved = np.frombuffer(data[: len(data) // 8 * 8], np.int64)
    return np.concatenate([np.zeros(1, np.int64), saved])


def _id_type(n_ids: int) -> np.dtype[Any]:
    return np.dtype(np.uint16 if n_ids <= 2**16 else np.uint32)


@dataclass(frozen=True)
class TaughtBatch(Batch):
    """A batch with what the teacher says: ``teacher_ids`` (B,T,k), ``teacher_log_probs``
    (B,T,k+1); zeros where nothing is learnt."""

    extra: Any = None


class CachedTeacher:
    """Batches with what a cache holds for them."""

    def __init__(self, cache: Artifact, batches: Batches) -> None:
        config = cache.manifest.config
        self.batches, self.places = batches, read_places(cache.path)
        k, total = config["top_k"], int(self.places[-1])
        ids = np.memmap(cache.path / IDS, _id_type(config["n_ids"]), "r", shape=(total, k))
        found = np.memmap(cache.path / LOG_PROBS, np.float16, "r", shape=(total, k + 1))
        self.said = {"teacher_ids": ids, "teacher_log_probs": found}

    def batch(self, step: int) -> TaughtBatch:
        """The batch of ``step``. Raises DataError beyond the steps of the cache."""
        batch = self.batches.batch(step)
        learnt = batch.weights > 0
        part = slice(*self.places[step : step + 2]) if step + 1 < len(self.places) else None
        if part is None or part.stop - part.start != int(learnt.sum()):
            raise DataError("The teacher's cache does not belong to step {step}.", step=step)
        extra = {
            name: np.zeros((*learnt.shape, values.shape[1]), np.int64 if "ids" in name else "f4")
            for name, values in self.said.items()
        }
        for name, values in self.said.items():
            extra[name][learnt] = values[part]
        return TaughtBatch(**vars(batch), extra=extra)
