"""Training speed beside transformers: same shapes, same batch, same number format, same minutes.

For ``bench-dense`` (Llama) and ``bench-hybrid`` (Nemotron-H) a step is forward, backward, clipping
and fused AdamW on 8 x 512 tokens. The variants take turns step by step, so that a busy machine
slows all of them alike, and each reports the median. The share of peak is useful FLOPs (6 per
active weight and the mixing, ``model/count.py``) over the best matrix-product rate measured in the
same rounds.

    python bench/train.py [--steps 9] [--dtype auto|bf16|fp32] [--out bench/results/train.json]
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))  # the shapes in transformers' words live there

import hf_twin  # noqa: E402

from yaongi.core.artifact import git_commit, machine, versions  # noqa: E402
from yaongi.core.files import write_json  # noqa: E402
from yaongi.model.count import count  # noqa: E402
from yaongi.model.lm import LM, LMConfig  # noqa: E402
from yaongi.model.presets import preset  # noqa: E402
from yaongi.ops.cross_entropy import linear_cross_entropy  # noqa: E402

BATCH, LENGTH = 8, 512
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
PEERS = ("bench-dense", "bench-hybrid")
Step = Callable[[], torch.Tensor]


def main() -> None:
    """Measure, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--steps", type=int, default=9, help="timed steps of each variant")
    parser.add_argument("--dtype", choices=["auto", *DTYPES], default="auto")
    parser.add_argument("--presets", nargs="+", default=PEERS, choices=PEERS)
    parser.add_argument("--eager-only", action="store_true", help="skip torch.compile")
    parser.add_argument("--profile", action="store_true", help="only: where our eager step goes")
    parser.add_argument("--out", type=Path, default=ROOT / "bench/results/train.json")
    args = parser.parse_args()
    rates = {name: gemm_rate(2048, 2048, 2048, dtype) for name, dtype in DTYPES.items()}
    dtype = max(rates, key=lambda name: rates[name]) if args.dtype == "auto" else args.dtype
    report: dict[str, Any] = {
        "batch": [BATCH, LENGTH],
        "dtype": dtype,
        "gemm_2048_flops": rates,
        "threads": torch.get_num_threads(),
        "hardware": machine(),
        "versions": {**versions(), "transformers": metadata.version("transformers")},
        "git_commit": git_commit(),
        "presets": {},
    }
    if args.profile:
        for name in args.presets:
            print_profile(name, our_step(LM(preset(name)), DTYPES[dtype], compiled=False))
        return
    for name in args.presets:
        report["presets"][name] = run_preset(name, DTYPES[dtype], args)
        print_table(name, report["presets"][name], dtype)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(args.out, report)
    print(f"written to {args.out}")


def run_preset(name: str, dtype: torch.dtype, args: argparse.Namespace) -> dict[str, Any]:
    """Every variant of one shape, interleaved."""
    cfg = preset(name)
    variants = dict(make_variants(name, cfg, dtype, compiled=not args.eager_only))
    results: dict[str, Any] = {}
    for label, step in variants.items():
        start = time.perf_counter()
        loss = float(step())
        results[label] = {"first_step_s": time.perf_counter() - start, "first_loss": loss}
        step()
    shapes = gemm_shapes(cfg)
    times: dict[str, list[float]] = {label: [] for label in variants}
    gemms: dict[tuple[int, int, int], list[float]] = {shape: [] for shape in shapes}
    for _ in range(args.steps):
        for label, step in variants.items():
            times[label].append(timed(step))
        for shape in shapes:
            gemms[shape].append(gemm_rate(*shape, dtype, repeats=3))
    peak = max(statistics.median(rates) for rates in gemms.values())
    flops = count(cfg).flops_per_token(LENGTH)
    for label, seconds in times.items():
        rate = BATCH * LENGTH / statistics.median(seconds)
        results[label] |= {
            "tokens_per_s": rate,
            "share_of_peak": rate * flops / peak,
            "step_s": sorted(seconds),
        }
    return {"gemm_peak_flops": peak, "flops_per_token": flops, "variants": results}


def make_variants(
    name: str, cfg: LMConfig, dtype: torch.dtype, *, compiled: bool
) -> Iterator[tuple[str, Step]]:
    """(label, function doing one optimizer step)."""
    for how in ("eager", "compiled")[: 2 if compiled else 1]:
        yield f"yaongi {how}", our_step(LM(cfg), dtype, compiled=how == "compiled")
        torch.manual_seed(0)
        yield (
            f"transformers {how}",
            peer_step(hf_twin.untrained(cfg), dtype, compiled=how == "compiled"),
        )


def our_step(model: LM, dtype: torch.dtype, *, compiled: bool) -> Step:
    """Ours: hidden states, then the chunked loss."""
    run: Any = torch.compile(model) if compiled else model
    ids = batch(model.cfg.vocab_size)
    inputs, targets = ids[:, :-1].contiguous(), ids[:, 1:].contiguous()

    def loss() -> torch.Tensor:
        with precision(dtype):
            out = run(inputs)
        total, weight = linear_cross_entropy(out.hidden, model.head_weight, targets)
        return total / weight + out.aux.loss

    return optimizing(model, loss)


def peer_step(model: Any, dtype: torch.dtype, *, compiled: bool) -> Step:
    """transformers: its own loss on labels (shifted inside, so one input token more)."""
    run: Any = torch.compile(model) if compiled else model
    ids = batch(model.config.vocab_size)[:, :-1].contiguous()

    def loss() -> torch.Tensor:
        with precision(dtype):
            return run(input_ids=ids, labels=ids, use_cache=False).loss

    return optimizing(model.train(), loss)


def optimizing(model: torch.nn.Module, loss_of: Step) -> Step:
    """One step: gradients, clipping, fused AdamW."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)

    def step() -> torch.Tensor:
        loss = loss_of()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=True)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    return step


def batch(vocab_size: int) -> torch.Tensor:
    """(B,T+1) ids, the same for everyone."""
    return torch.randint(
        vocab_size, (BATCH, LENGTH + 1), generator=torch.Generator().manual_seed(0)
    )


def precision(dtype: torch.dtype) -> contextlib.AbstractContextManager[Any]:
    """float32 weights for all; products in ``dtype``."""
    if dtype == torch.float32:
        return contextlib.nullcontext()
    return torch.autocast("cpu", dtype=dtype)


def gemm_shapes(cfg: LMConfig) -> list[tuple[int, int, int]]:
    """2048^3 and the model's own products: forward, to the input, to the weight."""
    with torch.device("meta"):
        model = LM(cfg)
    shapes = {(2048, 2048, 2048)}
    tokens = BATCH * LENGTH
    for parameter in model.parameters():
        if parameter.ndim == 2:
            n_out, n_in = parameter.shape
            shapes |= {(tokens, n_in, n_out), (tokens, n_out, n_in), (n_out, tokens, n_in)}
    return sorted(shapes)


def gemm_rate(m: int, k: int, n: int, dtype: torch.dtype, repeats: int = 5) -> float:
    """FLOP/s of (m,k) @ (k,n), the median of ``repeats``."""
    a, b = torch.randn(m, k).to(dtype), torch.randn(k, n).to(dtype)
    out = torch.empty(m, n, dtype=dtype)
    torch.mm(a, b, out=out)
    seconds = statistics.median(timed(lambda: torch.mm(a, b, out=out)) for _ in range(repeats))
    return 2 * m * k * n / seconds


def timed(step: Step) -> float:
    """Seconds one call takes."""
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def print_table(name: str, result: dict[str, Any], dtype: str) -> None:
    """One preset's rows."""
    print(f"{name} ({dtype}; peak {result['gemm_peak_flops'] / 1e9:.0f} GFLOP/s)")
    for label, row in result["variants"].items():
        print(
            f"  {label:22s} {row['tokens_per_s']:8.0f} tokens/s {row['share_of_peak']:6.1%} of peak"
            f"  first {row['first_step_s']:6.1f} s  loss {row['first_loss']:.3f}"
        )


def print_profile(name: str, step: Step, steps: int = 3, shown: int = 14) -> None:
    """The operators a step spends its time in, as rows of a Markdown table."""
    step()
    with torch.profiler.profile() as profile:
        for _ in range(steps):
            step()
    found = sorted(profile.key_averages(), key=lambda op: -op.self_cpu_time_total)
    total = sum(op.self_cpu_time_total for op in found)
    print(f"{name}: {total / steps / 1e6:.2f} s a step\n")
    print("| operator | share | calls |\n| --- | --: | --: |")
    for op in found[:shown]:
        print(f"| `{op.key}` | {op.self_cpu_time_total / total:.1%} | {op.count // steps} |")
    rest = sum(op.self_cpu_time_total for op in found[shown:]) / total
    print(f"| {len(found) - shown} others | {rest:.1%} | |")


if __name__ == "__main__":
    main()
