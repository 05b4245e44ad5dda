"""What learning from preferences shares: settings, the data, validation on held-out pairs.

DPO (``dpo.py``) and the reward model (``reward.py``) read the same pairs and report the same
numbers; they differ in what they compute of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from pydantic import Field, model_validator
from torch import Tensor

from yaongi.core.artifact import Artifact
from yaongi.core.errors import ConfigError
from yaongi.core.i18n import translate
from yaongi.core.seeds import Seed
from yaongi.data.origin import check_tokenizer
from yaongi.data.pair_batches import PackedPairs
from yaongi.data.pairs import KIND
from yaongi.data.shards import Shards
from yaongi.infer.generate import check_fits
from yaongi.model.io import load_config
from yaongi.model.lm import LM
from yaongi.text.foreign import load_tokenizer
from yaongi.train.loop import Step
from yaongi.train.objectives import MicroBatch, Objective, to_device
from yaongi.train.optim import OptimizerChoice
from yaongi.train.optim.adamw import AdamW
from yaongi.train.run import Progress
from yaongi.tune.epochs import EpochsConfig

OnNote = Callable[[str], None]
"""Told in a few words, now and then, what is done outside of steps."""


def quiet(note: str) -> None:
    """Tells nobody."""


VALIDATION_ROWS = 4
"""Rows of held-out pairs in a forward pass."""


class PairConfig(EpochsConfig):
    """Settings of learning from pairs: those of every training, and how to read the pairs.

    Attributes:
        seq_len: the longest conversation; a row holds two of them, so batch_tokens must be a
            multiple of twice as much.
        truncate: cut longer conversations at their end instead of leaving their pairs out.
    """

    DEFAULT_EPOCHS = 1.0

    optimizer: OptimizerChoice = Field(default_factory=lambda: AdamW(lr=2e-5, weight_decay=0.0))

    @model_validator(mode="after")
    def _rows_hold_pairs(self) -> PairConfig:
        row = 2 * self.seq_len
        if self.batch_tokens % row:
            raise ConfigError(
                "batch_tokens ({batch}) must be a multiple of twice seq_len, since a row holds "
                "both answers: for example {near}",
                batch=self.batch_tokens,
                near=max(1, round(self.batch_tokens / row)) * row,
            )
        return self

    @property
    def batch_rows(self) -> int:
        """Rows of one optimizer step."""
        return self.batch_tokens // (2 * self.seq_len)


def open_pairs(
    cfg: PairConfig, model: Artifact, pairs: Artifact, seed: Seed
) -> tuple[PackedPairs, PackedPairs | None]:
    """The pairs to learn from, and those held out (None where there are none).

    Raises:
        ArtifactError: ``pairs`` is something else.
        DataError: they were made with another tokenizer than the model's, or none fits.
        TokenizerError: the model has no tokenizer, or one with more ids than itself.
    """
    check_tokenizer(model, pairs)
    check_fits(load_tokenizer(model.path), load_config(model.path).vocab_size)
    opened = Shards(pairs, KIND)
    read: dict[str, Any] = {"domains": cfg.domains, "truncate": cfg.truncate}
    train = PackedPairs(pairs, cfg.batch_rows, cfg.seq_len, seed, **read)
    held = [d for d in cfg.domains or opened.domains("val") if d in opened.domains("val")]
    if not held:
        return train, None
    read["domains"] = held
    return train, PackedPairs(pairs, VALIDATION_ROWS, cfg.seq_len, seed, split="val", **read)


class Answers(NamedTuple):
    """The answers of a micro-batch with n pairs: entries 2i and 2i + 1 are chosen and rejected.

    Attributes:
        rows, places: (M,) where in (B,T) each token of an answer is a target.
        answer: (M,) which answer it belongs to, 0 to 2n - 1.
        lengths: (2n,) tokens.
        pairs: (n,) numbers of the pairs, see ``data.pair_batches``.
        ends: (2n,) indices into rows and places of each answer's last token.
    """

    rows: Tensor
    places: Tensor
    answer: Tensor
    lengths: Tensor
    pairs: Tensor
    ends: Tensor


def answers_of(batch: MicroBatch) -> Answers:
    """Find the answers. They come in order, for a pair lies in one row, chosen before rejected."""
    rows, places = batch.weights.nonzero(as_tuple=True)
    docs = batch.doc_ids[rows, places].long()
    # the same pair may be in two rows of a batch, where there are few
    keys, answer, lengths = torch.unique_consecutive(
        torch.stack([rows, docs]), dim=1, return_inverse=True, return_counts=True
    )
    return Answers(rows, places, answer, lengths, keys[1, ::2] // 2, lengths.cumsum(0) - 1)


class Validation:
    """Measures a model on held-out pairs: the probe of a run, and the watch that logs the rest.

    Args:
        pairs: held out; None measures nothing.
        objective: of these pairs; its loss becomes ``val_loss`` and its weighted metrics are
            logged as ``val_NAME``.
        on_note: told how far a measurement is.
    """

    def __init__(
        self, pairs: PackedPairs | None, objective: Objective | None, on_note: OnNote = quiet
    ) -> None:
        self.pairs, self.objective, self.on_note = pairs, objective, on_note
        self.found: dict[str, float] = {}

    @property
    def probes(self) -> dict[str, Callable[[LM], float]]:
        """What ``run_training`` evaluates."""
        return {} if self.pairs is None else {"val_loss": self.measure}

    def measure(self, model: LM) -> float:
        """The mean loss over the held-out pairs; ``found`` gets the other means."""
        assert self.pairs is not None and self.objective is not None
        self.found = evaluate_pairs(
            model,
            self.pairs,
            self.objective,
            lambda share: self.on_note(translate("held-out pairs {share:.0%}", share=share)),
        )
        return self.found.pop("loss")

    def logged(self) -> dict[str, float]:
        """The last measurement, but for the loss."""
        return {f"val_{name}": value for name, value in self.found.items()}

    def begin(self, probed: Mapping[str, float]) -> Mapping[str, Any]:
        return self.logged()

    def observe(self, step: Step, probed: Mapping[str, float]) -> Mapping[str, Any]:
        return self.logged()

    def state(self) -> dict[str, Any]:
        return dict(self.found)

    def load(self, state: Mapping[str, Any]) -> None:
        self.found = dict(state)


@torch.no_grad()
def evaluate_pairs(
    model: LM,
    pairs: PackedPairs,
    objective: Objective,
    on_progress: Callable[[float], None] = lambda share: None,
) -> dict[str, float]:
    """Mean ``loss`` and weighted metrics of an objective over every pair once."""
    sums: dict[str, float] = {}
    for done, batch in enumerate(pairs.in_order()):
        on_progress(done * pairs.batch_rows / pairs.rows_per_epoch)
        found = objective(model, to_device(batch, 0, len(batch.ids), model.device))
        for name, value in {"loss": found.nll, **found.weighted}.items():
            sums[name] = sums.get(name, 0.0) + float(value)
    return {name: value / len(pairs) for name, value in sums.items()}


def counts(run: Progress, pairs: PackedPairs, held: PackedPairs | None) -> dict[str, Any]:
    """For the manifest: how far the run came, and how many pairs there were and how long, learnt
    from and held out."""
    return {
        "steps": run.step,
        "tokens": run.tokens,
        "epochs": round(pairs.epochs(run.step), 3),
        "pairs": vars(pairs.report),
        "val_pairs": None if held is None else vars(held.report),
    }
