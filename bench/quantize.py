"""What 8 and 4 bits cost: bytes, bits per byte by domain and KL against the model before.

Models are folders of ``yaongi pretrain`` or ``sft``; their held-out text is that of the shards.
Every number is of the products that run: activations are rounded as they are in use.

    python bench/quantize.py --shards runs/korean-small/shards \\
        --model 26m=runs/korean-small/26m/base --model 61m-a25m=runs/korean-small/61m-a25m/base

Rows already in the output are kept, so a run that was cut short goes on; --again measures anew.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from yaongi.core.artifact import git_commit, machine, versions
from yaongi.core.files import write_json
from yaongi.data.shards import Shards
from yaongi.evals.divergence import divergence
from yaongi.infer.packed import twin
from yaongi.infer.reader import PromptWeights, reader
from yaongi.interop.quantize import quantize
from yaongi.model.io import WEIGHTS, load_model
from yaongi.model.quantized import Scheme
from yaongi.model.quantized_io import load_quantized

ROOT = Path(__file__).parents[1]
INT4 = Scheme(to="int4")
SCHEMES = {
    "int8": Scheme(to="int8"),
    "int4": INT4,
    "int4, read as prompts": INT4,
    "int4, read with int8 prompt weights": INT4,
    "int4, groups of 32": Scheme(to="int4", groups=(32,)),
    "int4, groups of 128": Scheme(to="int4", groups=(128, 64, 32)),
}
READERS: dict[str, PromptWeights | None] = {
    "int4, read as prompts": None,
    "int4, read with int8 prompt weights": "int8",
}
"""Those whose text goes through the products of an engine's prompts, not those of decoding."""


def main() -> None:
    """Measure every model in every scheme and write the JSON after each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--model", action="append", required=True, help="NAME=DIR")
    parser.add_argument("--shards", type=Path, required=True)
    parser.add_argument("--scheme", action="append", choices=list(SCHEMES))
    parser.add_argument("--tokens", type=int, default=20_000, help="held-out tokens a domain")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--out", type=Path, default=ROOT / "bench/results/quantize.json")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    found: dict[str, Any] = {}
    if args.out.is_file() and not args.again:
        found = json.loads(args.out.read_text("utf-8"))["models"]
    shards = Shards(args.shards)
    for name, folder in (given.split("=", 1) for given in args.model):
        rows = found.setdefault(name, {})
        for scheme in args.scheme or SCHEMES:
            if scheme in rows:
                continue
            rows[scheme] = measure(Path(folder), scheme, shards, args.tokens)
            facts = {"hardware": machine(), "versions": versions(), "git_commit": git_commit()}
            load = {"load_average": os.getloadavg()[0], "threads": args.threads}
            write_json(args.out, {"command": sys.argv, **load, **facts, "models": found})
            print(name, scheme, json.dumps(rows[scheme], indent=1), flush=True)


def measure(folder: Path, name: str, shards: Shards, tokens: int) -> dict[str, Any]:
    """Bytes, and the error by domain and over all of them."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as place:
        started = time.process_time()
        made = quantize(folder, Path(place) / "out", SCHEMES[name])
        seconds = time.process_time() - started
        model, reference = load_quantized(made.path), load_model(folder)
        if name in READERS:
            model = reader(twin(model)[0], READERS[name])
        domains = {
            domain: divergence(reference, model, shards, domain, max_tokens=tokens)
            for domain in shards.domains("val")
        }
    rows = {
        domain: {
            "bpb": round(d.bpb, 5),
            "bpb_before": round(d.reference_bpb, 5),
            "more_percent": round(100 * d.more, 3),
            "kl": round(d.kl, 6),
            "tokens": d.targets,
        }
        for domain, d in domains.items()
    }
    more = sum(d.more for d in domains.values()) / len(domains)
    return {
        "bytes": made.manifest.counts["bytes"],
        "bytes_before": (folder / WEIGHTS).stat().st_size,
        "counts": made.manifest.counts,
        "quantize_cpu_s": round(seconds, 1),
        "more_percent": round(100 * more, 3),
        "kl": round(sum(d.kl for d in domains.values()) / len(domains), 6),
        "domains": rows,
    }


if __name__ == "__main__":
    main()
