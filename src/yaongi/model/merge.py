"""An adapter into the weights and out of them again, each exact to the rounding of the weights.

Merging writes ``w + delta``, with DoRA times its gain, rounded once to the dtype of the weights.
Unmerging divides and takes delta away again and rounds once more, so a weight w comes back to
within ``eps/2 (|w| + |w + delta|)``, where eps is 2^-23 in float32, 2^-10 in float16 and 2^-7 in
bfloat16. Trained rows of an embedding come back bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from yaongi.core.errors import CapabilityError, ConfigError
from yaongi.model.int8 import in_int8, widen_from_int8
from yaongi.model.lm import LM
from yaongi.model.lora import adapter_names, adapter_parts, remove_adapters, use_adapters
from yaongi.model.lowrank import LowRank, TrainedRows
from yaongi.model.matrices import frozen, wrappers


def merge(model: LM, name: str = "default") -> None:
    """Write an adapter into the weights, in place; it then costs nothing, and is in use.

    Raises:
        ConfigError: there is no such adapter, or one is merged already.
        CapabilityError: the base is in 8 bits, which cannot hold it; see ``bake``.
    """
    if in_int8(model):
        raise CapabilityError(
            "An adapter cannot be merged into weights of 8 bits; yaongi merge makes a model with "
            "wide ones."
        )
    if (done := merged(model)) is not None:
        raise ConfigError("The adapter '{name}' is merged already; unmerge it first.", name=done)
    use_adapters(model, name)
    for part, weight in _pairs(model, name):
        part.merge_into(weight)
    for _, wrapper in wrappers(model):
        wrapper.merged = name


def unmerge(model: LM) -> None:
    """Take the merged adapter out of the weights again, in place.

    Raises:
        ConfigError: none is merged.
    """
    name = merged(model)
    if name is None:
        raise ConfigError("No adapter is merged into this model.")
    for part, weight in _pairs(model, name):
        part.take_from(weight)
    for _, wrapper in wrappers(model):
        wrapper.merged = None


def merged(model: LM) -> str | None:
    """The adapter that is in the weights, if one is."""
    return next((w.merged for _, w in wrappers(model) if w.merged is not None), None)


def bake(model: LM, name: str = "default") -> None:
    """Make ``model`` a plain one that computes what it did with the adapter, in place.

    A base in 8 bits becomes what those 8 bits said, which is what the adapter was trained on.
    """
    if name not in adapter_names(model):
        use_adapters(model, name)  # raises, with the names there are
    widen_from_int8(model)
    merge(model, name)
    remove_adapters(model)
    model.requires_grad_(True)


def _pairs(model: LM, name: str) -> Iterator[tuple[LowRank | TrainedRows, Tensor]]:
    """Each part of an adapter with the frozen tensor it changes."""
    return ((part, frozen(model, target)) for target, part in adapter_parts(model, name).items())
