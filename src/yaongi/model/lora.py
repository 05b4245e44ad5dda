"""LoRA and DoRA for any matrix of a model: add, choose, switch off, take out.

    add_adapters(model, AdapterConfig(rank=8))       # only the adapters learn from now on
    with adapters_off(model): ...                    # the frozen base, as a reference model
    with using_adapters(model, ["a", "base", "b"]):  # one adapter for each row of a batch

The arithmetic is in ``model.adapted``; folders are read and written by ``model.adapter_io``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Literal, cast

from pydantic import Field
from torch import Tensor, nn

from yaongi.core.config import Config
from yaongi.core.errors import CheckpointError, ConfigError, did_you_mean
from yaongi.model.adapted import (
    BASE,
    AdaptedEmbedding,
    AdaptedExperts,
    AdaptedLinear,
    Selection,
    Wrapper,
)
from yaongi.model.int8 import freeze_to_int8, in_int8
from yaongi.model.layer import InitStreams
from yaongi.model.lm import LM
from yaongi.model.lowrank import DoRA, LowRank, TrainedRows
from yaongi.model.matrices import find, frozen, matching, put, wrappers

EMBEDDING = "embeddings"


class AdapterConfig(Config):
    """What of a model gets an adapter, and of which shape.

    Attributes:
        targets: globs over the names of matrices, as ``yaongi`` prints them where one matches
            nothing: ``layers.*.mixer.q_proj``, ``*.experts.up_proj``, ``lm_head``. The default is
            every projection of every layer, as arXiv:2106.09685 did for attention and
            arXiv:2305.14314 (section 4) found best.
        rank: r, the columns of B and rows of A.
        alpha: the change is scaled by alpha / rank.
        rslora: by alpha / sqrt(rank) instead (arXiv:2312.03732), which keeps large ranks learning.
        dropout: of the input of A while training.
        dora: learn each row's length apart from its direction (arXiv:2402.09353).
        base: the frozen matrices of the layers in float, or in 8 bits with a scale a row.
        embedding_rows: token ids whose rows of the embedding learn too (the unembedding's with
            them where the two are tied); "control" takes the tokenizer's control tokens.
    """

    targets: Annotated[tuple[str, ...], Field(min_length=1)] = ("*_proj",)
    rank: Annotated[int, Field(gt=0)] = 8
    alpha: Annotated[float, Field(gt=0)] = 16.0
    rslora: bool = False
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    dora: bool = False
    base: Literal["float", "int8"] = "float"
    embedding_rows: tuple[Annotated[int, Field(ge=0)], ...] | Literal["control"] = ()

    @property
    def scale(self) -> float:
        """What B A is multiplied by."""
        return self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank)


def add_adapters(model: LM, cfg: AdapterConfig, *, name: str = "default", seed: int = 0) -> None:
    """Give ``model`` a new adapter, which alone learns and is in use from now on.

    Nothing changes at first: B is zero (and DoRA's lengths are those of the weights).

    Args:
        name: how to choose it among several; not ``base``.
    Raises:
        ConfigError: a glob that matches nothing; dropout for experts; a name that is taken; ids
            outside the vocabulary; an 8-bit base where the model has adapters on a float one; a
            merged adapter.
    """
    _check_name(model, name)
    if any(wrapper.merged is not None for _, wrapper in wrappers(model)):
        raise ConfigError("Unmerge the adapter in the weights before adding '{name}'.", name=name)
    matched = matching(model, cfg.targets)
    _check_experts(model, cfg, matched)
    if (cfg.base == "int8") != in_int8(model):
        if adapter_names(model) or cfg.base == "float":
            raise ConfigError(
                "The adapter '{name}' wants its base in {wanted}, but this model's is not: "
                "adapters on a float base and on one in 8 bits cannot share a model.",
                name=name,
                wanted=cfg.base,
            )
        freeze_to_int8(model)
    model.requires_grad_(False)
    streams, kind = InitStreams(seed).child("lora"), DoRA if cfg.dora else LowRank
    for target in matched:
        weight = frozen(model, target)
        change = kind(weight.shape, cfg.rank, cfg.scale, cfg.dropout)
        bound = weight.shape[-1] ** -0.5  # as the paper's code: kaiming_uniform(sqrt(5))
        streams.uniform(target, change.a, -bound, bound)
        change.begin(weight)
        _put(model, target, name, change)
    if cfg.embedding_rows:
        _train_rows(model, cfg, name)
    use_adapters(model, name)


def use_adapters(model: LM, names: str | Sequence[str]) -> None:
    """Choose the adapter of all rows by name, or one for each row; ``base`` is none.

    Raises:
        ConfigError: no adapter of that name.
    """
    known = [*adapter_names(model), BASE]
    for name in [names] if isinstance(names, str) else names:
        if name not in known:
            raise ConfigError(
                "This model has no adapter '{name}'. {help}",
                name=name,
                help=did_you_mean(name, known),
            )
    if selection := _selection(model):
        selection.now = names if isinstance(names, str) else tuple(names)


@contextmanager
def using_adapters(model: LM, names: str | Sequence[str]) -> Generator[None]:
    """``use_adapters`` for a while."""
    selection = _selection(model)
    before = selection.now if selection else BASE
    use_adapters(model, names)
    try:
        yield
    finally:
        use_adapters(model, before)


@contextmanager
def adapters_off(model: LM) -> Generator[None]:
    """The model without its adapters for a while: the frozen base, as a reference model."""
    with using_adapters(model, BASE):
        yield


def adapter_names(model: nn.Module) -> list[str]:
    """The adapters a model has, in the order they came."""
    return list(dict.fromkeys(name for _, w in wrappers(model) for name in w.adapters))


def remove_adapters(model: LM) -> None:
    """Take all adapters out, in place: what was merged stays in the weights."""
    for path, wrapper in list(wrappers(model)):
        put(model, path, wrapper.base)


def adapter_tensors(model: LM, name: str = "default") -> dict[str, nn.Parameter]:
    """What an adapter has learnt, by the names it is saved under.

    ``layers.0.mixer.q_proj.lora_a`` (r,in), ``.lora_b`` (out,r), ``.magnitude`` (out,); with a
    leading E for experts; ``embeddings.rows`` (n,D).
    """
    return {
        key: param
        for path, part in adapter_parts(model, name).items()
        for key, param in _named(path, part).items()
    }


def adapter_parts(model: LM, name: str = "default") -> dict[str, LowRank | TrainedRows]:
    """The changes an adapter consists of, by the name of the matrix each is for."""
    found: dict[str, LowRank | TrainedRows] = {}
    for path, wrapper in wrappers(model):
        if name not in wrapper.adapters:
            continue
        part: Any = wrapper.adapters[name]
        inner: Any = part.items() if isinstance(part, nn.ModuleDict) else [("", part)]
        found |= {f"{path}.{k}".rstrip("."): p for k, p in inner}
    return found


def learnt_state(model: nn.Module) -> dict[str, Tensor]:
    """What training changes: of a model with adapters only those, else its whole state."""
    state = model.state_dict()
    paths = tuple(f"{path}.adapters." for path, _ in wrappers(model))
    return {k: v for k, v in state.items() if k.startswith(paths)} if paths else state


def load_learnt(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Undo ``learnt_state``.

    Raises:
        CheckpointError: these are not the tensors this model learns.
    """
    if odd := sorted(set(state) ^ set(learnt_state(model))):
        raise CheckpointError("The checkpoint and the model disagree about {name}.", name=odd[0])
    model.load_state_dict(dict(state), strict=False)


def _put(model: LM, target: str, name: str, change: LowRank) -> None:
    path, module, stack = find(model, target)
    if not isinstance(module, Wrapper):
        kind = AdaptedExperts if stack else AdaptedLinear
        module = kind(module, _selection(model) or Selection()).train(module.training)
        put(model, path, module)
    change.to(next(iter(module.base.state_dict().values())).device).train(module.training)
    if not stack:
        module.adapters[name] = change
        return
    if name not in module.adapters:
        module.adapters[name] = nn.ModuleDict()
    cast(nn.ModuleDict, module.adapters[name])[stack] = change


def _train_rows(model: LM, cfg: AdapterConfig, name: str) -> None:
    ids, size = cfg.embedding_rows, model.cfg.vocab_size
    if isinstance(ids, str) or len(set(ids)) < len(ids) or max(ids) >= size:
        raise ConfigError(
            "embedding_rows must be different token ids below {size}, not {found}",
            size=size,
            found=str(ids)[:80],
        )
    table: Any = model.embeddings
    if not isinstance(table, AdaptedEmbedding):
        table = AdaptedEmbedding(table, _selection(model) or Selection()).train(model.training)
        put(model, EMBEDDING, table)
    rows = TrainedRows(ids, size, model.cfg.d_model)
    rows.begin(table.weight.detach().cpu())
    table.adapters[name] = rows.to(table.weight.device)


def _selection(model: nn.Module) -> Selection | None:
    return next((wrapper.selection for _, wrapper in wrappers(model)), None)


def _named(path: str, part: LowRank | TrainedRows) -> dict[str, nn.Parameter]:
    if isinstance(part, TrainedRows):
        return {f"{path}.rows": part.values}
    named = {f"{path}.lora_a": part.a, f"{path}.lora_b": part.b}
    return named | ({f"{path}.magnitude": part.magnitude} if isinstance(part, DoRA) else {})


def _check_name(model: LM, name: str) -> None:
    if name == BASE or name in adapter_names(model) or not _usable(name):
        raise ConfigError(
            "'{name}' cannot name an adapter here: take letters, digits, _ and -, not '{base}', "
            "and none of {taken}.",
            name=name,
            base=BASE,
            taken=", ".join(adapter_names(model)) or "(none yet)",
        )


def _check_experts(model: LM, cfg: AdapterConfig, matched: Sequence[str]) -> None:
    stacks = [t for t in matched if find(model, t)[2]]
    if stacks and cfg.dropout:
        raise ConfigError(
            "dropout cannot be used for experts ({name}): their A and B are multiplied before any "
            "token comes. Set dropout to 0, or leave the experts out of targets.",
            name=stacks[0],
        )


def _usable(name: str) -> bool:
    """A key of ``nn.ModuleDict``: no dots, and no method of it."""
    return bool(re.fullmatch(r"[\w-]+", name)) and not hasattr(nn.ModuleDict, name)
