"""The page of ``bench/adapt.py``: tables of means with 95 % intervals, and the curves.

Runs of one seed begin with the same model, so differences between arms are taken seed by seed.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib as mpl
from ablate_report import Interval, interval

mpl.use("Agg")
from matplotlib import pyplot as plt

from yaongi.evals.report import grid

DOMAINS = {"ko": "Korean", "en": "English", "code": "code"}


@dataclass(frozen=True, eq=False)
class Arm:
    """One way to adapt.

    Attributes:
        mix: domain -> share. train: settings of ``ContinueConfig`` that differ.
        longer: with the vocabulary that has Korean.
    """

    mix: Mapping[str, float]
    train: Mapping[str, Any] = field(default_factory=dict)
    longer: bool = False


@dataclass(frozen=True)
class Finished:
    """What is kept of a run.

    Attributes:
        curve: tokens, val_bpb/DOMAIN, share/DOMAIN at each evaluation, the first before any step.
        reached: share of the tokens by domain.
    """

    curve: list[dict[str, float]]
    decisions: list[dict[str, Any]]
    reached: dict[str, float]
    parameters: int
    tokens: int
    cpu_s: float


Done = Mapping[tuple[str, int], Finished]


def page(
    done: Done,
    arms: Mapping[str, Arm],
    dapt: str,
    vocabularies: Mapping[str, Mapping[str, Mapping[str, float]]],
    facts: Mapping[str, Any],
    picture: str,
) -> str:
    """The page as Markdown."""
    runs = [run for run in done if run[0] in arms]
    seeds = len({seed for _, seed in runs})
    tokens = next(done[run].tokens for run in runs)
    parts = [
        "# Adapting an English and code model to Korean",
        f"A model of {facts['parameters'] / 1e6:.1f} M parameters read "
        f"{_millions(facts['first_tokens'])} tokens of English and code, with a vocabulary of "
        f"{facts['vocab']:,} tokens of the same, so that Korean is bytes to it. It then read "
        f"{_millions(tokens)} more tokens in one of four ways. Bits per byte "
        "of held-out text, which do not depend on the vocabulary; means over "
        f"{seeds} seeds of first training and adaptation, with 95 % intervals (Student's t). "
        f"`python bench/adapt.py --threads 1`, {facts['hardware']}, {facts['cpu_minutes']:.0f} "
        "CPU-minutes in all.",
        "## The vocabulary",
        f"{facts['added']:,} Korean merges behind the old ones. Text without a new token keeps its "
        "ids; held-out text:",
        _words(vocabularies),
        "## What is learnt and what is forgotten",
        _scores(done, arms),
        _verdicts(done, arms),
        f"![bits per byte over the run, and the shares]({picture})",
        "Lines are means over seeds, bands 95 % intervals. The dotted line is 1 % above the bits "
        "per byte of the first model, which is what the controller tolerates (with the longer "
        "vocabulary it compares with the model as it has grown, before the first step).",
    ]
    laws = [result for (name, _), result in done.items() if name == dapt]
    if laws:
        parts += [
            "## Statutes: domain-adaptive pretraining",
            "The last model of the table, seed 0, on statutes (70 %) with the rest replayed under "
            f"the controller, for {_millions(laws[0].tokens)} tokens, as recipes/dapt-laws.yaml "
            "does; one run, so no interval.",
            _dapt(laws[0]),
        ]
    missing = [f"{name}, seed {s}" for name in arms for s in range(3) if (name, s) not in done]
    if missing:
        parts.append(f"**Not finished yet:** {'; '.join(missing)}.")
    return "\n\n".join(parts) + "\n"


def _millions(n: float) -> str:
    return f"{n / 1e6:.2f} M"


def _words(found: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    rows: list[list[str]] = []
    for domain, by in found.items():
        first, longer = by["first"], by["longer"]
        syllables = ["–", "–"]
        if domain in ("ko", "laws"):
            syllables = [f"{v['tokens_per_syllable']:.2f}" for v in (first, longer)]
        rows.append([domain, *syllables, *(f"{v['bytes_per_token']:.2f}" for v in (first, longer))])
    head = ["", "tokens per syllable before", "after", "bytes per token before", "after"]
    return grid(head, rows)


def _scores(done: Done, arms: Mapping[str, Arm]) -> str:
    start = _start(done, arms)
    before = {d: statistics.fmean(_at(start, d, 0)) for d in DOMAINS}
    rows = [["before", *(str(interval(_at(start, d, 0))) for d in DOMAINS), "", ""]]
    for name in arms:
        found = [result for (other, _), result in done.items() if other == name]
        if not found:
            continue
        forgotten = [
            f"{100 * (statistics.fmean(_at(found, d, -1)) / before[d] - 1):+.1f} %"
            for d in ("en", "code")
        ]
        old = [sum(r.reached.get(d, 0) for d in ("en", "code")) for r in found]
        ends = [str(interval(_at(found, d, -1))) for d in DOMAINS]
        rows.append([name, *ends, " · ".join(forgotten), f"{statistics.fmean(old):.0%}"])
    head = ["", *DOMAINS.values(), "English · code against before", "old text replayed"]
    return grid(head, rows)


def _start(done: Done, arms: Mapping[str, Arm]) -> list[Finished]:
    """A run per seed that begins with the first model as it is, not grown to more tokens."""
    by_seed = {s: result for (name, s), result in done.items()
               if name in arms and not arms[name].longer}  # fmt: skip
    return list(by_seed.values())


def _at(found: Sequence[Finished], domain: str, place: int) -> list[float]:
    return [result.curve[place][f"val_bpb/{domain}"] for result in found]


def _verdicts(done: Done, arms: Mapping[str, Arm]) -> str:
    """What differs, seed by seed."""
    names = list(arms)
    pairs = [(names[2], names[0]), (names[2], names[1]), (names[3], names[2])]
    lines = [
        f"- {one} minus {other}: "
        + "; ".join(f"{DOMAINS[d]} {gap}" for d in DOMAINS if (gap := _gap(done, one, other, d)))
        for one, other in pairs
    ]
    return "Differences in bits per byte, paired by seed:\n\n" + "\n".join(lines)


def _gap(done: Done, one: str, other: str, domain: str) -> Interval | None:
    key = f"val_bpb/{domain}"
    seeds = [s for name, s in done if name == one and (other, s) in done]
    gaps = [done[one, s].curve[-1][key] - done[other, s].curve[-1][key] for s in seeds]
    return interval(gaps) if gaps else None


def _dapt(result: Finished) -> str:
    first, last = result.curve[0], result.curve[-1]
    rows = [
        [d, f"{first[key]:.3f}", f"{last[key]:.3f}", f"{100 * (last[key] / first[key] - 1):+.1f} %",
         f"{result.reached.get(d, 0):.0%}"]
        for d in ("laws", *DOMAINS) for key in [f"val_bpb/{d}"]
    ]  # fmt: skip
    return grid(["", "before", "after", "change", "share of the tokens"], rows)


def figure(done: Done, arms: Mapping[str, Arm], path: Path) -> None:
    """A panel for each domain over tokens, and below the share of old text."""
    drawing, panels = plt.subplots(
        2, 3, figsize=(15, 7.5), layout="constrained", height_ratios=[2, 1], sharex=True
    )
    for number, name in enumerate(arms):
        found = [result for (other, _), result in done.items() if other == name]
        if not found:
            continue
        places = [point["tokens"] / 1e6 for point in found[0].curve]
        for (domain, title), column in zip(DOMAINS.items(), panels.T, strict=True):
            _band(column[0], places, found, f"val_bpb/{domain}", name, f"C{number}")
            _band(column[1], places, found, f"share/{domain}", name, f"C{number}")
            column[0].set(title=title, ylabel="held-out bits per byte")
            column[1].set(
                xlabel="tokens (millions)", ylabel="share of the tokens", ylim=(-0.02, 1.02)
            )
    for axes, domain in zip(panels[0][1:], ("en", "code"), strict=True):
        start = statistics.fmean(_at(_start(done, arms), domain, 0))
        axes.axhline(1.01 * start, color="black", linestyle=":", linewidth=1)
    panels[0][0].legend()
    drawing.savefig(path, dpi=110)
    plt.close(drawing)


def _band(
    axes: Any, places: list[float], found: Sequence[Finished], key: str, name: str, colour: str
) -> None:
    spans = [
        interval([result.curve[i].get(key, 0.0) for result in found]) for i in range(len(places))
    ]
    stairs = {"drawstyle": "steps-post"} if key.startswith("share/") else {}
    axes.plot(places, [s.mean for s in spans], color=colour, label=name, **stairs)
    if len(found) > 1:
        step = "post" if stairs else None
        axes.fill_between(
            places, [s.low for s in spans], [s.high for s in spans], color=colour, alpha=0.15,
            step=step,
        )  # fmt: skip
