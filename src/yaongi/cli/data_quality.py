"""``yaongi data quality``: train a quality model from examples of good and of bad texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from yaongi.cli.console import emit, stage
from yaongi.cli.options import json_option, seed_option
from yaongi.core.config import parse
from yaongi.core.i18n import translate as _
from yaongi.core.seeds import Seed
from yaongi.data.train_quality import QualityConfig, train_quality


@click.command(
    help=_("Train a quality model from examples of good and of bad texts, for the step 'quality'."),
    epilog=_(
        "Example: yaongi data quality --good books/ --bad comments.jsonl.zst --out runs/quality"
    ),
)
@click.option("--good", multiple=True, required=True, help=_("Texts to prefer; repeatable."))
@click.option("--bad", multiple=True, required=True, help=_("Texts to avoid; repeatable."))
@click.option("--out", type=click.Path(path_type=Path), required=True, help=_("The model."))
@seed_option
@json_option
def command(
    good: tuple[str, ...], bad: tuple[str, ...], out: Path, seed: int, as_json: bool
) -> None:
    """Make the model."""
    cfg = parse(QualityConfig, {"good": list(good), "bad": list(bad)})
    with stage(_("quality model")) as report:
        made = train_quality(cfg, out, Seed(seed), on_progress=report)
    metrics = made.manifest.metrics
    text = f"{_table(metrics)}\n{_next(made.path)}"
    emit({"path": str(made.path), "metrics": metrics}, text, as_json)


def _next(model: Path) -> str:
    """How a recipe takes the model."""
    where = json.dumps(str(model.resolve()), ensure_ascii=False)
    setting = f"filters: [default, {{kind: quality, model: {where}, min: 0.3}}]"
    meaning = _("(drops what scores less than min; without min it only notes the score)")
    return _("Use it in a recipe: {setting}", setting=f"{setting} {meaning}")


def _table(metrics: dict[str, Any]) -> str:
    low, high = metrics["auc_95"]
    worst, best = metrics["accuracy_95"]
    lines = [
        f"AUC {metrics['auc']:.3f} ({low:.3f}–{high:.3f}), "
        f"{_('accuracy')} {metrics['accuracy']:.3f} ({worst:.3f}–{best:.3f}), "
        f"{_('calibration error')} {metrics['calibration_error']:.3f}"
    ]
    for name, source in metrics["by_source"].items():
        label = _("good") if source["good"] else _("bad")
        lines.append(f"{source['mean_score']:.2f} {label} {name} ({source['documents']})")
    return "\n".join(lines)
