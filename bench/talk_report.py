"""The page of ``bench/talk.py``: what each stage gained and lost, with unedited dialogues."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from yaongi.core.intervals import wilson
from yaongi.core.units import human_time
from yaongi.evals.report import grid

STAGES = {
    "base": "pretrained",
    "sft": "word problems and code",
    "sft-2": "conversations",
    "dpo": "preferences",
}
LANGUAGES = {"pref-ko": "Korean", "pref-en": "English"}
INTRO = """\
# Talking: what two pretrained models gain and lose

Made by `python bench/talk.py` from [recipes/talk-small.yaml](../../recipes/talk-small.yaml) and \
the pretrained models of [real-text.md](real-text.md) (1.6 million tokens each). Hardware: {cpu}, \
{threads} thread(s), shared with other work; torch {torch}. One seed. Numbers: \
[bench/results/talk.json](../../bench/results/talk.json).

Every stage starts from the one above it. Word problems: GSM8K and Korean ones; code: GPTeacher; \
conversations: small talk, instructions and tool calls; preferences: Korean and English pairs, \
DPO with β 0.1. All of it may be shared (tiers A and B: permissive, attribution, share-alike). \
What is held out is so for these stages; of the word problems pretraining had read about a tenth \
as text, held-out ones among them."""


def page(found: Mapping[str, Any]) -> str:
    """The whole page as Markdown."""
    models = found["models"]
    intro = INTRO.format(
        cpu=found["hardware"].get("cpu", "?"),
        threads=found["threads"],
        torch=found["versions"].get("torch", "?"),
    )
    parts = [intro, "## What it took", _cost(models)]
    for name, model in models.items():
        parts += [f"## {name}", *_of_model(model)]
    return "\n\n".join(parts) + "\n"


def _cost(models: Mapping[str, Any]) -> str:
    rows = [
        [
            f"`{name}`",
            f"{m['params_total'] / 1e6:.1f} M",
            f"{m['params_active'] / 1e6:.1f} M",
            *(_took(m["trained"][stage]) for stage in list(STAGES)[1:]),
        ]
        for name, m in models.items()
    ]
    return grid(["model", "parameters", "active", *list(STAGES.values())[1:]], rows)


def _took(trained: Mapping[str, Any]) -> str:
    return f"{trained['tokens'] / 1e3:.0f} K tokens, {human_time(trained['seconds'])}"


def _of_model(model: Mapping[str, Any]) -> list[str]:
    stages = model["stages"]
    return [
        "**Held-out answers, bits per byte** (only what the assistant says is counted; lower is "
        "better)",
        _by_stage(stages, lambda s: s["answers"]),
        "**What was lost: held-out pages of pretraining, bits per byte**",
        _by_stage(stages, lambda s: s["pages"]),
        "**Held-out pairs: whose chosen answer is the likelier one**, per token and summed, with "
        "95 % intervals (Wilson); and how much likelier than before the chosen one became than "
        "the rejected one, in how many pairs (summed: the accuracy of DPO's own reward, against "
        "the model it started from)",
        grid(["pairs", "", *STAGES.values()], _preferences(stages)),
        "**Held-out word problems with the right number**, greedily",
        grid(["", *STAGES.values()], _problems(stages)),
        "**Dialogues**, unedited, at most 60 tokens, at temperature 0.7 with top-p 0.9 and "
        "greedily; four questions written beforehand, and the first held out of each set",
        *_dialogues(model["dialogues"]),
    ]


def _by_stage(
    stages: Mapping[str, Any], choose: Callable[[Mapping[str, Any]], Mapping[str, float]]
) -> str:
    found = {stage: choose(stages[stage]) for stage in STAGES}
    rows = [[d, *(f"{found[stage][d]:.3f}" for stage in STAGES)] for d in found["base"]]
    return grid(["", *STAGES.values()], rows)


def _preferences(stages: Mapping[str, Any]) -> list[list[str]]:
    rows = []
    for domain, language in LANGUAGES.items():
        pairs = {stage: stages[stage]["preferences"][domain] for stage in STAGES}
        for label, end in (("per token", "_mean"), ("summed", "")):
            margins = {
                stage: np.subtract(p[f"chosen{end}"], p[f"rejected{end}"])
                for stage, p in pairs.items()
            }
            who = f"{language} ({pairs['base']['pairs']})"
            rows.append([who, label, *(_share(margins[stage]) for stage in STAGES)])
            gained = _share(margins["dpo"] - margins["sft-2"])
            rows.append([who, f"gained, {label}", "", "", "", gained])
    return rows


def _share(margins: np.ndarray) -> str:
    right, n = int((margins > 0).sum()), len(margins)
    low, high = wilson(right, n)
    return f"{right / n:.0%} ({100 * low:.0f}–{100 * high:.0f})"


def _problems(stages: Mapping[str, Any]) -> list[list[str]]:
    rows = []
    for domain in stages["base"]["problems"]:
        of_stage = [stages[stage]["problems"][domain] for stage in STAGES]
        cells = [
            f"{p['right']} of {p['asked']} ({100 * p['low']:.0f}–{100 * p['high']:.0f} %)"
            for p in of_stage
        ]
        rows.append([domain, *cells])
    return rows


def _dialogues(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Indented, so that nothing in them is read as Markdown."""
    parts = []
    for row in rows:
        said = {"question": row["question"], "reference": row["reference"],
                "conversations": row["sft-2"], "preferences": row["dpo"],
                "preferences, greedy": row["dpo, greedy"]}  # fmt: skip
        lines = [f"    [{name}] {_indented(text)}" for name, text in said.items() if text]
        parts.append("\n".join(lines))
    return [part for row in zip(_titles(rows), parts, strict=True) for part in row if part]


def _titles(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """The set's name above its first dialogue."""
    before = [""] + [row["from"] for row in rows]
    return [
        "" if row["from"] == last else f"*{row['from']}*"
        for row, last in zip(rows, before, strict=False)
    ]


def _indented(text: str) -> str:
    return text.strip().replace("\n", "\n    ")
