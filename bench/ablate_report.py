"""Tables and curves of the studies: means over seeds with 95 % intervals, differences by seed.

Runs of one seed see the same text in the same order, so differences between arms are taken seed by
seed (a paired t interval), which is narrower than the intervals of the arms.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
from ablate_plan import HALF, SEEDS, Arm, Look, Result, Run, Study, best_rate, repeats, sweep

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from yaongi.evals.report import grid

STUDENT_T95 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776}
"""By degrees of freedom, both sides together 5 %."""


class Interval(NamedTuple):
    """A mean and where the true one lies with 95 % confidence."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        if math.isinf(self.high):
            return f"{self.mean:.3f}"
        return f"{self.mean:.3f} ({self.low:.3f} – {self.high:.3f})"


def interval(values: Sequence[float]) -> Interval:
    """Student's interval of the mean; of a single value nothing is known around it."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return Interval(mean, -math.inf, math.inf)
    half = STUDENT_T95[len(values) - 1] * statistics.stdev(values) / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half)


def markdown(studies: Mapping[str, Study], look: Look) -> str:
    """All tables, with what is still missing."""
    parts = ["# Ablations"]
    for name, study in studies.items():
        parts += [f"## {name}", study.question, table(study, look)]
        parts += [line for label in study.halves if (line := verdict(study, label, look))]
        parts.append(f"![{name}]({name}.png)")
    return "\n\n".join(parts) + "\n"


def table(study: Study, look: Look) -> str:
    """One row per arm."""
    base = study.baseline
    head = ["", "parameters (active)", "lr", "val_bpb", f"minus {base}", "s per step",
            "optimizer MB"]  # fmt: skip
    if study.halves:
        head += [f"in {base}'s time", "half as long"]
    return grid(head, [_row(study, label, look) for label in study.arms])


def _row(study: Study, label: str, look: Look) -> list[str]:
    arm = study.arms[label]
    lr = best_rate(arm, look)
    found = [] if lr is None else finished(repeats(arm, lr), look)
    if not found:
        done = finished(sweep(arm, look), look)
        return [label, "", f"sweep: {len(done)} of {len(sweep(arm, look))}", *[""] * 4] + (
            ["", ""] if study.halves else []
        )
    rates = [run.lr for run in sweep(arm, look)]
    edge = " (edge of the sweep)" if lr in (min(rates), max(rates)) else ""
    row = [
        label,
        f"{found[0].params_total / 1e6:.2f} M ({found[0].params_active / 1e6:.2f} M)",
        f"{lr:g}{edge}",
        _cell(scores(arm, look)),
        "" if label == study.baseline else _cell(differences(study, label, look)),
        f"{_step_s(found):.2f}",
        f"{found[0].optimizer_bytes / 1e6:.1f}",
    ]
    if study.halves:
        halves = label in study.halves
        row += [_cell(same_time(study, label, look)) if halves else "", ""]
        row[-1] = _cell(scores(arm, look, HALF)) if halves else ""
    return row


def verdict(study: Study, label: str, look: Look) -> str:
    """Whether half the schedule reaches the baseline's whole one; empty while unknown."""
    gaps = differences(study, label, look, HALF)
    if len(gaps) < 2:
        return ""
    gap = interval(list(gaps.values()))
    says = "is not decided by these seeds"
    if gap.high < 0:
        says = "holds: it ends lower"
    elif gap.low > 0:
        says = "does not hold: it ends higher"
    return f"{label} half as long reaches {study.baseline}'s whole run: {says}, by {gap}."


def finished(runs: Sequence[Run], look: Look) -> list[Result]:
    """The results there are."""
    return [result for run in runs if (result := look(run)) is not None]


def scores(arm: Arm, look: Look, share: float = 1.0) -> dict[int, float]:
    """Seed -> final val_bpb at the best learning rate, of finished runs that did not diverge."""
    lr = best_rate(arm, look)
    if lr is None:
        return {}
    found = {run.seed: look(run) for run in repeats(arm, lr, share)}
    return {s: r.val_bpb for s, r in found.items() if r is not None and r.val_bpb is not None}


def differences(study: Study, label: str, look: Look, share: float = 1.0) -> dict[int, float]:
    """Seed -> val_bpb of an arm minus that of the baseline's whole run."""
    base = scores(study.arms[study.baseline], look)
    mine = scores(study.arms[label], look, share)
    return {seed: mine[seed] - base[seed] for seed in mine if seed in base}


def same_time(study: Study, label: str, look: Look) -> dict[int, float]:
    """Seed -> val_bpb of a whole schedule that takes as long as the baseline's.

    Read between the half and the full run, linear in the logarithm of the steps; an arm that is
    faster than the baseline is given no more than its full run.
    """
    arm, base = study.arms[label], study.arms[study.baseline]
    lr, base_lr = best_rate(arm, look), best_rate(base, look)
    if lr is None or base_lr is None:
        return {}
    full, half = scores(arm, look), scores(arm, look, HALF)
    runs, base_runs = finished(repeats(arm, lr), look), finished(repeats(base, base_lr), look)
    if not runs or not base_runs:
        return {}
    fits = base_runs[0].steps * _step_s(base_runs) / _step_s(runs) / runs[0].steps
    place = min(1.0, 1 + math.log(fits) / math.log(1 / HALF))
    return {s: half[s] + place * (full[s] - half[s]) for s in full if s in half}


def _step_s(found: Sequence[Result]) -> float:
    return statistics.median(result.step_s for result in found)


def _cell(values: Mapping[int, float]) -> str:
    if not values:
        return "–"
    text = str(interval(list(values.values())))
    return text if len(values) == len(SEEDS) else f"{text}, {len(values)} of {len(SEEDS)} seeds"


def figure(study: Study, look: Look, path: Path) -> None:
    """Curves over tokens and over time, with bands over the seeds, and the sweep; a PNG."""
    drawing, panels = plt.subplots(1, 3, figsize=(15, 4.5), layout="constrained")
    for number, (label, arm) in enumerate(study.arms.items()):
        colour = f"C{number}"
        _sweep_line(panels[2], arm, look, label, colour)
        if (lr := best_rate(arm, look)) is None:
            continue
        for share, style in ((1.0, "-"), (HALF, "--")):
            found = finished(repeats(arm, lr, share), look)
            found = [result for result in found if result.curve]
            if found:
                name = label if share == 1.0 else f"{label}, half as long"
                per_token = _step_s(found) * found[0].steps / found[0].tokens
                _band(panels[0], found, 1e-6, name, colour, style)
                _band(panels[1], found, per_token / 60, name, colour, style)
    names = ("tokens (millions)", "training time (minutes)", "learning rate (one seed)")
    for panel, name in zip(panels, names, strict=True):
        panel.set(xlabel=name, ylabel="val_bpb")
    panels[2].set_xscale("log", base=2)
    if panels[0].lines:
        panels[0].legend()
    drawing.suptitle(study.question)
    drawing.savefig(path, dpi=120)
    plt.close(drawing)


def _band(
    axes: Axes, found: Sequence[Result], scale: float, name: str, colour: str, style: str
) -> None:
    points = list(zip(*(result.curve for result in found), strict=True))
    places = [point[0][0] * scale for point in points]
    spans = [interval([score for _, score in point]) for point in points]
    axes.plot(places, [s.mean for s in spans], style, color=colour, label=name)
    if len(found) > 1:
        axes.fill_between(
            places, [s.low for s in spans], [s.high for s in spans], color=colour, alpha=0.15
        )


def _sweep_line(axes: Axes, arm: Arm, look: Look, label: str, colour: str) -> None:
    found = {run.lr: look(run) for run in sweep(arm, look)}
    there = {lr: r.val_bpb for lr, r in found.items() if r is not None and r.val_bpb is not None}
    rates = sorted(there)
    axes.plot(rates, [there[lr] for lr in rates], "o-", color=colour, label=label)
