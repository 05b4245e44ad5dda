"""Which of PyTorch's operators multiply few-bit matrices here, how fast, with which activations.

Each call takes another matrix, more of them than an L2 cache holds. CPU time is that of all
threads together, and hardly feels what else the machine does: with one thread it is the time on a
quiet machine.

    python bench/quant_ops.py [--threads 2] [--shape 2048x1024]
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from yaongi.core.artifact import git_commit, machine, versions
from yaongi.core.files import write_json
from yaongi.ops.linear import pack, packed_product
from yaongi.ops.quant import INT4, INT8
from yaongi.ops.quant.int4 import quantize_groups
from yaongi.ops.quant.int8 import quantize_rows
from yaongi.ops.quant.layouts import pack as pack_int4

ROOT = Path(__file__).parents[1]
ROWS = [1, 8, 256]
BYTES = 160 << 20  # of float32 that the rotating matrices would take
TOO_SLOW_S = 1.0
aten, onednn = cast(Any, torch.ops).aten, cast(Any, torch.ops).onednn


def main() -> None:
    """Measure every operator at every shape and write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--shape", action="append", help="NxK; default: the flagship's commonest")
    parser.add_argument("--out", type=Path, default=ROOT / "bench/results/quant_ops.json")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    found: dict[str, Any] = {"memory": {"read_GB_per_cpu_s": round(memory_speed(), 1)}}
    for shape in args.shape or ["2048x1024"]:
        n, k = (int(size) for size in shape.split("x"))
        found[shape] = measure(n, k)
        facts = {"hardware": machine(), "versions": versions(), "git_commit": git_commit()}
        load = {"load_average": os.getloadavg()[0], "threads": args.threads}
        write_json(args.out, {"command": sys.argv, **load, **facts, "found": found})
    for shape, operators in found.items():
        for name, rows in operators.items():
            print(shape, name, rows)


def memory_speed() -> float:
    """GB per CPU second of a sum over a GiB."""
    large = torch.ones(1 << 28)
    return large.nbytes / fastest([large.sum])[1] / 1e9


def measure(n: int, k: int) -> dict[str, Any]:
    """Operator and dtype of x -> rows -> microseconds, GFLOP and GB of weights a second."""
    copies = max(2, BYTES // (4 * n * k))
    weights = [torch.randn(n, k) * 0.02 for _ in range(copies)]
    table: dict[str, Any] = {}
    for op in operators(n):
        matrices = [op.prepare(w) for w in weights]
        for dtype in op.dtypes:
            rows: dict[str, Any] = {}
            for count in ROWS:
                x = torch.randn(count, k).to(dtype)
                rows[str(count)] = timed(x, matrices, op, n * k)
            table[f"{op.name}, {str(dtype).removeprefix('torch.')}"] = rows
    return table


class Operator(NamedTuple):
    """What is measured: its dtypes of x, how it wants a matrix, and the product."""

    name: str
    bytes_a_weight: float
    dtypes: Sequence[torch.dtype]
    prepare: Callable[[Tensor], Any]
    product: Callable[[Tensor, Any], Tensor]


def operators(n: int) -> Sequence[Operator]:
    """All of them, for matrices of ``n`` rows."""
    int8, int4 = INT8.pick(torch.device("cpu")), INT4.pick(torch.device("cpu"))
    zeros = torch.zeros(n, dtype=torch.int64)

    def int4_matrix(w: Tensor, group: int) -> tuple[Tensor, Tensor]:
        ints, scales = quantize_groups(w, group)
        return pack_int4(ints, int4.layout), scales

    def int4_plain(x: Tensor, m: Any) -> Tensor:
        group = x.shape[-1] // m[1].shape[0]
        return aten._weight_int4pack_mm_for_cpu(x, m[0], group, m[1].to(x.dtype))

    def int8_only_weights(x: Tensor, m: Any) -> Tensor:
        return aten._weight_int8pack_mm(x, m[0], m[1].to(x.dtype))

    def qlinear_matrix(w: Tensor) -> tuple[Tensor, Tensor]:
        ints, scale = quantize_rows(w)
        return onednn.qlinear_prepack(ints, None), scale

    def qlinear(x: Tensor, m: Any) -> Tensor:
        size = x.abs().amax() / 127
        x = (x / size).round_().add_(128).to(torch.uint8)
        return onednn.qlinear_pointwise(
            x, float(size), 128, m[0], m[1], zeros, None, 1.0, 0, torch.float32, "none", [], "none"
        )  # fmt: skip

    def int8_rows(x: Tensor, m: Any) -> Tensor:
        return int8(x, *m)

    def int4_groups(x: Tensor, m: Any) -> Tensor:
        return int4(x, *m)

    g64, g32 = (functools.partial(int4_matrix, group=g) for g in (64, 32))
    wide, both = (torch.float32,), (torch.float32, torch.bfloat16)
    return [
        Operator("float32", 4, wide, lambda w: w, F.linear),
        Operator("float32 packed (oneDNN)", 4, wide, pack, packed_product),
        Operator("INT8: _int_mm on rows in 8 bits", 1, both, quantize_rows, int8_rows),
        Operator("_weight_int8pack_mm", 1, both, quantize_rows, int8_only_weights),
        Operator("onednn.qlinear_pointwise, uint8", 1, wide, qlinear_matrix, qlinear),
        Operator("INT4: groups of 64", 9 / 16, wide, g64, int4_groups),
        Operator("INT4: groups of 32", 10 / 16, wide, g32, int4_groups),
        Operator("_weight_int4pack_mm_for_cpu", 9 / 16, both, g64, int4_plain),
    ]


def timed(x: Tensor, matrices: Sequence[Any], op: Operator, size: int) -> dict[str, Any]:
    """One operator at one number of rows; the matrices take turns."""
    few = matrices[: max(2, len(matrices) // len(x))]
    calls = [lambda m=m: op.product(x, m) for m in few]
    seconds, cpu = fastest(calls)
    return {
        "wall_us": round(seconds * 1e6, 1),
        "cpu_us": round(cpu * 1e6, 1),
        "GFLOP_per_cpu_s": round(2 * len(x) * size / cpu / 1e9, 1),
        "GB_per_cpu_s": round(op.bytes_a_weight * size / cpu / 1e9, 2),
    }


def fastest(calls: Sequence[Callable[[], Any]]) -> tuple[float, float]:
    """Seconds and CPU seconds a call, of the best of five rounds: others use the machine too."""
    best = [float("inf"), float("inf")]
    spent = time.process_time()
    for _ in range(5):
        started = time.perf_counter(), time.process_time()
        for call in calls:
            call()
        ended = time.perf_counter(), time.process_time()
        taken = [(b - a) / len(calls) for a, b in zip(started, ended, strict=True)]
        best = [min(pair) for pair in zip(best, taken, strict=True)]
        if time.process_time() - spent > TOO_SLOW_S:
            break
    return best[0], best[1]


if __name__ == "__main__":
    main()
