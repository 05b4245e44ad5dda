"""How long ``yaongi.load`` takes for a quantized model, and what it holds in memory after.

The flagship with random integers: what they are makes no difference to loading. Each time is of a
process of its own, from after the imports on; "cold" with the files not in memory.

    python bench/quantize_load.py [--preset yaongi-4b-a0.6b] [--to int4] [--place /tmp]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from yaongi.core.artifact import draft, git_commit, machine, versions
from yaongi.core.files import write_json
from yaongi.model.count import count
from yaongi.model.io import CONFIG, write_tensors
from yaongi.model.lm import LM, LMConfig
from yaongi.model.presets import preset
from yaongi.model.quantized import Scheme, narrow
from yaongi.model.quantized_io import KIND, PART, PART_BYTES, placing

ROOT = Path(__file__).parents[1]
LOAD = """
import json, resource, sys, time
import torch
import yaongi
yaongi.Model  # the imports
cpu, wall = time.process_time(), time.perf_counter()
model = yaongi.load(sys.argv[1])
facts = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
held = [l for l in open("/proc/self/status") if l.startswith(("RssAnon", "RssFile"))]
print(json.dumps(facts | {l.split(":")[0]: int(l.split()[1]) * 1024 for l in held}))
"""


def main() -> None:
    """Write the model, load it five times warm and twice cold, write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--preset", default="yaongi-4b-a0.6b")
    parser.add_argument("--to", choices=["int8", "int4"], action="append")
    parser.add_argument("--place", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--out", type=Path, default=ROOT / "bench/results/quantize_load.json")
    args = parser.parse_args()
    found: dict[str, Any] = {}
    if args.out.is_file():
        found = json.loads(args.out.read_text("utf-8"))["schemes"]
    for to in args.to or ["int4", "int8"]:
        with tempfile.TemporaryDirectory(dir=args.place) as place:
            found[to] = measure(
                preset(args.preset), Scheme.model_validate({"to": to}), Path(place) / "model"
            )
        facts = {"hardware": machine(), "versions": versions(), "git_commit": git_commit()}
        load = {"command": sys.argv, "load_average": os.getloadavg()[0], "preset": args.preset}
        write_json(args.out, {**load, **facts, "schemes": found})
        print(to, json.dumps(found[to], indent=1), flush=True)


def measure(cfg: LMConfig, scheme: Scheme, folder: Path) -> dict[str, Any]:
    """Times and memory of loading."""
    write_random(cfg, scheme, folder)
    size = sum(f.stat().st_size for f in folder.glob("*.safetensors"))
    warm = [loaded(folder) for _ in range(5)]
    cold = [loaded(folder, forget=True) for _ in range(2)]
    return {
        "parameters": count(cfg).params_total,
        "bytes": size,
        "warm": {k: statistics.median(run[k] for run in warm) for k in warm[0]},
        "cold": {k: statistics.median(run[k] for run in cold) for k in cold[0]},
    }


def write_random(cfg: LMConfig, scheme: Scheme, folder: Path) -> None:
    """An artifact like that of ``yaongi quantize``, without a model to make it from."""
    config = {**scheme.as_json(), **placing(scheme), "seq_len": None}
    with draft(folder, KIND, config=config) as work:
        part: dict[str, Tensor] = {}
        parts = 0
        for name, tensor in random_tensors(cfg, scheme):
            part[name] = tensor
            if sum(t.nbytes for t in part.values()) >= PART_BYTES:
                write_tensors(work.path / PART.format(parts), part)
                part, parts = {}, parts + 1
        write_tensors(work.path / PART.format(parts), part)
        write_json(work.path / CONFIG, cfg.as_json())
        work.finish()


def random_tensors(cfg: LMConfig, scheme: Scheme) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of the quantized model; indices and their like as they must be."""
    with torch.device("meta"):
        model = LM(cfg)
        narrow(model, scheme)
    for layer, engram in model.engrams().items():
        multipliers, primes = engram._hash
        for name, numbers in (("multipliers", multipliers), ("primes", primes)):
            yield f"layers.{layer}.engram.{name}", torch.tensor(numbers)
    for name, shell in model.state_dict().items():
        if name.endswith((".multipliers", ".primes")):
            continue
        if shell.is_floating_point():
            yield name, torch.rand(shell.shape).mul_(0.01).to(shell.dtype)
        elif name.endswith("canonical"):
            yield name, torch.arange(len(shell))
        else:
            low, high = torch.iinfo(shell.dtype).min, torch.iinfo(shell.dtype).max
            yield name, torch.randint(low, high, shell.shape, dtype=shell.dtype)


def loaded(folder: Path, *, forget: bool = False) -> dict[str, float]:
    """One load in a process of its own."""
    if forget:
        for file in folder.iterdir():
            fd = os.open(file, os.O_RDONLY)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(fd)
    command = [sys.executable, "-c", LOAD, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


if __name__ == "__main__":
    main()
