"""Number format, device and compilation of a run: asked for by name, or chosen with a reason.

Mixed precision after Micikevicius et al. 2018 (arXiv:1710.03740): float32 weights, matrix products
in bfloat16, or in float16 with a loss scaler where bfloat16 is not fast. Every choice carries the
sentence ``yaongi doctor`` prints.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import time
import warnings
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

import torch

from yaongi.core.errors import CapabilityError
from yaongi.core.i18n import translate
from yaongi.core.units import human_time
from yaongi.ops.backend import missing_compiler

log = logging.getLogger(__name__)

PrecisionName = Literal["auto", "bf16", "fp16", "fp32"]
CompileChoice = Literal["auto", "on", "off"]
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}

COMPILE_PAYS_S = 1800.0
"""Runs shorter than this stay eager: compiling forward and backward takes minutes on a CPU."""


@dataclass(frozen=True)
class Precision:
    """The format matrix products run in; weights and optimizer state stay float32."""

    name: PrecisionName
    device: torch.device
    reason: str

    @property
    def scaled(self) -> bool:
        """Whether gradients need a loss scaler (float16 underflows below 6e-8)."""
        return self.name == "fp16"

    def autocast(self) -> AbstractContextManager[object]:
        """The context the forward pass runs in."""
        if self.name == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=DTYPES[self.name])


def choose_precision(name: PrecisionName, device: torch.device) -> Precision:
    """Resolve ``auto``, or check the format asked for.

    Raises:
        CapabilityError: the device has no such format at all.
    """
    best, reason = _best(device)
    if name == "auto":
        return Precision(best, device, reason)
    if name == "fp16" and device.type == "mps":
        raise CapabilityError("fp16 training needs a loss scaler, which torch lacks on mps.")
    if name == best or name == "fp32":
        return Precision(name, device, translate("asked for"))
    return Precision(
        name,
        device,
        translate("{best} is the fast format here: {reason}", best=best, reason=reason),
    )


def _best(device: torch.device) -> tuple[PrecisionName, str]:
    if device.type == "cpu":
        return _best_cpu()
    if device.type == "cuda" and torch.version.hip is None:
        major, minor = torch.cuda.get_device_capability(device)
        gpu = f"sm_{major}{minor}"
        if major >= 8:
            return "bf16", translate("{gpu} has bfloat16 tensor cores", gpu=gpu)
        if major >= 7:
            return "fp16", translate("{gpu} has float16 tensor cores but no bfloat16", gpu=gpu)
        return "fp32", translate("{gpu} has no tensor cores", gpu=gpu)
    if device.type in ("cuda", "xpu"):
        return "bf16", translate("{device} device with bfloat16 matrix units", device=device.type)
    return "fp32", translate(
        "{device}: reduced precision is not faster or not complete", device=device.type
    )


def _best_cpu() -> tuple[PrecisionName, str]:
    have = _cpu_capabilities()
    if have.get("amx_bf16"):
        return "bf16", translate("this CPU multiplies bfloat16 matrices (AMX)")
    if have.get("avx512_bf16"):
        return "bf16", translate("this CPU multiplies bfloat16 vectors (AVX512-BF16)")
    return "fp32", translate("this CPU has neither AMX nor AVX512-BF16")


@functools.cache
def _cpu_capabilities() -> dict[str, object]:
    return dict(torch.cpu.get_capabilities())


@functools.cache
def fast_matmul_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device multiplies it natively, else float32 (for Muon's iteration)."""
    return torch.bfloat16 if _best(device)[0] == "bf16" else torch.float32


def choose_compile(
    choice: CompileChoice, device: torch.device, expected_s: float | None
) -> tuple[bool, str]:
    """Whether to run the model through ``torch.compile``, and why.

    Args:
        expected_s: how long the run will take eagerly; None when nobody knows.
    Raises:
        CapabilityError: ``on`` without the compiler it needs.
    """
    missing = missing_compiler(device)
    if choice == "on" and missing:
        raise CapabilityError("compile=on cannot work here: {reason}", reason=missing)
    if choice != "auto":
        return choice == "on", translate("asked for")
    if missing:
        return False, missing
    if expected_s is None or expected_s < COMPILE_PAYS_S:
        return False, translate(
            "runs under {time} do not repay the compilation", time=human_time(COMPILE_PAYS_S)
        )
    return True, translate(
        "about {time} of training repays the compilation", time=human_time(expected_s)
    )


def announce_compilation() -> None:
    """Say why the first step takes so long, and keep torch's talk with itself off the terminal."""
    log.warning(translate("Compiling the model… The first step takes minutes."))
    # torch's own compiler calls what torch has deprecated (2.13); nobody here can change that
    message = r"`torch\._prims_common\.check` is deprecated"
    warnings.filterwarnings("ignore", message, FutureWarning, r"torch\._inductor\.")


def matmul_flops(precision: Precision, *, size: int = 1024) -> float:
    """Measured rate of one square product in FLOP/s, for rough estimates only."""
    a = torch.ones(size, size, device=precision.device, dtype=DTYPES[precision.name])
    torch.mm(a, a)  # the second product runs on warm caches
    _synchronize(precision.device)
    start = time.perf_counter()
    torch.mm(a, a)
    _synchronize(precision.device)
    return 2 * size**3 / (time.perf_counter() - start)


def _synchronize(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
