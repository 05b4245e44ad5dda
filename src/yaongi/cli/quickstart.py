"""``yaongi quickstart``: the whole road on the embedded corpus, ending with a model to chat with.

A recipe like any other, scaled to the minutes given: text grows with them, and training gets what
the other stages leave.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import click

import yaongi
from yaongi.cli.console import emit
from yaongi.cli.options import json_option, next_command, seed_option
from yaongi.cli.recipe import Recipe, make_recipe
from yaongi.cli.road import Road
from yaongi.core.i18n import translate as _
from yaongi.evals.report import for_terminal

PRETRAIN_SHARE, SFT_SHARE = 0.70, 0.12  # of the time; the rest is text, shards and evaluation
README_TOKENS = 3_900 * 7 * 60
"""What pretraining read in the run whose results the README shows: tokens/s, for seven minutes."""
BYTES_PER_MINUTE = {  # of text: more than training reads in that time, so little is seen twice
    "story": 500_000,
    "math": 600_000,
    "code": 350_000,
    "qa": 450_000,
    "chat": 350_000,
}
MIX = {"story": 0.15, "math": 0.30, "code": 0.20, "qa": 0.20, "chat": 0.15}
QUESTIONS = (
    "안녕? 너는 누구야?",
    "47 더하기 25는 얼마야?",
    "짧은 이야기를 하나 들려줘.",
)


def recipe(minutes: float, seed: int = 0) -> Recipe:
    """The quickstart's recipe for a budget of ``minutes`` on two CPU cores."""
    scale = max(1.0, min(minutes, 60))
    sizes = {name: round(rate * scale) for name, rate in BYTES_PER_MINUTE.items()}
    tuning = {name: size // 4 for name, size in sizes.items()} | {"story": 0}
    training: dict[str, Any] = {"batch_tokens": 2048, "seq_len": 256, "save_s": "60s"}
    return make_recipe(
        {
            "name": "quickstart",
            "seed": seed,
            "data": {"sources": [{"kind": "synthetic", **sizes}]},
            "mix": MIX,
            # single digits: its sums are learnt column by column
            "tokenizer": {"vocab_size": 8192, "sample_bytes": "6MB", "regex": "qwen2"},
            "pretrain": {
                "model": "5m",
                "optimizer": {"kind": "muon", "lr": 3e-3},
                "schedule": {"kind": "wsd", "decay_fraction": 0.4},
                "minutes": minutes * PRETRAIN_SHARE,
                **training,
            },
            "sft": {
                "data": {"sources": [{"kind": "synthetic", **tuning}]},
                "train": {
                    "optimizer": {"kind": "muon", "lr": 1e-3},
                    "minutes": minutes * SFT_SHARE,
                    **training,
                },
            },
            "eval": {
                "tasks": [
                    {"kind": "synthetic", "n": 100},
                    {"kind": "bpb", "max_tokens": 20_000, "seq_len": 256},
                ]
            },
        }
    )


@click.command(
    help=_("Make a small Korean chat model from nothing: text, tokenizer, pretraining, "
           "fine-tuning, evaluation. Run it again to continue where it stopped."),
    epilog=_("Example: yaongi quickstart --minutes 10 --out runs/quickstart"),
)  # fmt: skip
@click.option("--minutes", type=click.FloatRange(0.5), default=10.0, show_default=True,
              help=_("Time for all the work, on two CPU cores."))  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/quickstart"),
              show_default=True, help=_("Where everything goes."))  # fmt: skip
@seed_option
@json_option
def command(minutes: float, out: Path, seed: int, as_json: bool) -> None:
    """Run the road, then show what came of it."""
    road = Road(recipe(minutes, seed), out)
    report = road.report
    model = yaongi.load(road.sft.path)
    answers = {q: model.chat([{"role": "user", "content": q}], max_tokens=120) for q in QUESTIONS}
    shown = "\n\n".join(f"> {question}\n{answer}" for question, answer in answers.items())
    result = {
        "model": str(road.sft.path),
        "metrics": report.manifest.metrics,
        "report": json.loads((report.path / "report.json").read_text(encoding="utf-8")),
        "answers": answers,
    }
    read = advice(road.base.manifest.counts["tokens"], minutes)
    text = [for_terminal(report.path), shown, read, next_command(road.sft.path, chat=True)]
    emit(result, "\n\n".join(filter(None, text)), as_json)


def advice(tokens: int, minutes: float) -> str:
    """How many minutes this machine needs for what the README shows; "" where it came near."""
    if 2 * tokens > README_TOKENS:
        return ""
    return _(
        "The model has read {tokens:,} tokens; the results in the README took {wanted:,}. This "
        "machine reads as many with about --minutes {minutes:.0f} and another --out.",
        tokens=tokens,
        wanted=README_TOKENS,
        minutes=math.ceil(minutes * README_TOKENS / max(1, tokens)),
    )
