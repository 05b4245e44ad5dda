"""An adapter on disk: ``adapter.safetensors`` beside ``adapter.json``, which names its base.

The base is known by the SHA-256 of its weights, so a copy of it will do, and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from pydantic import BaseModel

from yaongi.core.artifact import MANIFEST, open_artifact
from yaongi.core.config import parse
from yaongi.core.errors import ArtifactError, CheckpointError
from yaongi.core.files import read_json, sha256_file, write_json, write_with
from yaongi.core.i18n import translate
from yaongi.model.io import WEIGHTS, read_tensors
from yaongi.model.lm import LM
from yaongi.model.lora import AdapterConfig, adapter_names, adapter_tensors, add_adapters

_torch_files: Any = safetensors.torch  # its functions are only partly typed
ADAPTER, TENSORS = "adapter.json", "adapter.safetensors"
KIND = "adapter"


class Base(BaseModel):
    """What an adapter remembers of its base: where it lay, and the hash of its weights."""

    path: str
    weights_sha256: str


def save_adapter(
    model: LM, cfg: AdapterConfig, base: Path, folder: Path, *, name: str = "default"
) -> None:
    """Write an adapter of ``model`` into ``folder``; ``base`` is the folder of its base."""
    found = adapter_tensors(model, name)
    tensors = {k: v.detach().cpu().contiguous() for k, v in found.items()}
    folder.mkdir(parents=True, exist_ok=True)

    def fill(temporary: Path) -> None:
        _torch_files.save_file(tensors, temporary, metadata={"format": "pt"})

    write_with(folder / TENSORS, fill)
    known = Base(path=str(base), weights_sha256=weights_hash(base))
    write_json(folder / ADAPTER, {"adapter": cfg.as_json(), "base": known.model_dump()})


def read_adapter(folder: Path, *, verify: bool = True) -> tuple[AdapterConfig, Base]:
    """Its settings, and which base it is for.

    Args:
        verify: compare the files of an artifact with their hashes first.
    Raises:
        ArtifactError: no adapter there, or a damaged one.
    """
    if (folder / MANIFEST).is_file():
        artifact = open_artifact(folder, KIND)
        if verify:
            artifact.verify()
    elif not (folder / ADAPTER).is_file():
        open_artifact(folder, KIND)  # raises, and says what is there instead
    content = read_json(folder / ADAPTER)
    try:
        base = Base.model_validate(content["base"])
        settings = content["adapter"]
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(
            "{path} is damaged: {reason}", path=folder / ADAPTER, reason=error
        ) from error
    return parse(AdapterConfig, settings, where=str(folder / ADAPTER)), base


def load_adapters(model: LM, base: Path, folders: Sequence[Path]) -> list[str]:
    """Give ``model``, which was loaded from ``base``, the adapters saved in ``folders``.

    Returns: their names: those of the folders, the same one twice with a number. The last of
        them is in use.
    Raises:
        ArtifactError: an adapter of another base.
        CheckpointError: its tensors do not fit this model.
    """
    names: list[str] = []
    for folder in folders:
        cfg, wanted = read_adapter(folder)
        check_base(folder, wanted, base)
        names.append(_name(folder, adapter_names(model)))
        add_adapters(model, cfg, name=names[-1])
        _fill(model, names[-1], folder / TENSORS)
    return names


def check_base(adapter: Path, wanted: Base, base: Path) -> None:
    """Raise ArtifactError unless ``base`` holds the weights the adapter was trained on."""
    found = weights_hash(base)
    if found != wanted.weights_sha256:
        raise ArtifactError(
            "The adapter {adapter} was trained on {wanted} (weights {wanted_hash}), not on {base} "
            "(weights {found_hash}). Use it with that model.",
            adapter=adapter,
            wanted=wanted.path,
            wanted_hash=wanted.weights_sha256[:12],
            base=base,
            found_hash=found[:12],
        )


def weights_hash(folder: Path) -> str:
    """SHA-256 of a model's weights: as the manifest has it, else computed."""
    if (folder / MANIFEST).is_file():
        files = open_artifact(folder).manifest.files
        if WEIGHTS in files:
            return files[WEIGHTS].sha256
    if not (folder / WEIGHTS).is_file():
        raise CheckpointError("{path} is missing.", path=folder / WEIGHTS)
    return sha256_file(folder / WEIGHTS)


def _fill(model: LM, name: str, path: Path) -> None:
    own, saved = adapter_tensors(model, name), read_tensors(path)
    for key in sorted(own.keys() | saved.keys()):
        shapes = [tuple(t[key].shape) if key in t else None for t in (own, saved)]
        if shapes[0] != shapes[1]:
            raise CheckpointError(
                "{path}: the tensor {name} is {found}; the model expects {shape}.",
                path=path,
                name=key,
                found=shapes[1] or translate("missing"),
                shape=shapes[0] or translate("none of that name"),
            )
    with torch.no_grad():
        for key, param in own.items():
            param.copy_(saved[key])


def _name(folder: Path, taken: Sequence[str]) -> str:
    """The folder's name as one an adapter can have, and that is free."""
    plain = "".join(c if c.isalnum() or c in "_-" else "-" for c in folder.resolve().name)
    return next(
        name
        for name in (plain, *(f"{plain}-{i}" for i in range(2, len(taken) + 3)))
        if name not in taken
    )
