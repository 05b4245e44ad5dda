"""The step of a single row through ``torch.compile``: what is no product is fused, and no Python.

One token's products take a millisecond or two of a small model's step, the hundreds of small
operators between them as long. ``layers`` compiles each kind of layer once, which is soon done for
a deep model, too (PyTorch's "regional compilation"); ``model`` all layers as one, which leaves
fewer calls and takes several times as long.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from yaongi.core.errors import CapabilityError
from yaongi.core.i18n import translate
from yaongi.infer.packed import unpacked
from yaongi.model.int8 import replace_modules
from yaongi.model.layer import Context, Kernels
from yaongi.model.lm import LM, Block
from yaongi.model.quantized import QuantExperts
from yaongi.ops.backend import missing_compiler, only
from yaongi.ops.moe import Experts
from yaongi.ops.moe.one_token import experts_one_token, quantized_experts_one_token

log = logging.getLogger(__name__)

LIMIT = 16  # shapes of one kind of layer that may be compiled; one more raises, nothing runs slow
LEAST = 2  # tokens before a compiled step: a compiler takes 0 and 1 for constants
WARM_UP = ((16, 2), (24, 5))
"""Rooms and lengths of the texts tried first: two, so that both become variables."""

Region = Literal["layers", "model"]
Run = Callable[..., tuple[Tensor, Any]]


def compiled(model: LM, region: Region) -> LM:
    """The model for steps of one row that are compiled, on the model's own weights.

    They may change as long as they are written in place. It takes ids (1,1) and a state of one row
    (see ``state.single``) that holds ``LEAST`` tokens or more.

    Raises:
        CapabilityError: there is no C++ compiler, the model is not on a CPU, or it has Engram,
            whose lookups no compiler follows, and the region is ``model``.
    """
    missing = only("cpu")(model.device) or missing_compiler(model.device)
    if region == "model" and model.cfg.engram is not None:
        missing = translate("the model has Engram; compile its layers instead")
    if missing:
        raise CapabilityError("Compiled steps cannot work here: {reason}", reason=missing)
    found = unpacked(model)
    replace_modules(found.layers, QuantExperts, _OneToken)
    found.kernels = dataclasses.replace(model.kernels, experts=experts_one_token)
    if region == "model":
        object.__setattr__(found, "forward", _compile(found.forward))
    else:
        runs: dict[str, Run] = {letter: _compile(_layer) for letter in set(model.cfg.layers)}
        blocks = zip(model.cfg.layers, found.layers, strict=True)
        found.layers = nn.ModuleList(_OneRow(cast(Block, b), runs[k]) for k, b in blocks)
    _warm_up(found, model)
    return found


class _OneToken(nn.Module):
    """``QuantExperts`` of a single token, its experts one after the other."""

    def __init__(self, bank: QuantExperts) -> None:
        super().__init__()
        self.bank = bank

    def forward(self, kernel: Experts, x: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
        """As ``QuantExperts``."""
        return quantized_experts_one_token(
            x[0], chosen[0, 0], weights[0, 0], *self.bank.banks()
        ).view_as(x)


_torch_compile: Any = cast(Any, torch).compile


def _compile(run: Callable[..., Any]) -> Any:
    return _torch_compile(run, fullgraph=True, recompile_limit=LIMIT, isolate_recompiles=True)


def _layer(
    block: Block, kernels: Kernels, x: Tensor, at: int, state: Any, memory: Tensor | None
) -> tuple[Tensor, Any]:
    """A layer behind ``at`` tokens; its context is made anew, the compiler sees no side effects."""
    y, state, _ = block(x, Context(kernels, at), state, memory)
    return y, state


class _OneRow(nn.Module):
    """A block whose steps run compiled; its state is that of a batch of one row."""

    def __init__(self, block: Block, run: Run) -> None:
        super().__init__()
        self.block, self.run = block, run
        self.engram, self.mixer = block.engram, block.mixer  # a model asks its blocks for them

    def forward(
        self, x: Tensor, ctx: Context, state: Any, memory: Tensor | None
    ) -> tuple[Tensor, Any, None]:
        y, state = self.run(self.block, ctx.kernels, x, ctx.offset, state, memory)
        return y, state, None


def _warm_up(found: LM, model: LM) -> None:
    start = time.perf_counter()
    log.warning(translate("Compiling the model's step… This takes up to some minutes."))
    for room, length in WARM_UP:
        _try(found, model, room, length)
    log.warning(
        translate("Compiled in {seconds:.0f} seconds.", seconds=time.perf_counter() - start)
    )


@torch.inference_mode()
def _try(found: LM, model: LM, room: int, length: int) -> None:
    prompt = torch.zeros(1, length, dtype=torch.long)
    state = model(prompt, state=model.init_state(1, room)).state
    for _ in range(2):
        out = found(prompt[:, :1], state=state)
        found.logits(out.hidden)
        state = out.state
