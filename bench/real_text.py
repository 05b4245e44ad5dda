"""The real-text runs of docs/results: makes what is missing, then draws the page again.

Three roads: 26m (dense), 61m-a25m (hybrid with experts) on the same tokens of the same mix, and
26m-mamba on Korean alone. A finished stage is not redone, so the page can be redrawn any time.

    YAONGI_DATA=... python bench/real_text.py [--runs runs] [--only 26m]
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt

import yaongi
from yaongi.cli.recipe import read_recipe
from yaongi.cli.road import PROBE_TOKENS, Road, load_whole
from yaongi.core.artifact import open_artifact
from yaongi.core.files import write_json
from yaongi.core.runlog import read_metrics
from yaongi.core.units import human_time
from yaongi.evals.report import grid
from yaongi.evals.run import evaluate
from yaongi.infer.state import decode_state_bytes
from yaongi.model.count import count

ROOT = Path(__file__).parents[1]
CONTEXTS = (1024, 8192)
PROMPTS = ("대한민국은", "제1조(목적) 이 법은", "이 영화는", "def fibonacci(n):", "The history of")
QUESTIONS = ("안녕? 너는 누구야?", "오늘 너무 피곤해.", "주말에 뭐 하면 좋을까?", "사랑이 뭐야?")
SAMPLED = {"temperature": 0.7, "top_p": 0.9, "repetition_penalty": 1.1, "seed": 0}


class Run(NamedTuple):
    """One finished road."""

    name: str
    road: Road
    base: dict[str, dict[str, Any]]  # scores of the base model by name
    metrics: list[dict[str, Any]]  # of pretraining, a row per logged step


def main() -> None:
    """Make the runs, then the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results")
    parser.add_argument("--only", nargs="+", help="these models only")
    args = parser.parse_args()
    models = {
        "26m": ("korean-small", ()),
        "61m-a25m": ("korean-small", ("pretrain.model=61m-a25m",)),
        "26m-mamba": ("mamba2-ko", ("pretrain.minutes=10",)),
    }
    found = [
        make(name, ROOT / f"recipes/{recipe}.yaml", settings, args.runs)
        for name, (recipe, settings) in models.items()
        if not args.only or name in args.only
    ]
    args.out.mkdir(parents=True, exist_ok=True)
    curves(found, args.out / "real-text.png")
    numbers = [as_numbers(run) for run in found]
    write_json(args.out / "real-text.json", {"runs": numbers})
    (args.out / "real-text.md").write_text(page(found, numbers), encoding="utf-8")


def make(name: str, recipe: Path, overrides: Sequence[str], runs: Path) -> Run:
    """The road of a recipe to its end, and its base model scored as well as the chat model."""
    road = Road(read_recipe(recipe, overrides), runs / recipe.stem)
    print(name, road.report.path)
    base = evaluate(
        *load_whole(road.base.path),
        road.recipe.eval,
        road.folder("base-report"),
        inputs=[road.base, road.shards, road.corpus],
        seed=road.recipe.seed,
    )
    scores = json.loads((base.path / "report.json").read_text(encoding="utf-8"))["scores"]
    return Run(name, road, {s["name"]: s for s in scores}, read_metrics(road.base.path))


def as_numbers(run: Run) -> dict[str, Any]:
    """What the tables show."""
    manifest, model = run.road.base.manifest, yaongi.load(run.road.base.path)
    sizes = count(model.config)
    return {
        "model": run.name,
        "params_total": sizes.params_total,
        "params_active": sizes.params_active,
        "tokens": manifest.counts["tokens"],
        "seconds": manifest.metrics["training_s"],
        "tokens_per_s": statistics.median(m["tokens_per_s"] for m in run.metrics),
        "bpb": {name: row["value"] for name, row in run.base.items()},
        "xz": {name: row["baseline"] for name, row in run.base.items()},
        "chat_bpb": open_artifact(run.road.sft.path).manifest.metrics,
        "state_bytes": {str(n): decode_state_bytes(model.lm, n) for n in CONTEXTS},
        "hardware": manifest.hardware,
        "versions": manifest.versions,
    }


def curves(runs: Sequence[Run], path: Path) -> None:
    """Training loss, and held-out bits per byte of every domain, over tokens."""
    domains = sorted(
        {key for run in runs for row in run.metrics for key in row if "val_bpb/" in key}
    )
    fig, axes = plt.subplots(1, 1 + len(domains), figsize=(4 * (1 + len(domains)), 3.6))
    for number, run in enumerate(runs):
        color = f"C{number}"
        rows = run.metrics
        axes[0].plot(*_series(rows, "loss"), color=color, label=run.name, linewidth=1)
        for axis, domain in zip(axes[1:], domains, strict=True):
            if any(domain in row for row in rows):
                axis.plot(*_series(rows, domain), color=color, marker=".", label=run.name)
    axes[0].set(title="training loss", xlabel="million tokens", ylabel="nats per token")
    for axis, domain in zip(axes[1:], domains, strict=True):
        axis.set(
            title=f"held out: {domain.split('/')[1]}",
            xlabel="million tokens",
            ylabel="bits per byte",
        )
    for axis in axes:
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    fig.tight_layout()
    fig.savefig(path, dpi=110)


def _series(rows: Sequence[dict[str, Any]], key: str) -> tuple[list[float], list[float]]:
    having = [row for row in rows if key in row]
    return [row["tokens"] / 1e6 for row in having], [row[key] for row in having]


def page(runs: Sequence[Run], numbers: Sequence[dict[str, Any]]) -> str:
    """The whole page."""
    first = numbers[0]
    sizes = [
        [
            n["model"],
            f"{n['params_total'] / 1e6:.1f} M",
            f"{n['params_active'] / 1e6:.1f} M",
            f"{n['tokens'] / 1e6:.2f} M",
            human_time(n["seconds"]),
            f"{n['tokens_per_s']:,.0f}",
            *(f"{n['state_bytes'][str(c)] / 1024:,.0f} KiB" for c in CONTEXTS),
        ]
        for n in numbers
    ]
    lines = [
        "# Real text on two cores",
        "",
        "Made by `python bench/real_text.py` with the files of the recipes "
        "[korean-small](../../recipes/korean-small.yaml) and "
        "[mamba2-ko](../../recipes/mamba2-ko.yaml) below `$YAONGI_DATA`. "
        f"Hardware: {first['hardware'].get('cpu', '?')}, {first['hardware'].get('threads', '?')} "
        f"threads; torch {first['versions'].get('torch', '?')}. "
        "Numbers: [real-text.json](real-text.json). The curves measure the first "
        f"{PROBE_TOKENS // 1000}K held-out tokens of a domain, the table below more of them. "
        "26m-mamba reads Korean alone, for ten minutes: its vocabulary and its held-out "
        "documents are not those of the others.",
        "",
        "![training loss and held-out bits per byte](real-text.png)",
        "",
        "## Speed and size",
        "",
        grid(
            ["model", "parameters", "active", "tokens", "pretraining", "tokens/s (median)",
             *(f"decode state at {n:,}" for n in CONTEXTS)],
            sizes,
        ),
        "",
        "The decode state is what one conversation keeps in memory (keys and values, convolution "
        "windows, scan states): it grows with the context in attention and stays in Mamba-2.",
        "",
        "## Held-out bits per byte, after pretraining",
        "",
        bpb_table(numbers),
        "",
        "`xz -9` was primed with 10 MB of the same domain's training text. Intervals are in each "
        "run's `base-report/report.json`.",
        "",
        "## Samples, unedited",
    ]  # fmt: skip
    for run in runs:
        lines += ["", f"### {run.name}", "", *samples(run)]
    return "\n".join(lines) + "\n"


def bpb_table(numbers: Sequence[dict[str, Any]]) -> str:
    """A row per domain; xz beside each model, as the domain of two recipes may differ."""
    names = sorted({name for n in numbers for name in n["bpb"]})
    rows = []
    for name in names:
        cells = [name.split("/")[1]]
        for n in numbers:
            value, xz = n["bpb"].get(name), n["xz"].get(name)
            cells.append("–" if value is None else f"{value:.3f} (xz {xz:.3f})")
        rows.append(cells)
    return grid(["domain", *(n["model"] for n in numbers)], rows)


def samples(run: Run) -> list[str]:
    """What the base model continues and the chat model answers; temperature 0.7, seed 0."""
    base, chat = yaongi.load(run.road.base.path), yaongi.load(run.road.sft.path)
    prompts = PROMPTS if len(run.road.recipe.mix) > 1 else PROMPTS[:3]
    lines = []
    for prompt in prompts:
        lines += quoted(prompt, base.generate(prompt, max_tokens=60, **SAMPLED))
    for question in QUESTIONS:
        answer = chat.chat([{"role": "user", "content": question}], max_tokens=60, **SAMPLED)
        lines += quoted(f"(chat) {question}", answer)
    return lines


def quoted(prompt: str, text: str) -> list[str]:
    """One sample; indented, so that nothing in it is read as Markdown."""
    return [f"**{prompt}**", "", *(f"    {line}" for line in text.splitlines() or [""]), ""]


if __name__ == "__main__":
    main()
