"""Weights as ``transformers`` lays them out: one safetensors file, or shards with an index.

Pickled weights (``.bin``, ``.pt``, ``.pth``) are read only when the user vouches for them.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from yaongi.core.errors import CapabilityError, CheckpointError
from yaongi.core.files import is_mapping, read_json, write_json, write_with
from yaongi.model.io import read_tensors

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLES = (".bin", ".pt", ".pth")
PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")
SHARD_BYTES = 5_000_000_000  # what the hub's tools write

_torch_files: Any = safetensors.torch  # its functions are only partly typed


def read_weights(source: Path, *, trust: bool = False) -> dict[str, Tensor]:
    """Every tensor of a model folder, or of one weights file.

    Args:
        trust: read a pickle too, if there is nothing else.
    Raises:
        CheckpointError: a file is missing or damaged, or the index is not one.
        CapabilityError: only a pickle is there and ``trust`` is not given.
    """
    if source.is_file():
        return _read_file(source, trust)
    for single, index in ((SINGLE, INDEX), PICKLED):
        if (source / index).is_file():
            return _read_shards(source / index, trust)
        if (source / single).is_file():
            return _read_file(source / single, trust)
    others = sorted(p.name for p in source.iterdir() if p.suffix in (".safetensors", *PICKLES))
    raise CheckpointError(
        "{path} has no weights: expected {single}, or {index} with its shards. Found {found}.",
        path=source,
        single=SINGLE,
        index=INDEX,
        found=", ".join(others) or "no other weights file",
    )


def _read_shards(index: Path, trust: bool) -> dict[str, Tensor]:
    content = read_json(index)
    places = content.get("weight_map") if is_mapping(content) else None
    if not is_mapping(places) or not places:
        raise CheckpointError("{path} is not an index: it has no weight_map.", path=index)
    names = sorted({_plain_name(index, name) for name in places.values()})
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing:
        raise CheckpointError(
            "{path} names {all} shards, but {count} are missing: {missing}. "
            "Download the model again.",
            path=index,
            all=len(names),
            count=len(missing),
            missing=", ".join(missing),
        )
    found: dict[str, Tensor] = {}
    for name in names:
        found |= _read_file(index.parent / name, trust)
    if absent := sorted(set(places) - set(found)):
        raise CheckpointError(
            "{path} promises the tensor {name}, but {shard} does not hold it.",
            path=index,
            name=absent[0],
            shard=places[absent[0]],
        )
    return found


def _plain_name(index: Path, name: Any) -> str:
    """A file beside the index and nowhere else: an index could name any file of this machine."""
    if not isinstance(name, str) or name != Path(name).name or name in (".", "..") or "\\" in name:
        raise CheckpointError(
            "{path} names the shard {name}; a shard must be a file in the same folder.",
            path=index,
            name=repr(name),
        )
    return name


def _read_file(path: Path, trust: bool) -> dict[str, Tensor]:
    return _read_pickle(path, trust) if path.suffix in PICKLES else read_tensors(path)


def _read_pickle(path: Path, trust: bool) -> dict[str, Tensor]:
    if not trust:
        raise CapabilityError(
            "{path} is a pickle, and reading a pickle can run a program hidden in it. Take the "
            "same model as safetensors if there is one. If you trust whoever made this file, add "
            "--i-trust-this-file; even then only tensors are read (torch.load, weights_only=True).",
            path=path,
        )
    try:
        found: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise CheckpointError(
            "{path} holds more than tensors, or is damaged; it was not read further: {reason}",
            path=path,
            reason=str(error).splitlines()[0],
        ) from error
    if not is_mapping(found) or not all(isinstance(v, Tensor) for v in found.values()):
        raise CheckpointError(
            "{path} is not a table of tensors by name, as state_dict() gives.", path=path
        )
    return dict(found)


def write_weights(
    tensors: Iterable[tuple[str, Tensor]], folder: Path, *, shard_bytes: int = SHARD_BYTES
) -> int:
    """Write one file, or shards of at most ``shard_bytes`` (a larger tensor has its own).

    Returns: the number of files.
    """
    shards: list[dict[str, Tensor]] = [{}]
    room = shard_bytes
    for name, tensor in tensors:
        size = tensor.numel() * tensor.element_size()
        if size > room and shards[-1]:
            shards.append({})
            room = shard_bytes
        shards[-1][name] = tensor
        room -= size
    if len(shards) == 1:
        _write_file(folder / SINGLE, shards[0])
        return 1
    places: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        _write_file(folder / file, shard)
        places |= dict.fromkeys(shard, file)
    total = sum(t.numel() * t.element_size() for shard in shards for t in shard.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(places.items()))}
    write_json(folder / INDEX, index)
    return len(shards)


def _write_file(path: Path, tensors: Mapping[str, Tensor]) -> None:
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}

    def fill(temporary: Path) -> None:
        _torch_files.save_file(whole, temporary, metadata={"format": "pt"})

    write_with(path, fill)


def check_numbers(where: Path, name: str, tensor: Tensor) -> None:
    """Refuse what no computation can use.

    Raises:
        CheckpointError: not 16- or 32-bit floats, or some are NaN or infinite.
    """
    if tensor.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        raise CheckpointError(
            "{path}: the tensor {name} is {found}; expected float32, float16 or bfloat16. "
            "Take the release of this model that is not quantized.",
            path=where,
            name=name,
            found=str(tensor.dtype).removeprefix("torch."),
        )
    bad = tensor.numel() - int(torch.isfinite(tensor).sum())
    if bad:
        raise CheckpointError(
            "{path}: {count} of {all} numbers in the tensor {name} are NaN or infinite.",
            path=where,
            count=bad,
            all=math.prod(tensor.shape),
            name=name,
        )
