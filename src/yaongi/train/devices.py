"""Machines a run can be planned for: what their makers state, and about what an hour costs.

Peaks are dense matrix products with float32 accumulation, never with sparsity. Prices move: they
are round on-demand prices of GPU markets in 2026 for a start; ``--price`` gives your own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from yaongi.core.errors import CapabilityError, ConfigError, did_you_mean
from yaongi.train.precision import PrecisionName, choose_precision, matmul_flops

GIB = 2**30


@dataclass(frozen=True)
class Device:
    """A machine with one accelerator, or only its processor.

    Attributes:
        flops: number format -> peak FLOP/s; the first is what ``precision: auto`` takes.
        bytes_per_s: memory bandwidth; None where nobody states it.
        reserve: share of the memory left to the driver, the allocator and the system.
    """

    name: str
    memory: int
    flops: Mapping[PrecisionName, float]
    bytes_per_s: float | None
    usd_per_hour: float
    reserve: float = 0.06

    @property
    def usable(self) -> int:
        """Bytes for tensors."""
        return int(self.memory * (1 - self.reserve))

    def precision(self, asked: PrecisionName) -> PrecisionName:
        """The number format of a run.

        Raises:
            CapabilityError: the device has no fast products in the format asked for.
        """
        if asked == "auto":
            return next(iter(self.flops))
        if asked not in self.flops:
            raise CapabilityError(
                "{device} has no {format} matrix units. Set pretrain.precision={best}, or auto.",
                device=self.name,
                format=asked,
                best=next(iter(self.flops)),
            )
        return asked


DEVICES = {
    d.name: d
    for d in (
        # NVIDIA DGX B200 data sheet: 1,440 GB and 64 TB/s over 8 GPUs; bf16 36 PFLOP/s, dense
        Device("b200", 180 * 10**9, {"bf16": 2.25e15, "fp16": 2.25e15}, 8e12, 5.0),
        # NVIDIA H100 data sheet, SXM5
        Device("h100", 80 * GIB, {"bf16": 989.4e12, "fp16": 989.4e12}, 3.35e12, 2.39),
        # NVIDIA A100 data sheet, SXM4 80 GB
        Device("a100", 80 * GIB, {"bf16": 312e12, "fp16": 312e12}, 2.039e12, 1.4),
        # NVIDIA Ada architecture white paper, appendix A
        Device("rtx4090", 24 * GIB, {"bf16": 165.2e12, "fp16": 165.2e12}, 1.008e12, 0.4),
        # NVIDIA GA102 architecture white paper, appendix A
        Device("rtx3090", 24 * GIB, {"bf16": 71e12, "fp16": 71e12}, 0.936e12, 0.21),
        # NVIDIA T4 data sheet; 16 GB with error correction on; no bfloat16
        Device("t4", 15 * GIB, {"fp16": 65e12, "fp32": 8.1e12}, 0.32e12, 0.35),
    )
}
NAMES = (*DEVICES, "cpu")


def device_named(name: str) -> Device:
    """The device; ``cpu`` is this machine's processor, its speed measured here and now.

    Raises:
        ConfigError: an unknown name.
    """
    if name == "cpu":
        return _this_cpu()
    if name not in DEVICES:
        raise ConfigError(
            "There is no device '{name}' to plan for. {help}",
            name=name,
            help=did_you_mean(name, NAMES),
        )
    return DEVICES[name]


def _this_cpu() -> Device:
    precision = choose_precision("auto", torch.device("cpu"))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    flops: dict[PrecisionName, float] = {precision.name: matmul_flops(precision)}
    if precision.name != "fp32":
        flops["fp32"] = matmul_flops(choose_precision("fp32", torch.device("cpu")))
    return Device("cpu", memory, flops, None, 0.0, reserve=0.15)
