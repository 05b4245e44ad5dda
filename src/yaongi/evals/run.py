"""The evaluation stage: tasks on a model, a ``report`` artifact out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from yaongi.core.artifact import Artifact, draft, existing
from yaongi.core.config import Config
from yaongi.core.files import write_bytes, write_json
from yaongi.core.seeds import Seed
from yaongi.evals.report import as_json, markdown
from yaongi.evals.task import Progress, Score, Subject, TaskChoice, silent
from yaongi.evals.tasks.bpb import BitsPerByte, bpb_probe, bpb_probes
from yaongi.model.lm import LM
from yaongi.model.quantized_io import RUNNABLE_KINDS
from yaongi.text.foreign import AnyTokenizer

__all__ = ["EvalConfig", "bpb_probe", "bpb_probes", "evaluate", "measure"]

KIND = "report"


class EvalConfig(Config):
    """What to measure."""

    tasks: tuple[TaskChoice, ...] = Field(default=(BitsPerByte(),), min_length=1)


def evaluate(
    model: LM,
    tokenizer: AnyTokenizer,
    cfg: EvalConfig,
    out: str | Path,
    *,
    inputs: Sequence[Artifact] = (),
    seed: int = 0,
    on_progress: Progress | None = None,
) -> Artifact:
    """Measure ``model`` and write ``report.json`` and ``report.md``.

    Args:
        inputs: the model's own artifact, and those the tasks need (``shards`` for bits per
            byte); they become the parents.
        on_progress: called with the share of tasks done and what is being done.
    Returns: an artifact of kind ``report``; its metrics are the scores by name.
    Raises:
        ConfigError, DataError: from a task, before anything is written.
        ArtifactError: ``out`` holds something else.
    """
    config = cfg.as_json()
    known = any(a.manifest.kind in RUNNABLE_KINDS for a in inputs)  # else: which model was it?
    if known and (done := existing(out, KIND, config=config, parents=inputs, seed=seed)):
        return done
    with draft(out, KIND, config=config, parents=inputs, seed=seed) as work:
        scores = measure(model, tokenizer, cfg, inputs=inputs, seed=seed, on_progress=on_progress)
        write_json(work.path / "report.json", as_json(scores))
        write_bytes(work.path / "report.md", markdown(scores, work.out.name).encode())
        return work.finish(metrics={score.name: score.value for score in scores})


def measure(
    model: LM,
    tokenizer: AnyTokenizer,
    cfg: EvalConfig,
    *,
    inputs: Sequence[Artifact] = (),
    seed: int = 0,
    on_progress: Progress | None = None,
) -> list[Score]:
    """The scores of every task of ``cfg``; see ``evaluate``."""
    found = {a.manifest.kind: a for a in inputs}
    scores: list[Score] = []
    for number, task in enumerate(cfg.tasks):
        told = _of_all(on_progress or silent, task.kind, number, len(cfg.tasks))
        told(0.0, "")
        scores += task.run(Subject(model, tokenizer, found, Seed(seed), told))
    return scores


def _of_all(told: Progress, kind: str, number: int, tasks: int) -> Progress:
    """Progress of one task as that of them all."""

    def report(share: float | None, note: str) -> None:
        told((number + (share or 0.0)) / tasks, f"{kind} {note}".strip())

    return report
