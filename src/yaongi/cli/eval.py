"""``yaongi eval``: score a model on tasks and write a report."""

from __future__ import annotations

from pathlib import Path

import click

from yaongi.cli.console import emit, stage
from yaongi.cli.options import json_option, seed_option
from yaongi.cli.road import load_whole
from yaongi.core.artifact import MANIFEST, Ancestor, Artifact, open_artifact
from yaongi.core.config import parse
from yaongi.core.i18n import translate as _
from yaongi.data.shards import ShardsConfig, build_shards
from yaongi.evals.report import for_terminal
from yaongi.evals.run import EvalConfig, evaluate
from yaongi.model.quantized_io import RUNNABLE_KINDS


@click.command(
    help=_("Score a model: bits per byte of held-out text, exact match, and other tasks."),
    epilog=_("Example: yaongi eval runs/quickstart/5m/sft --tasks bpb,synthetic --out runs/report"),
)
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--tasks", default="bpb", show_default=True, help=_("Task names, comma between."))
@click.option("--input", "inputs", multiple=True, type=click.Path(path_type=Path),
              help=_("Artifact a task needs; default: what the model was made from."))  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), required=True, help=_("The report."))
@seed_option
@json_option
def command(
    model: Path, tasks: str, inputs: tuple[Path, ...], out: Path, seed: int, as_json: bool
) -> None:
    """Make the report."""
    cfg = parse(EvalConfig, {"tasks": [t.strip() for t in tasks.split(",") if t.strip()]})
    artifact = open_artifact(model, RUNNABLE_KINDS)
    given = [open_artifact(path) for path in inputs] or found_ancestors(artifact)
    whole = load_whole(model)
    if any(task.kind == "bpb" for task in cfg.tasks):
        given += _heldout_shards(artifact, given, out)
    with stage(_("evaluation")) as report:
        made = evaluate(
            *whole,
            cfg,
            out,
            inputs=[artifact, *given],
            seed=seed,
            on_progress=report,
        )
    result = {"report": str(made.path), "metrics": made.manifest.metrics}
    emit(result, for_terminal(made.path), as_json)


def _heldout_shards(model: Artifact, given: list[Artifact], out: Path) -> list[Artifact]:
    """Where there is a corpus only, its held-out text in the tokens of ``model``, beside ``out``.

    So models with other tokenizers, imported ones above all, are measured on the same text.
    """
    kinds = {artifact.manifest.kind: artifact for artifact in given}
    if "shards" in kinds or "corpus" not in kinds:
        return []
    with stage(_("shards")) as report:
        return [
            build_shards(
                ShardsConfig(),
                kinds["corpus"],
                model,
                out.with_name(f"{out.name}-shards"),
                splits=("val",),
                on_progress=report,
            )
        ]


def found_ancestors(model: Artifact) -> list[Artifact]:
    """The shards and corpus of pretraining that are still where they were, unchanged.

    Those furthest up the ancestry: a chat model's nearest ones are its conversations.
    """
    found: dict[str, Artifact] = {}
    for node in model.as_ancestor().walk():
        if node.kind in ("shards", "corpus"):
            found |= unchanged(node)
    return list(found.values())


def unchanged(node: Ancestor) -> dict[str, Artifact]:
    """The artifact of an ancestor by its kind, if it still is where and what it was."""
    if not (Path(node.path) / MANIFEST).is_file():
        return {}
    artifact = open_artifact(node.path, node.kind)
    return {node.kind: artifact} if artifact.hash == node.hash else {}
