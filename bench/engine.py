"""The engine: tokens per second of one stream and of several, and what a known prompt saves.

Random weights of a preset speak as fast as trained ones. Before anything is timed, several
requests together must give the ids and log-probabilities of each alone, bit for bit.

    python bench/engine.py [--preset 26m --preset 61m-a25m] [--threads 2] [--budget 300]

Presets already in the output are kept, so a run that was cut short goes on; --again measures anew.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch

from yaongi.core.artifact import git_commit, machine, versions
from yaongi.core.files import write_json
from yaongi.infer.engine import Engine, Request
from yaongi.infer.generate import advance, prefill
from yaongi.infer.packed import twin
from yaongi.infer.rules import Generation
from yaongi.model.lm import LM
from yaongi.model.presets import preset
from yaongi.text.tokenizer import Tokenizer

ROOT = Path(__file__).parents[1]
PRESETS = ["26m", "61m-a25m"]
ROWS = [1, 2, 4, 8, 16, 32]
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
"""The second is of all threads together, and hardly feels what else the machine does."""
RULES = {
    "greedy": {},
    "sampled": {"temperature": 0.8, "top_k": 50, "top_p": 0.95},
    "temperature_1": {"temperature": 1.0},
}


def main() -> None:
    """Measure every preset and write the JSON after each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--preset", action="append", dest="presets")
    parser.add_argument("--prompt", type=int, default=256, help="tokens of a prompt")
    parser.add_argument("--steps", type=int, default=40, help="decoding steps timed, three times")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--budget", type=float, default=900, help="seconds; no preset begins after")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--out", type=Path, default=ROOT / "bench/results/engine.json")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    began = time.perf_counter()
    found: dict[str, Any] = {}
    if args.out.is_file() and not args.again:
        found = json.loads(args.out.read_text("utf-8"))["presets"]
    for name in args.presets or PRESETS:
        if name in found or time.perf_counter() - began > args.budget:
            continue
        found[name] = measure(name, args.prompt, args.steps)
        facts = {"hardware": machine(), "versions": versions(), "git_commit": git_commit()}
        args.out.parent.mkdir(parents=True, exist_ok=True)
        load = {"load_average": os.getloadavg()[0], "threads": args.threads}
        report = {"command": sys.argv, **load, **facts, "presets": found}
        write_json(args.out, report)
        print(name, json.dumps(found[name], indent=1))


def measure(name: str, prompt: int, steps: int) -> dict[str, Any]:
    """All numbers of a preset."""
    model, tokenizer = LM(preset(name)).eval(), small_tokenizer()
    same_bits(model, tokenizer, prompt)
    report: dict[str, Any] = {"prompt_tokens": prompt, "equal_alone_and_together": True}
    for rules_name, rules in RULES.items():
        speeds = {n: decode_speed(model, tokenizer, n, prompt, steps, rules) for n in ROWS}
        report[rules_name] = {
            clock: {
                "tokens_per_s": {str(n): round(s[clock], 1) for n, s in speeds.items()},
                "8_rows_over_1": round(speeds[8][clock] / speeds[1][clock], 2),
            }
            for clock in CLOCKS
        }
    return report | prompts_known(model, tokenizer, prompt) | packing(model, prompt, steps)


def small_tokenizer() -> Tokenizer:
    """A few hundred ids: a choice is made among the model's whole vocabulary all the same."""
    tokenizer = Tokenizer.train(["고양이가 야옹 하고 울었어요."] * 9, 400, allow_smaller=True)
    tokenizer.stop_ids = frozenset()  # random weights would end early
    return tokenizer


def request(tokenizer: Tokenizer, i: int, prompt: int, **rules: Any) -> Request:
    """The i-th: a prompt like no other."""
    ids = torch.randint(
        80, tokenizer.vocab_size, (prompt - 1,), generator=torch.Generator().manual_seed(i)
    )
    return Request([tokenizer.eot_id, *ids.tolist()], Generation(**rules), seed=i)


def same_bits(model: LM, tokenizer: Tokenizer, prompt: int) -> None:
    """Stop where eight requests together differ from each alone."""
    wanted = [
        request(tokenizer, i, prompt + 7 * i, max_tokens=8, **list(RULES.values())[i % 3])
        for i in range(8)
    ]
    together = Engine(model, tokenizer).complete(wanted)
    alone = [Engine(model, tokenizer).complete([r])[0] for r in wanted]
    if together != alone:
        sys.exit("together is not alone: no speed is measured")


def decode_speed(
    model: LM, tokenizer: Tokenizer, rows: int, prompt: int, steps: int, rules: dict[str, Any]
) -> dict[str, float]:
    """Tokens per second of all rows while they decode, by clock: medians of three stretches."""
    engine = Engine(model, tokenizer, prefix_bytes=0)
    for i in range(rows):
        engine.submit(request(tokenizer, i, prompt, max_tokens=3 * steps + rows + 9, **rules))
    while engine.waiting:
        engine.step()
    found: dict[str, list[float]] = {clock: [] for clock in CLOCKS}
    for _ in range(3):
        start = {clock: now() for clock, now in CLOCKS.items()}
        said = sum(len(engine.step()) for _ in range(steps))
        for clock, now in CLOCKS.items():
            found[clock].append(said / (now() - start[clock]))
    return {clock: statistics.median(speeds) for clock, speeds in found.items()}


def prompts_known(model: LM, tokenizer: Tokenizer, prompt: int) -> dict[str, Any]:
    """Seconds to the first token of a prompt of four chunks: new, and known but for its end."""
    engine = Engine(model, tokenizer)
    long = request(tokenizer, 0, 4 * engine.chunk + 9, max_tokens=1)
    other = Request([*long.ids[: 4 * engine.chunk], *range(90, 99)], long.rules)
    seconds: dict[str, float] = {}
    for name, wanted in {"cold": long, "warm": other}.items():
        start = time.perf_counter()
        engine.complete([wanted])
        seconds[name] = time.perf_counter() - start
    kept = {"prefix_bytes": engine.prefixes.bytes, "prefix_tokens": 4 * engine.chunk + 18}
    read = {"prefill_tokens_per_s": round(len(long.ids) / seconds["cold"], 1)}
    return {"first_token_s": {k: round(v, 4) for k, v in seconds.items()}, **read, **kept}


def packing(model: LM, prompt: int, steps: int) -> dict[str, Any]:
    """CPU seconds of a bare step on packed matrices over one on the model's own, by rows."""
    found: dict[str, float] = {}
    for rows in (1, 8):
        medians: list[float] = []
        for network in (twin(model)[0], model):
            state = network.init_state(rows, prompt + steps)
            _, state = prefill(network, torch.full((rows, prompt), 90), state)
            seconds: list[float] = []
            for _ in range(steps):
                start = time.process_time()
                _, state = advance(network, torch.full((rows, 1), 90), state)
                seconds.append(time.process_time() - start)
            medians.append(statistics.median(seconds))
        found[str(rows)] = round(medians[0] / medians[1], 2)
    return {"packed_over_plain_cpu_s": found}


if __name__ == "__main__":
    main()
