"""Tensors between our names and an architecture's: renamed, experts stacked or laid out singly.

The tables themselves are the ``name`` functions of the architectures; nothing here knows one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from yaongi.core.errors import CheckpointError, ConfigError
from yaongi.interop.hf_architecture import Architecture
from yaongi.interop.hf_files import check_numbers
from yaongi.model.lm import LM, LMConfig

_HEAD, _EMBEDDING = "lm_head.weight", "embeddings.weight"
_IGNORED = (".rotary_emb.inv_freq",)  # old files store what the settings say


@dataclass(frozen=True)
class Place:
    """One of our tensors and where it lies.

    Attributes:
        shape: ours.
        theirs: their names: one, or one per expert (the slices of ours along its first
            dimension), or none.
        stacked: whether they are slices.
        numbers: whether it holds floats; else whole numbers, such as the hashing of memories.
    """

    ours: str
    shape: tuple[int, ...]
    theirs: tuple[str, ...]
    stacked: bool = False
    numbers: bool = True


def places(architecture: Architecture, cfg: LMConfig) -> list[Place]:
    """Every tensor of a model and its place in the architecture's files."""
    with torch.device("meta"):
        own = LM(cfg).state_dict()
    found = [_place(architecture, name, tensor) for name, tensor in own.items()]
    if cfg.tied and not architecture.ties:
        found.append(Place(_EMBEDDING, tuple(own[_EMBEDDING].shape), (_HEAD,)))
    return found


def _place(architecture: Architecture, ours: str, tensor: Tensor) -> Place:
    theirs, shape = architecture.name(ours), tuple(tensor.shape)
    if theirs is None:
        return Place(ours, shape, ())
    if "{e}" not in theirs:
        return Place(ours, shape, (theirs,), numbers=tensor.is_floating_point())
    return Place(ours, shape, tuple(theirs.format(e=e) for e in range(shape[0])), stacked=True)


def to_theirs(
    architecture: Architecture, cfg: LMConfig, ours: Mapping[str, Tensor]
) -> Iterator[tuple[str, Tensor]]:
    """Our tensors under their names.

    Raises:
        ConfigError: one that has no place there is not zero.
    """
    for place in places(architecture, cfg):
        tensor = ours[place.ours].detach()
        if place.ours == _EMBEDDING and place.theirs == (_HEAD,):
            tensor = tensor.clone()  # a file holds no tensor twice by reference
        if not place.theirs and tensor.any():
            raise ConfigError(
                "{architecture} has no place for {name}, which training has moved from zero. "
                "Train with moe.bias_rate=0 for this target.",
                architecture=architecture.model_type,
                name=place.ours,
            )
        yield from zip(place.theirs, tensor if place.stacked else [tensor], strict=False)


def to_ours(
    architecture: Architecture, cfg: LMConfig, theirs: Mapping[str, Tensor], where: Path
) -> dict[str, Tensor]:
    """Their tensors under our names, all of them checked.

    Raises:
        CheckpointError: one is missing, unknown, of another shape, or not finite numbers.
    """
    found: dict[str, Tensor] = {}
    used: set[str] = set()
    for place in places(architecture, cfg):
        shape = place.shape[1:] if place.stacked else place.shape
        parts = [_take(theirs, name, shape, where) for name in place.theirs]
        if place.numbers:
            for name, part in zip(place.theirs, parts, strict=True):
                check_numbers(where, name, part)
        used.update(place.theirs)
        if not parts:
            found[place.ours] = torch.zeros(place.shape)
        else:
            found[place.ours] = torch.stack(parts) if place.stacked else parts[0]
    _check_rest(cfg, theirs, set(theirs) - used, found[_EMBEDDING], where)
    return found


def _take(theirs: Mapping[str, Tensor], name: str, shape: tuple[int, ...], where: Path) -> Tensor:
    if name not in theirs:
        raise CheckpointError(
            "{path} lacks the tensor {name} {shape}.", path=where, name=name, shape=shape
        )
    tensor = theirs[name]
    if tuple(tensor.shape) != shape:
        raise CheckpointError(
            "{path}: the tensor {name} is {found}; the config expects {shape}.",
            path=where,
            name=name,
            found=tuple(tensor.shape),
            shape=shape,
        )
    return tensor


def _check_rest(
    cfg: LMConfig, theirs: Mapping[str, Tensor], rest: set[str], embedding: Tensor, where: Path
) -> None:
    """Nothing may be left over but a tied head's copy and what files carry needlessly."""
    if cfg.tied and _HEAD in rest:
        if not torch.equal(theirs[_HEAD], embedding):
            raise CheckpointError(
                "{path}: the config ties {name} to the embedding, but the two differ. Set "
                "tie_word_embeddings to false in config.json if the head is meant to be its own.",
                path=where,
                name=_HEAD,
            )
        rest = rest - {_HEAD}
    unknown = sorted(name for name in rest if not name.endswith(_IGNORED))
    if unknown:
        raise CheckpointError(
            "{path} has a tensor {name} that the config knows nothing of.",
            path=where,
            name=unknown[0],
        )
