"""A quantized model on disk: safetensors that are memory-mapped, in the layout products want.

The manifest says how it was quantized and how the integers lie; on a machine whose products want
them otherwise they are repacked in memory. Nothing is read before it is needed: of files too large
to hash in a moment only size and structure are compared (``yaongi trace --verify`` reads all).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from torch import Tensor

from yaongi.core.artifact import MANIFEST, Artifact, check_file, check_size, open_artifact
from yaongi.core.config import parse
from yaongi.core.errors import ArtifactError, CheckpointError
from yaongi.model.io import MODEL_KINDS, check_tensors, load_shape, read_tensors, write_tensors
from yaongi.model.lm import LM, LMConfig
from yaongi.model.quantized import (
    Int4Weight,
    Scheme,
    narrow,
    parameter_name,
    quantized_weights,
    repacked,
)
from yaongi.ops.quant import INT4
from yaongi.ops.quant.layouts import ROWS, known

KIND = "quantized"
RUNNABLE_KINDS = (*MODEL_KINDS, KIND)
"""The kinds of artifact that ``yaongi.load`` opens; only ``MODEL_KINDS`` can be trained on."""

PART, ANY_PART = "quantized-{:05d}.safetensors", "quantized-*.safetensors"
PART_BYTES = 1 << 30  # memory that writing takes beside the largest tensor
HASHED_BYTES = 1 << 29  # weights up to this many are hashed at every load

log = logging.getLogger(__name__)


def placing(scheme: Scheme) -> dict[str, str]:
    """``layout`` and ``isa`` of what ``write_quantized`` writes here, for the manifest."""
    place = INT4.pick(torch.device("cpu")).layout if scheme.to == "int4" else ROWS
    layout, _, isa = place.partition("/")
    return {"layout": layout, "isa": isa}


def write_quantized(
    cfg: LMConfig,
    read: Callable[[str], Tensor],
    scheme: Scheme,
    folder: Path,
    on_progress: Callable[[float, str], None] | None = None,
) -> dict[str, int]:
    """Quantize tensor by tensor into files below ``folder``, whatever the size of the model.

    Args:
        read: a tensor of the model by name.
    Returns: bytes written, and how many of the parameters' numbers are in how many bits.
    Raises:
        CheckpointError: a tensor to quantize has numbers that are not finite.
    """
    with torch.device("meta"):
        plain, model = LM(cfg), LM(cfg)
        narrow(model, scheme)
    holders = {parameter_name(path): (path, m) for path, m in quantized_weights(model)}
    counts: dict[str, int] = {}
    part: dict[str, Tensor] = {}
    files: list[Path] = []
    for i, (name, shell) in enumerate(plain.state_dict().items()):
        if on_progress:
            on_progress(i / len(plain.state_dict()), name)
        bits, found = "kept", {name: read(name)}
        if name in holders:
            path, holder = holders[name]
            bits = "int4" if isinstance(holder, Int4Weight) else "int8"
            if not found[name].isfinite().all():
                raise CheckpointError(
                    "{name} has numbers that are not finite: it cannot be quantized.", name=name
                )
            found = {f"{path}.{k}": t for k, t in holder.quantized(found[name]).items()}
        counts[bits] = counts.get(bits, 0) + shell.numel()
        part |= found
        if sum(t.nbytes for t in part.values()) >= PART_BYTES:
            files.append(_write(part, folder / PART.format(len(files))))
            part = {}
    if part:
        files.append(_write(part, folder / PART.format(len(files))))
    return {"bytes": sum(f.stat().st_size for f in files), **counts}


def _write(part: Mapping[str, Tensor], path: Path) -> Path:
    write_tensors(path, part)
    return path


def verified(folder: Path) -> Artifact:
    """The quantized artifact at ``folder``, its files compared with the manifest.

    Weights that the manifest does not name are refused: they would take the others' place.

    Weights of more than ``HASHED_BYTES`` only by size: hashing them takes longer than loading.

    Raises:
        ArtifactError: there is none, or a file is missing, damaged or not its own.
    """
    artifact = open_artifact(folder, KIND)
    files = artifact.manifest.files
    weights = {name for name in files if fnmatchcase(name, ANY_PART)}
    if strange := sorted({path.name for path in folder.glob(ANY_PART)} - weights):
        raise ArtifactError(
            "{path} is not of this model: {manifest} does not name it. Remove it.",
            path=folder / strange[0],
            manifest=MANIFEST,
        )
    large = sum(files[name].bytes for name in weights) > HASHED_BYTES
    for name, entry in files.items():
        if large and name in weights:
            check_size(folder / name, entry.bytes)
        else:
            check_file(folder / name, entry.bytes, entry.sha256)
    return artifact


def load_quantized(
    folder: str | Path,
    *,
    dtype: torch.dtype | None = None,
    device: str | torch.device = "cpu",
) -> LM:
    """Load a quantized model for inference, in eval mode, after ``verified``.

    Args:
        dtype: of what is not quantized and of what flows; None keeps what was saved.
    Raises:
        ArtifactError: as ``verified``, or the manifest does not say how it was quantized.
        CheckpointError: an unknown layout, or tensors that are not the model's.
    """
    folder = Path(folder)
    settings = verified(folder).manifest.config
    try:
        scheme = parse(Scheme, {k: settings[k] for k in Scheme.model_fields})
        layout = known(f"{settings['layout']}/{settings['isa']}")
    except KeyError as error:
        raise ArtifactError(
            "{path} does not say how it was quantized: its config has no {key}.",
            path=folder / MANIFEST,
            key=error,
        ) from error
    return read_quantized(folder, scheme, layout, dtype=dtype, device=device)


def read_quantized(
    folder: Path,
    scheme: Scheme,
    layout: str,
    *,
    dtype: torch.dtype | None = None,
    device: str | torch.device = "cpu",
) -> LM:
    """``load_quantized`` for a folder that is not finished, or was checked already."""
    model = load_shape(folder)
    with torch.device("meta"):
        narrow(model, scheme)
    tensors: dict[str, Tensor] = {}
    for path in _parts(folder):
        tensors |= read_tensors(path)
    _check(folder, model, tensors)
    model.to(dtype or tensors["norm_f.weight"].dtype)  # on the meta device
    for name, own in model.state_dict().items():
        if tensors[name].is_floating_point():
            tensors[name] = tensors[name].to(own.dtype)
    _repack(model, tensors, layout)
    model.load_state_dict(tensors, assign=True)
    for layer, engram in model.engrams().items():
        engram.check(f"{folder}: layers.{layer}.engram")
    return model.to(device).eval()


def _repack(model: LM, tensors: dict[str, Tensor], layout: str) -> None:
    """Bring the integers into the layout of this machine's products."""
    for path, holder in quantized_weights(model):
        if isinstance(holder, Int4Weight) and holder.kernel.layout != layout:
            name, wanted = f"{path}.packed", holder.kernel.layout
            log.info("%s: repacked from %s to %s", name, layout, wanted)
            tensors[name] = repacked(tensors[name], layout, wanted)


def _check(folder: Path, model: LM, tensors: dict[str, Tensor]) -> None:
    check_tensors(folder, model, tensors)
    for name, own in model.state_dict().items():
        found = tensors[name].dtype
        whole = not own.is_floating_point() or name.rpartition(".")[2] in ("scale", "scales")
        if found != own.dtype and (whole or not found.is_floating_point):
            raise CheckpointError(
                "{path}: the tensor {name} is of {found}; expected {expected}.",
                path=folder,
                name=name,
                found=found,
                expected=own.dtype,
            )


def _parts(folder: Path) -> list[Path]:
    """The files of weights, in order. Raises CheckpointError when there is none."""
    found = sorted(folder.glob(ANY_PART))
    if not found:
        raise CheckpointError("{path} is missing.", path=folder / PART.format(0))
    return found
