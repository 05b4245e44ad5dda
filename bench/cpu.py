"""Tokens per second on a few CPU cores beside llama.cpp: same weights, threads and prompt.

Every side of a case is a process of its own (bench/cpu_side.py); they take turns, a prompt of 256
tokens and 64 tokens decoded each, and medians are compared. On a busy machine compare by processor
time on one thread; on a quiet one by the wall. What the sides read of the weights per token times
tokens per second is printed as a share of what this machine reads from memory.

    python bench/cpu.py --threads 2                    # all cases; the flagship's take 15 GB
    python bench/cpu.py --threads 1 --only 26m --rounds 5
    python bench/cpu.py --weights DIR                  # written once, kept for the next run

Cases already in the output are kept, so a run that was cut short goes on; --again measures anew.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from cpu_side import CLOCKS, DENSE

from yaongi.core.artifact import git_commit, machine, versions
from yaongi.core.files import write_json

ROOT = Path(__file__).parents[1]
STOCK, FLAGSHIP = "yaongi-4b-a0.6b-stock", "yaongi-4b-a0.6b"
Side = tuple[str, str, str]  # engine, preset, format


def small(preset: str) -> list[Side]:
    """A small preset in every format that has a like on the other side."""
    formats = ("fp32", "int8", "int4")
    own = [("yaongi", preset, f + how) for f in formats for how in ("", "+compiled")]
    return own + [("llama.cpp", preset, f) for f in ("f32", "f16", "q8_0", "q4_0")]


CASES: dict[str, list[Side]] = {
    "26m": small("26m"),
    "61m-a25m": small("61m-a25m"),
    "flagship": [
        *(
            ("yaongi", STOCK, f)
            for f in ("int4", "int4+compiled", "int4+compiled+prompts8", "int8")
        ),
        ("llama.cpp", STOCK, "q4_0"),
    ],
    "dense": [
        *(("yaongi", preset, "int4+compiled") for preset in (STOCK, DENSE)),
        ("llama.cpp", DENSE, "q4_0"),
    ],
    "engram": [
        ("yaongi", preset, f) for f in ("int4", "int4+compiled") for preset in (STOCK, FLAGSHIP)
    ],
    "long": [("yaongi", STOCK, f"int4@{n}") for n in (1024, 32768)],
}
"""``@`` decodes behind so many tokens, by bare steps; for ``+`` see bench/cpu_side.py."""


def main() -> None:
    """Measure every case and write the JSON after each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", choices=CASES, help="a case; again for more")
    parser.add_argument("--formats", nargs="+", help="only sides in these, to save memory")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--prompt", type=int, default=256, help="tokens of the prompt")
    parser.add_argument("--tokens", type=int, default=64, help="tokens decoded")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--budget", type=float, default=3600, help="seconds; no case begins after")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--weights", type=Path, help="keep written weights here (2 to 4 GB each)")
    parser.add_argument("--out", type=Path, default=ROOT / "bench/results/cpu.json")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        args.weights = args.weights or Path(folder)
        run(args)


def run(args: argparse.Namespace) -> None:
    """Every case in turn."""
    began = time.perf_counter()
    found: dict[str, Any] = {}
    if args.out.is_file():
        found = json.loads(args.out.read_text("utf-8"))["cases"]
    for name in args.only or CASES:
        if (name in found and not args.again) or time.perf_counter() - began > args.budget:
            continue
        sides = [s for s in CASES[name] if not args.formats or s[2] in args.formats]
        found[name] = measure(sides, args)
        show(name, found[name])
        facts = {"hardware": machine(), "versions": versions(), "git_commit": git_commit()}
        args.out.parent.mkdir(parents=True, exist_ok=True)
        write_json(args.out, {"command": sys.argv, **facts, "cases": found})


def measure(sides: list[Side], args: argparse.Namespace) -> dict[str, Any]:
    """All sides of a case in turns; one is built after the other."""
    with contextlib.ExitStack() as stack:
        running: dict[str, subprocess.Popen[str]] = {}
        built: dict[str, dict[str, Any]] = {}
        for side in sides:
            name = " ".join(side)
            running[name] = stack.enter_context(started(side, args))
            built[name] = told(running[name])
        rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in running}
        reading: list[float] = []
        for i in range(args.rounds + 1):
            speed = memory_speed()
            for name, process in running.items():
                said = ask(process, args.prompt, args.tokens)
                if i:  # the first time everything is cold
                    rounds[name].append(said)
            reading += [speed] if i else []
    memory = statistics.median(reading)
    speeds = {
        name: built[name] | summary(rounds[name], args, built[name], memory) for name in running
    }
    return {
        "threads": args.threads,
        "prompt_tokens": args.prompt,
        "decoded_tokens": args.tokens,
        "rounds": args.rounds,
        "load_average": os.getloadavg(),
        "memory_bytes_per_s": memory,
        "sides": speeds,
    }


@contextlib.contextmanager
def started(side: Side, args: argparse.Namespace) -> Iterator[subprocess.Popen[str]]:
    """A side in a process of its own."""
    command = [sys.executable, str(Path(__file__).with_name("cpu_side.py")), *side]
    command += ["--threads", str(args.threads), "--context", str(args.prompt + 256)]
    command += ["--weights", str(args.weights)]
    environment = os.environ | {"OMP_NUM_THREADS": str(args.threads)}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            yield process
        finally:
            assert process.stdin is not None
            process.stdin.close()  # ends its loop; killed it would leave its files
            process.wait()


def told(process: subprocess.Popen[str]) -> dict[str, Any]:
    """The next line of JSON a side says."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("{"):
            return json.loads(line)
    raise SystemExit("A side has ended; what it said is above.")


def ask(process: subprocess.Popen[str], prompt: int, tokens: int) -> dict[str, Any]:
    """One turn."""
    assert process.stdin is not None
    process.stdin.write(json.dumps([prompt, tokens]) + "\n")
    process.stdin.flush()
    return told(process)


def memory_speed() -> float:
    """Bytes per second by the wall that all threads together read from 512 MB: a sum, best of 3."""
    numbers = torch.ones(1 << 27)
    seconds: list[float] = []
    for _ in range(3):
        start = time.perf_counter()
        numbers.sum()
        seconds.append(time.perf_counter() - start)
    return numbers.nbytes / min(seconds)


def summary(
    rounds: list[dict[str, Any]], args: argparse.Namespace, built: dict[str, Any], memory: float
) -> dict[str, Any]:
    """Medians of a side, by clock."""
    found: dict[str, Any] = {"peak_rss_bytes": rounds[-1]["peak_rss_bytes"]}
    for phase, tokens in (("prefill", args.prompt), ("decode", args.tokens)):
        seconds = {c: statistics.median(r[f"{phase}_s"][c] for r in rounds) for c in CLOCKS}
        speed = {c: round(tokens / s, 2) if s else 0.0 for c, s in seconds.items()}
        found[f"{phase}_tokens_per_s"] = speed
    read = built["weights_bytes_per_token"] * found["decode_tokens_per_s"]["wall"]
    return found | {"share_of_memory_speed": round(read / memory, 3)}


def show(name: str, found: dict[str, Any]) -> None:
    """A table of a case."""
    print(
        f"{name}: {found['threads']} threads, memory {found['memory_bytes_per_s'] / 1e9:.1f} GB/s"
    )
    heads = ["prefill", "by CPU s", "decode", "by CPU s", "MB/token", "of memory"]
    print(f"{'tokens per second':40}" + "".join(f"{h:>10}" for h in heads))
    for side, s in found["sides"].items():
        row = [s[f"{p}_tokens_per_s"][c] for p in ("prefill", "decode") for c in ("wall", "cpu")]
        row += [s["weights_bytes_per_token"] / 1e6, 100 * s["share_of_memory_speed"]]
        print(f"{side:40}" + "".join(f"{n:10.1f}" for n in row) + " %")


if __name__ == "__main__":
    main()
