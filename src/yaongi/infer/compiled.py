"""The step of a single row ahead of time in machine code: no Python between products.

One token's products take a few milliseconds of a model's step, the hundreds of small operators
between them as long. ``torch.export`` writes each kind of layer down once, proves that this holds
for texts and rooms of any length, and AOTInductor compiles it; the layers of a kind share the code
and hand it their weights (PyTorch's "regional compilation", without its guards at every call).
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from yaongi.core.errors import CapabilityError
from yaongi.core.i18n import translate
from yaongi.infer.huge_pages import to_huge_pages
from yaongi.infer.packed import unpacked
from yaongi.infer.state import each, tensors
from yaongi.model.adapted import Wrapper
from yaongi.model.int8 import replace_modules
from yaongi.model.layer import Context, Kernels
from yaongi.model.lm import LM, Block
from yaongi.model.quantized import QuantExperts
from yaongi.ops.backend import missing_compiler, only
from yaongi.ops.moe import Experts
from yaongi.ops.moe.one_token import experts_one_token, quantized_experts_one_token

log = logging.getLogger(__name__)

LEAST = 2  # tokens before a compiled step: an exporter takes 0 and 1 for constants
LONGEST = 1 << 30
TRIED = (24, 5)  # room and length of the text compiled with
NEAR = 0.01  # of the largest number: what is no more than roundings to bfloat16 in another order
OPTIONS = {"cpp.min_chunk_size": 1 << 14}  # numbers a thread must have before there is another

Code = Callable[[list[Tensor]], list[Tensor]]
"""(x, ``before``, tensors of the state, weights) -> [y]; the state's are written to."""


def compiled(model: LM) -> LM:
    """The model for steps of one row that are compiled, on the model's own weights.

    It takes ids (1,1) and a state of one row (see ``state.single``) that holds ``LEAST`` tokens or
    more, and writes what is new into that state. Layers of one letter with equal modules and
    shapes share their code; each is compared with the plain one when it is compiled. Quantized
    matrices move to ``huge_pages``.

    Raises:
        CapabilityError: there is no C++ compiler, the model is not on a CPU, it has adapters, or a
            compiled layer gives other numbers than the plain one.
    """
    missing = only("cpu")(model.device) or missing_compiler(model.device)
    if any(isinstance(m, Wrapper) for m in model.modules()):
        missing = translate("adapters may change at each step; merge one into the model first")
    if missing:
        raise CapabilityError("Compiled steps cannot work here: {reason}", reason=missing)
    to_huge_pages(model)
    found = unpacked(model)
    replace_modules(found.layers, QuantExperts, _OneToken)
    found.kernels = dataclasses.replace(model.kernels, experts=experts_one_token)
    codes: dict[Any, Code] = {}
    blocks = [cast(Block, block) for block in found.layers]
    found.layers = nn.ModuleList(
        _OneRow(b, i, model.cfg.layers[i], codes) for i, b in enumerate(blocks)
    )
    start = time.perf_counter()
    log.warning(translate("Compiling the model's step… This takes up to some minutes."))
    _try(found, model)
    log.warning(
        translate("Compiled in {seconds:.0f} seconds.", seconds=time.perf_counter() - start)
    )
    return found


def check_weights(network: LM) -> None:
    """See that a compiled model's weights, which have changed, are still like those it was for.

    Raises:
        CapabilityError: a layer's have another type or shape, or other modules.
    """
    for row in cast("Iterator[_OneRow]", iter(network.layers)):
        if _kind(row.block) != row.kind[-1]:
            raise CapabilityError(
                "Compiled steps cannot work here: {reason}",
                reason=translate(
                    "layer {index} has other modules, or weights of another type or shape, than "
                    "when it was compiled; make a new engine",
                    index=row.index,
                ),
            )


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


class _OneRow(nn.Module):
    """A block whose steps run compiled; its state is that of a batch of one row."""

    def __init__(self, block: Block, index: int, letter: str, codes: dict[Any, Code]) -> None:
        super().__init__()
        self.block, self.index, self.codes = block, index, codes
        self.engram, self.mixer = block.engram, block.mixer  # a model asks its blocks for them
        self.code: Code | None = None
        # modules of Engram have settings of their own each
        self.kind = letter, index if block.engram else None, _kind(block)
        # where the weights are, and not the weights, so that new ones are followed
        self.places = [(holder, key) for _, holder, key in _places(block)]
        self.mark = torch.empty(1)

    def forward(
        self, x: Tensor, ctx: Context, state: Any, memory: Tensor | None
    ) -> tuple[Tensor, Any, None]:
        if self.code is None:
            self._compile(x, ctx, state, memory)
        assert self.code is not None
        held = tensors(state)
        if not all(part.is_contiguous() for part in held):  # a part of a longer text's
            state = each(state, lambda part, axis: part.contiguous())
            held = tensors(state)
        recalled = [] if memory is None else [memory.contiguous()]
        weights = [holder[key] for holder, key in self.places]
        # the number of tokens comes as a shape, which a compiler can calculate with
        y = self.code([x, self.mark.expand(ctx.offset), *recalled, *held, *weights])[0]
        return y, state, None

    def _compile(self, x: Tensor, ctx: Context, state: Any, memory: Tensor | None) -> None:
        """Take the code of this kind of block, and see whether it does as the block itself."""
        if self.kind not in self.codes:
            self.codes[self.kind] = _code(self.block, x, ctx, state, memory)
        self.code = self.codes[self.kind]
        plain, fast = (
            run(x, Context(ctx.kernels, ctx.offset), each(state, _clone), memory)
            for run in (self.block, self)
        )
        for wanted, found in zip(tensors(plain[:2]), tensors(fast[:2]), strict=True):
            off, limit = (found - wanted).abs().max(), NEAR * wanted.abs().max()
            if not off <= limit:
                raise CapabilityError(
                    "Compiled steps cannot work here: {reason}",
                    reason=translate(
                        "compiled, layer {index} is off by {off:.3g}, more than {limit:.3g}",
                        index=self.index,
                        off=float(off),
                        limit=float(limit),
                    ),
                )


def _clone(part: Tensor, axis: int | None) -> Tensor:
    return part.clone()


class _Step(nn.Module):
    """A block as a function of tensors alone."""

    def __init__(self, block: Block, kernels: Kernels, state: Any) -> None:
        super().__init__()
        self.run = functools.partial(torch.func.functional_call, block)  # its weights are inputs
        self.kernels, self.form = kernels, state

    def forward(
        self,
        x: Tensor,
        before: Tensor,
        memory: Tensor | None,
        state: list[Tensor],
        weights: dict[str, Tensor],
    ) -> Tensor:
        """Writes what is new to ``state``; ``before`` has as many numbers as tokens are in it."""
        parts = iter(state)
        given = each(self.form, lambda part, axis: next(parts))
        ctx = Context(self.kernels, before.shape[0])
        y, new, _ = self.run(weights, (x, ctx, given, memory))
        for old, now in zip(state, tensors(new), strict=True):
            if now is not old:
                old.copy_(now.view_as(old))
        return y


def _code(block: Block, x: Tensor, ctx: Context, state: Any, memory: Tensor | None) -> Code:
    """Machine code for blocks like this one."""
    room = torch.export.Dim("room", min=LEAST + 1, max=LONGEST)
    at = torch.export.Dim("at", min=LEAST, max=LONGEST - 1)
    shapes: list[Any] = []

    def shaped(part: Tensor, axis: int | None) -> Tensor:
        shapes.append(None if axis is None else {axis: room})
        return part.clone()

    held = tensors(each(state, shaped))
    weights = {name: holder[key] for name, holder, key in _places(block)}
    given = (x, torch.empty(1).expand(ctx.offset), memory, held, weights)
    dynamic = (None, {0: at}, None, shapes, dict.fromkeys(weights))
    step = _Step(block, ctx.kernels, state)
    inductor: Any = cast(Any, torch)._inductor  # not before: it takes a second to import
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter's own calls
        program = torch.export.export(step, given, dynamic_shapes=dynamic, strict=False)
        path = inductor.aoti_compile_and_package(
            program, package_path=str(Path(folder) / "step.pt2"), inductor_configs=OPTIONS
        )
        return inductor.aoti_load_package(path, run_single_threaded=True).loader.boxed_run


def _places(block: Block) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Of every weight its name, the dictionary that holds it, and its key there."""
    for path, module in block.named_modules():
        for holder in (module._parameters, module._buffers):
            for key, tensor in holder.items():
                if tensor is not None:
                    yield f"{path}.{key}" if path else key, cast("dict[str, Any]", holder), key


def _kind(block: Block) -> Any:
    """Equal for blocks that one code serves."""
    modules = tuple((path, type(m)) for path, m in block.named_modules())
    weights = [(name, holder[key]) for name, holder, key in _places(block)]
    return modules, tuple((n, w.shape, w.stride(), w.dtype) for n, w in weights)


def _try(found: LM, model: LM) -> None:
    """A step of every layer, which compiles it."""
    room, length = TRIED
    ids = torch.zeros(1, length, dtype=torch.long)
    with torch.inference_mode(False), torch.no_grad():
        state = model(ids, state=model.init_state(1, room)).state
        found(ids[:, :1], state=state)
