"""One side of bench/cpu.py in a process of its own: builds a model, then measures when told to.

Reads a line, runs a prompt and decodes once, writes a line of JSON; between lines it sleeps, so
that the sides of a case can take turns on the same cores.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gguf
import torch
from flagship_gguf import weights, words

from yaongi.core.config import parse
from yaongi.core.files import write_json
from yaongi.infer.engine import Engine, Request
from yaongi.infer.packed import twin
from yaongi.infer.rules import Generation
from yaongi.infer.state import by_row
from yaongi.interop.gguf import QUANTS, describe, write
from yaongi.interop.gguf.tensors import Target
from yaongi.model.attention import KVCache
from yaongi.model.io import CONFIG
from yaongi.model.lm import LM, LMConfig
from yaongi.model.presets import preset
from yaongi.model.quantized import Scheme
from yaongi.model.quantized_io import placing, read_quantized, write_quantized
from yaongi.text.tokenizer import Tokenizer

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import llamacpp

DENSE = "dense-3.4b"
COMPILED = "compiled"
PROMPTS = "prompts8"  # int8 weights for prompts beside those in int4
GGUF = "m.gguf"
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
"""The second is of all threads together, and hardly feels what else the machine does."""
Turn = Callable[[int, int], dict[str, Any]]
"""(tokens of the prompt, tokens decoded) -> seconds of both by clock."""


def main() -> None:
    """Build, say so, and measure once for every line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("engine", choices=["yaongi", "llama.cpp"])
    parser.add_argument("preset")
    parser.add_argument("format")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--context", type=int, required=True)
    parser.add_argument("--weights", type=Path, required=True, help="folder of written weights")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    cfg = shape(args.preset)
    opened = ours if args.engine == "yaongi" else theirs
    start = time.perf_counter()
    place = args.weights / args.preset
    with opened(cfg, args.format, args.threads, args.context, place) as (turn, weights_bytes):
        say({"weights_bytes_per_token": weights_bytes, "build_s": time.perf_counter() - start})
        for line in sys.stdin:
            prompt, tokens = json.loads(line)
            say(turn(prompt, tokens) | {"peak_rss_bytes": peak_rss()})


def kept(place: Path, write_into: Callable[[Path], object]) -> Path:
    """The folder, written if nobody has yet: 4 billion weights take minutes to quantize."""
    if not place.exists():
        work = place.with_name(f"{place.name}.part")
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        write_into(work)
        work.rename(place)
    return place


def say(found: dict[str, Any]) -> None:
    """A line of JSON for the parent; llama.cpp writes to stdout, too, but no JSON."""
    print("\n" + json.dumps(found), flush=True)


def shape(name: str) -> LMConfig:
    """A preset, or the dense model with as many parameters as the flagship without Engram."""
    if name != DENSE:
        return preset(name)
    llama = preset("llama-3.2-1b")
    settings = llama.as_json() | {
        "vocab_size": 32768,
        "d_model": 3072,
        "pattern": "(*-)x28",
        "tied": False,
        "attention": {"n_heads": 24, "n_kv_heads": 8, "head_dim": 128, "rope_theta": 10_000.0},
        "mlp": {"d_ff": 9984, "activation": "swiglu"},
    }
    return parse(LMConfig, settings)


@contextlib.contextmanager
def ours(
    cfg: LMConfig, number_format: str, threads: int, context: int, place: Path
) -> Iterator[tuple[Turn, int]]:
    """Our engine, greedy, one request at a time."""
    number_format, _, behind = number_format.partition("@")
    kind, *how = number_format.split("+")
    model = loaded(cfg, kind, place / kind)
    if behind:
        yield behind_tokens(model, int(behind)), weights_read(model)
        return
    tokenizer = Tokenizer.train(["고양이가 야옹 하고 울었어요."] * 9, 400, allow_smaller=True)
    tokenizer.stop_ids = frozenset()  # random weights would end early
    engine = Engine(
        model,
        tokenizer,
        prefix_bytes=0,
        context_len=context,
        compile_step=COMPILED in how,
        prompt_weights="int8" if PROMPTS in how else None,
    )

    def turn(prompt: int, tokens: int) -> dict[str, Any]:
        rules = Generation(max_tokens=tokens + 1)
        handle = engine.submit(Request(ids(prompt), rules))
        marks = [clocks()]
        while engine.waiting:
            engine.step()
        marks.append(clocks())
        for _ in range(tokens):
            engine.step()
        marks.append(clocks())
        engine.cancel(handle)
        return seconds(*marks)

    yield turn, weights_read(model)


def behind_tokens(model: LM, length: int) -> Turn:
    """Bare steps behind ``length`` tokens, whose keys and values are random numbers."""
    network = twin(model)[0]

    @torch.inference_mode()
    def turn(prompt: int, tokens: int) -> dict[str, Any]:
        state = network.init_state(1, length + tokens)
        for cache in (layer for layer in state.layers if isinstance(layer, KVCache)):
            for part in (cache.k, cache.v):
                part[:, :, :length] = torch.randn(part[:, :, :length].shape)
        state.length = length
        state = by_row(state)
        start = clocks()
        for _ in range(tokens):
            out = network(torch.tensor([[90]]), state=state)
            network.logits(out.hidden)
            state = out.state
        return seconds(start, start, clocks())

    return turn


def loaded(cfg: LMConfig, number_format: str, place: Path) -> LM:
    """The model with the weights that llama.cpp gets, too; in few bits from ``place``."""
    read = weights(cfg, seed=0)
    if number_format == "fp32":
        model = LM(cfg).eval()
        model.load_state_dict({name: read(name).float() for name in model.state_dict()})
        return model
    scheme = parse(Scheme, {"to": number_format})

    def quantized(folder: Path) -> None:
        write_quantized(cfg, read, scheme, folder)
        write_json(folder / CONFIG, cfg.as_json())

    layout = "{layout}/{isa}".format(**placing(scheme))
    return read_quantized(kept(place, quantized), scheme, layout).float()


def weights_read(model: LM) -> int:
    """Bytes of weights that one token multiplies."""
    cfg, total = model.cfg, 0
    share = cfg.moe.top_k / cfg.moe.n_experts if cfg.moe else 1
    for name, tensor in model.state_dict().items():
        if ("embeddings" in name and not cfg.tied) or "engram.table" in name:
            continue
        total += tensor.nbytes * (share if ".experts." in name else 1)
    return round(total)


@contextlib.contextmanager
def theirs(
    cfg: LMConfig, number_format: str, threads: int, context: int, place: Path
) -> Iterator[tuple[Turn, int]]:
    """llama.cpp on the same weights, with its own choice of attention and cache."""
    content = describe(
        cfg, words(cfg.vocab_size), quant=number_format, name="bench", context_len=context
    )
    folder = place / f"gguf-{number_format}-{context}"
    kept(folder, lambda work: write(work / GGUF, content, weights(cfg, seed=0)))
    bits = sum(bits_read(cfg, *tensor) for tensor in content.tensors)
    with llamacpp.opened(folder / GGUF, context, threads=threads, exact=False) as llama:

        def run(prompt: int, tokens: int) -> tuple[dict[str, Any], float]:
            start = time.process_time()
            reply = llama.complete(ids(prompt), tokens, ignore_eos=True)
            return reply["timings"], time.process_time() - start

        def turn(prompt: int, tokens: int) -> dict[str, Any]:
            first, reading = run(prompt, 1)
            timings, both = run(prompt, tokens + 1)
            assert timings["prompt_n"] == prompt and timings["predicted_n"] == tokens + 1
            return {
                "prefill_s": {"wall": first["prompt_ms"] / 1e3, "cpu": reading},
                # its first token falls out of the prompt
                "decode_s": {"wall": timings["predicted_ms"] / 1e3, "cpu": both - reading},
            }

        yield turn, round(bits / 8)


def bits_read(cfg: LMConfig, target: Target, number_format: str) -> float:
    """Bits of a tensor that one token multiplies."""
    if target.name == "token_embd.weight" and not cfg.tied:
        return 0
    share = cfg.moe.top_k / cfg.moe.n_experts if cfg.moe and "_exps" in target.name else 1
    numbers, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[QUANTS[number_format].ggml]]
    return math.prod(target.shape) * share * 8 * size / numbers


def ids(count: int) -> list[int]:
    """A prompt: the end of a text, then ids that every vocabulary here has."""
    drawn = torch.randint(80, 400, (count - 1,), generator=torch.Generator().manual_seed(0))
    return [0, *drawn.tolist()]


def clocks() -> dict[str, float]:
    """What the clocks show."""
    return {name: now() for name, now in CLOCKS.items()}


def seconds(*marks: dict[str, float]) -> dict[str, Any]:
    """Of the prompt and of decoding, by clock."""
    names = ("prefill_s", "decode_s")
    pairs = zip(names, marks[:-1], marks[1:], strict=True)
    return {name: {clock: b[clock] - a[clock] for clock in CLOCKS} for name, a, b in pairs}


def peak_rss() -> int:
    """Most bytes this process ever had in memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
