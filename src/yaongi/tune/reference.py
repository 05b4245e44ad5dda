"""The reference of DPO: what the model said before it was tuned, from a file or asked each time.

The reference never changes, so its log-probabilities of every answer are computed once and kept
beside the run (``precomputed``); asking the frozen model in every step (``live``) needs a second
model in memory and a forward pass more, and is the check of the first.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from yaongi.core.artifact import Artifact
from yaongi.core.files import sha256_json, write_with
from yaongi.data.pair_batches import PackedPairs
from yaongi.model.io import read_tensors
from yaongi.model.lm import LM
from yaongi.ops.cross_entropy.log_probs import linear_log_probs
from yaongi.train.objectives import MicroBatch, to_device
from yaongi.train.precision import Precision
from yaongi.tune.pairs import Answers, answers_of

_torch_files: Any = safetensors.torch  # its functions are only partly typed

Reference = Callable[[MicroBatch, Answers], Tensor]
"""A micro-batch and its answers -> (2n,) summed log-probabilities of the answers."""


def answer_log_probs(model: LM, hidden: Tensor, batch: MicroBatch, answers: Answers) -> Tensor:
    """(2n,) float32: log-probabilities of the answers, summed over their tokens.

    Args:
        hidden: (B,T,D), what ``model`` made of the batch.
    """
    at = answers.rows, answers.places
    tokens = linear_log_probs(hidden[at], model.used_head, batch.targets[at])
    return tokens.new_zeros(len(answers.lengths)).index_add(0, answers.answer, tokens)


def no_reference(batch: MicroBatch, answers: Answers) -> Tensor:
    """Zeros, for losses that look at none."""
    return torch.zeros(len(answers.lengths), device=batch.ids.device)


def live_reference(model: LM) -> Reference:
    """Ask a frozen model anew for each batch."""

    @torch.no_grad()
    def ask(batch: MicroBatch, answers: Answers) -> Tensor:
        hidden = model(batch.ids, doc_ids=batch.doc_ids).hidden
        return answer_log_probs(model, hidden, batch, answers)

    return ask


def table_reference(table: Tensor) -> Reference:
    """Look up what was computed: ``table`` (pairs, 2) float32."""

    def look_up(batch: MicroBatch, answers: Answers) -> Tensor:
        return table[answers.pairs.cpu()].flatten().to(batch.ids.device)

    return look_up


def precomputed_reference(
    folder: Path,
    model: LM,
    precision: Precision,
    pairs: PackedPairs,
    *,
    made_from: list[Artifact],
    reads: dict[str, Any],
    on_progress: Callable[[float], None] = lambda share: None,
) -> Reference:
    """``table_reference`` of a file below ``folder``, written first unless it is there.

    The file is named by what it depends on, so another model, other pairs or another cut never
    meet it.

    Args:
        model: the reference, on the device where it is to run.
        made_from: the artifacts of model and pairs.
        reads: the split and the settings that choose and cut pairs.
    """
    made = [a.hash for a in made_from], reads, precision.name
    path = folder / f"reference-{sha256_json(made)[:16]}.safetensors"
    if not path.is_file():
        table = log_prob_table(model, precision, pairs, on_progress)
        folder.mkdir(exist_ok=True)
        write_with(path, lambda temporary: _torch_files.save_file({"log_probs": table}, temporary))
    return table_reference(read_tensors(path)["log_probs"])


@torch.no_grad()
def log_prob_table(
    model: LM,
    precision: Precision,
    pairs: PackedPairs,
    on_progress: Callable[[float], None] = lambda share: None,
) -> Tensor:
    """(pairs, 2) float32 on the CPU: what ``model`` gives every chosen and rejected answer."""
    table = torch.full((len(pairs), 2), torch.nan)
    ask = live_reference(model.eval())
    for done, batch in enumerate(pairs.in_order()):
        on_progress(done * pairs.batch_rows / pairs.rows_per_epoch)
        part = to_device(batch, 0, len(batch.ids), model.device)
        answers = answers_of(part)
        with precision.autocast():
            found = ask(part, answers)
        table[answers.pairs.cpu()] = found.cpu().reshape(-1, 2)
    return table
