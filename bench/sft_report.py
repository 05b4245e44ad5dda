"""The page of ``bench/sft.py``: means with 95 % intervals, differences seed by seed, dialogues."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ablate_report import Interval, interval

from yaongi.evals.report import grid

NAMES = {
    "sft": "fine-tuning: template, loss on answers",
    "template": "template, loss on all tokens",
    "text": "control: pages of text, loss on all tokens",
}
DOMAINS = ("small talk", "instructions", "all")


def page(study: Mapping[str, Any]) -> str:
    """The whole page in Markdown."""
    runs, before = study["runs"], study["before"]["sft"]["pages"]
    forgot = ", ".join(f"{arm} {_mean(runs[arm], 'pages')}" for arm in runs)
    parts = [
        "# Fine-tuning against continued pretraining",
        _setting(study),
        _table(study),
        _verdict(runs),
        "## What it forgot",
        "Bits per byte of held-out pages, of which no arm read any more "
        f"(before: {before:.3f}): {forgot}.",
        "## Dialogues",
        "The first held-out questions, unedited, greedy, at most 40 tokens; the control continues "
        "the question and an empty line.",
        _dialogues(study["dialogues"]),
    ]
    return "\n\n".join(parts) + "\n"


def _setting(study: Mapping[str, Any]) -> str:
    cpu_s = sum(run["cpu_s"] for of_arm in study["runs"].values() for run in of_arm)
    held = study["held_out"]
    return (
        f"`{study['command']}`: a model of {study['parameters'] / 1e6:.1f} M parameters read "
        f"{study['first_tokens']:,} tokens of Korean pages, then {study['tokens']:,} tokens of "
        "conversations (songys small talk, MIT; rmjudge instructions, MIT) in one of three ways, "
        f"three seeds each, {cpu_s / 60:.0f} CPU-minutes of fine-tuning in all. Judged on "
        f"{held['small talk']} and {held['instructions']} held-out conversations, none of whose "
        "prompts is trained on: bits per byte of the answers, in the format that the arm learnt. "
        f"{study['hardware']}."
    )


def _table(study: Mapping[str, Any]) -> str:
    rows = [
        [f"before, as {kind}", *(f"{scores[d]:.3f}" for d in DOMAINS), "0", "", ""]
        for kind, scores in (
            ("conversations", study["before"]["sft"]),
            ("text", study["before"]["text"]),
        )
    ]
    for arm, of_arm in study["runs"].items():
        packing, seconds = of_arm[0]["packing"], [run["cpu_s"] for run in of_arm]
        rows.append([
            NAMES[arm],
            *(_mean(of_arm, domain) for domain in DOMAINS),
            f"{of_arm[0]['steps']}",
            f"{packing['learnt'] / packing['rows']:.0f}",
            f"{interval(seconds).mean:.0f}",
        ])  # fmt: skip
    head = ["arm", *DOMAINS, "steps", "tokens learnt per row of 512", "CPU-seconds"]
    return grid(head, rows)


def _mean(of_arm: list[dict[str, Any]], name: str) -> str:
    return str(interval([run[name] for run in of_arm]))


def difference(runs: Mapping[str, Any], arm: str, other: str, domain: str) -> Interval:
    """``arm`` minus ``other``, seed by seed."""
    pairs = zip(runs[arm], runs[other], strict=True)
    return interval([mine[domain] - theirs[domain] for mine, theirs in pairs])


def _verdict(runs: Mapping[str, Any]) -> str:
    lines = ["Differences of bits per byte, seed by seed (below 0: fine-tuning is better):", ""]
    for other in (name for name in runs if name != "sft"):
        for domain in DOMAINS:
            found = difference(runs, "sft", other, domain)
            clear = "clear of zero" if found.low > 0 or found.high < 0 else "not clear of zero"
            lines.append(f"- {domain}, against `{other}`: {found}, {clear}")
    return "\n".join(lines)


def _dialogues(rows: list[dict[str, str]]) -> str:
    def cell(text: str) -> str:
        return text.strip().replace("\n", " ⏎ ").replace("|", "\\|") or "(nothing)"

    names = ("question", "reference", "sft", "text")
    return grid(names, [[cell(row[name]) for name in names] for row in rows])
