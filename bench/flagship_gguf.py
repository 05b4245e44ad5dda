"""The flagship without Engram as GGUF at its real size: written, loaded and run by llama.cpp.

Random weights, made one tensor at a time as the writer asks for them, so no model folder and
little memory is needed; the file (about 2 GB as q4_0) lies in a temporary folder. Prints and keeps
seconds, bytes, peak memory and llama.cpp's speed.

    python bench/flagship_gguf.py                # 52 layers: minutes
    python bench/flagship_gguf.py --layers 6     # the first six: seconds
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from yaongi.core.seeds import Seed
from yaongi.data.synthetic import documents
from yaongi.interop.gguf import QUANTS, describe, write
from yaongi.interop.gguf.vocabulary import Vocabulary, vocabulary
from yaongi.model.lm import LM, LMConfig
from yaongi.model.presets import preset
from yaongi.text.tokenizer import Tokenizer

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import llamacpp

NAME = "yaongi-4b-a0.6b-stock"
MOST_MEMORY = 12e9
CONTEXT = 512


def weights(cfg: LMConfig, seed: int) -> Callable[[str], Tensor]:
    """bf16 tensors by name, each from its own stream; large enough that logits are not flat."""
    with torch.device("meta"):
        model = LM(cfg)
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    integers = {
        f"layers.{layer}.engram.{name}": torch.tensor(numbers)
        for layer, engram in model.engrams().items()
        for name, numbers in zip(("multipliers", "primes"), engram._hash, strict=True)  # pyright: ignore[reportPrivateUsage]
    }

    integers["ngram_ids.canonical"] = torch.arange(cfg.vocab_size)

    def read(name: str) -> Tensor:
        if name in integers:
            return integers[name]
        generator = torch.Generator().manual_seed(Seed(seed).split(name).int63)
        shape = shapes[name]
        if name.endswith("A_log"):
            return torch.rand(shape, generator=generator).mul(15).add(1).log()
        if name.endswith("dt_bias"):
            return torch.rand(shape, generator=generator).sub(4)
        if name.endswith(("norm.weight", "norm_f.weight", ".D")):
            return torch.ones(shape)
        if name.endswith("e_score_correction_bias"):
            return torch.zeros(shape)
        draw = torch.empty(shape, dtype=torch.bfloat16)
        return draw.normal_(std=shape[-1] ** -0.5, generator=generator)

    return read


def words(size: int) -> Vocabulary:
    """A small tokenizer of the embedded stories, its spare ids unused."""
    texts = [d.text for d, _ in zip(documents(Seed(0), "train", "story"), range(300), strict=False)]
    with tempfile.TemporaryDirectory() as folder:
        Tokenizer.train(texts, 2000, allow_smaller=True).save(folder)
        return vocabulary(Path(folder), size)


def written(out: Path, layers: int | None, quant: str) -> dict[str, Any]:
    """Write the file; how long it took and what it needed."""
    cfg = preset(NAME)
    if layers:
        cfg = preset(NAME, pattern=cfg.layers[:layers])
    content = describe(
        cfg, words(cfg.vocab_size), quant=quant, name=NAME, licences=[], context_len=CONTEXT
    )
    start = time.perf_counter()
    write(out, content, weights(cfg, seed=0))
    return {
        "layers": cfg.n_layers,
        "quant": quant,
        "write_s": round(time.perf_counter() - start, 1),
        "file_bytes": out.stat().st_size,
        "peak_bytes_writing": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }


def run(path: Path, threads: int, tokens: int) -> dict[str, Any]:
    """Load the file and continue a prompt of 64 ids."""
    start = time.perf_counter()
    with llamacpp.opened(path, CONTEXT, threads=threads) as llama:
        loaded = time.perf_counter() - start
        prompt = [0, *range(330, 393)]
        reply = llama.complete(prompt, tokens, ignore_eos=True, return_tokens=True)
    if len(reply["tokens"]) != tokens:
        raise SystemExit(f"{tokens} tokens were asked for, {len(reply['tokens'])} came.")
    return {
        "load_s": round(loaded, 1),
        "threads": threads,
        "prefill_tokens_per_s": round(reply["timings"]["prompt_per_second"], 1),
        "decode_tokens_per_s": round(reply["timings"]["predicted_per_second"], 1),
        "tokens": reply["tokens"],
        "peak_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, help="only the first ones; all 52 by default")
    parser.add_argument("--quant", choices=QUANTS, default="q4_0")
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, help="also write the result here, as JSON")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "flagship.gguf"
        result = written(path, args.layers, args.quant)
        result |= run(path, args.threads, args.tokens)
    text = json.dumps(result, indent=2)
    print(text)
    if args.out:
        args.out.write_text(text + "\n", encoding="utf-8")
    if result["peak_bytes_writing"] > MOST_MEMORY:
        raise SystemExit(f"Writing took {result['peak_bytes_writing'] / 1e9:.1f} GB of memory.")


if __name__ == "__main__":
    main()
