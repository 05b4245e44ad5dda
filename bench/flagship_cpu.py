"""The flagship on a CPU with 24 GB: it fits, reads, speaks and learns; slowly, and measured.

Two processes, so that each has a peak of its own: random bf16 weights of the whole model, a
forward pass and some greedy tokens; then one optimizer step, in float32, of a slice of its layers
at full width. Random weights say nothing about text, only about memory and time.

    python bench/flagship_cpu.py [--layers 52] [--slice 14] [--out bench/results/flagship_cpu.json]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from yaongi.core.artifact import git_commit, machine, versions
from yaongi.core.config import parse
from yaongi.core.files import write_json
from yaongi.infer.generate import advance, prefill
from yaongi.infer.state import decode_state_bytes
from yaongi.model.count import count
from yaongi.model.layer import Exact, Workload
from yaongi.model.lm import LM, LMConfig
from yaongi.model.presets import preset
from yaongi.train.dryrun import RandomRows
from yaongi.train.loop import train_steps
from yaongi.train.memory import optimizer_memory, step_memory
from yaongi.train.objectives import next_token
from yaongi.train.optim.build import build_optimizer
from yaongi.train.precision import choose_precision
from yaongi.train.pretrain import PretrainConfig

ROOT = Path(__file__).parents[1]
FLAGSHIP = "yaongi-4b-a0.6b"


def main() -> None:
    """Run both parts and write the JSON, or one part and print its JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--layers", type=int, default=52, help="of the model that speaks")
    parser.add_argument("--slice", type=int, default=14, help="layers of the step")
    parser.add_argument("--prompt", type=int, default=64, help="tokens read")
    parser.add_argument("--new", type=int, default=8, help="tokens generated")
    parser.add_argument("--seq-len", type=int, default=128, help="tokens of the step")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--part", choices=["speak", "learn"])
    parser.add_argument("--out", type=Path, default=ROOT / "bench/results/flagship_cpu.json")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.part:
        part = speak if args.part == "speak" else learn
        print(json.dumps({**part(args), "peak_rss_bytes": peak_rss()}))
        return
    report = {name: own_process(name) for name in ("speak", "learn")}
    facts = {"hardware": machine(), "versions": versions(), "git_commit": git_commit()}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(args.out, {"command": sys.argv, "threads": args.threads, **facts, **report})
    print(json.dumps(report, indent=1))


def own_process(part: str) -> dict[str, Any]:
    """The JSON of a part run by itself."""
    command = [sys.executable, __file__, *sys.argv[1:], "--part", part]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{part} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def speak(args: argparse.Namespace) -> dict[str, Any]:
    """Random weights in bf16, a forward pass over a prompt, greedy tokens after it."""
    cfg = sliced(preset(FLAGSHIP), args.layers)
    start = time.perf_counter()
    model = random_bf16(cfg)
    built = time.perf_counter()
    ids = torch.randint(
        cfg.vocab_size, (1, args.prompt), generator=torch.Generator().manual_seed(0)
    )
    with torch.inference_mode():
        logits = model.logits(model(ids).hidden)
        read = time.perf_counter()
        state = model.init_state(1, args.prompt + args.new)
        last, state = prefill(model, ids, state)
        prefilled = time.perf_counter()
        spoken = [int(last.argmax(-1))]
        while len(spoken) < args.new:
            last, state = advance(model, torch.tensor([[spoken[-1]]]), state)
            spoken.append(int(last.argmax(-1)))
        done = time.perf_counter()
    return {
        "layers": cfg.n_layers,
        "params_total": count(cfg).params_total,
        "weights_bytes": sum(t.nbytes for t in [*model.parameters(), *model.buffers()]),
        "state_bytes": decode_state_bytes(model, args.prompt + args.new),
        "build_s": built - start,
        "forward_s": read - built,
        "prefill_tokens_per_s": args.prompt / (prefilled - read),
        "decode_tokens_per_s": (args.new - 1) / (done - prefilled),
        "finite": bool(logits.isfinite().all() and last.isfinite().all()),
        "same_first_token": int(logits[0, -1].argmax()) == spoken[0],
    }


def learn(args: argparse.Namespace) -> dict[str, Any]:
    """One optimizer step of the first layers at full width, and what the plan says it takes."""
    model_cfg = sliced(preset(FLAGSHIP), args.slice)
    pairs = model_cfg.layers.count("*") >= 2
    settings = {
        "model": model_cfg,
        "optimizer": {"kind": "teon" if pairs else "muon", "lr": 2e-3},
        "seq_len": args.seq_len,
        "batch_tokens": args.seq_len,
        "steps": 1,
    }
    cfg = parse(PretrainConfig, settings)
    memory = optimizer_memory(cfg.optimizer, model_cfg)
    planned = step_memory(model_cfg, memory, Workload(1, args.seq_len))
    model = LM(model_cfg)
    watched = next(p for p in model.mixers()[0].parameters() if p.ndim == 2)
    before = watched.detach().clone()
    steps = train_steps(
        model,
        build_optimizer(cfg.optimizer, model),
        RandomRows(cfg),
        next_token,
        cfg,
        steps=1,
        precision=choose_precision("fp32", torch.device("cpu")),
    )
    step = next(steps)
    return {
        "pattern": model_cfg.layers,
        "optimizer": cfg.optimizer.kind,
        "params_total": count(model_cfg).params_total,
        "tokens": args.seq_len,
        "step_s": step.seconds,
        "loss": step.loss,
        "grad_norm": step.metrics["grad_norm"],
        "weights_moved": not torch.equal(watched, before),
        "planned_peak_bytes": planned.peak,
    }


def sliced(cfg: LMConfig, layers: int) -> LMConfig:
    """The first layers of a model, with the Engram modules that stand before them."""
    settings = {**cfg.as_json(), "pattern": cfg.layers[:layers]}
    if cfg.engram is not None:
        own = settings["engram"]
        places = [i for i in cfg.engram.layers if i < layers]
        modules = {i: m for i, m in own["modules"].items() if int(i) < layers}
        settings["engram"] = {**own, "layers": places, "modules": modules} if places else None
    return parse(LMConfig, settings)


def random_bf16(cfg: LMConfig) -> LM:
    """The model with the weights of seed 0, drawn in bfloat16; what must be exact in float32."""
    torch.set_default_dtype(torch.bfloat16)
    model = LM(cfg).eval()
    torch.set_default_dtype(torch.float32)
    for module in model.modules():
        for name in module.exact if isinstance(module, Exact) else ():
            exact: torch.Tensor = getattr(module, name)
            exact.data = exact.data.float()
    return model


def peak_rss() -> int:
    """Most bytes this process ever had in memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
