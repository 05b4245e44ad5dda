"""Direct preference optimisation: a model and pairs of answers in, a model that prefers out.

A tuned model learns from pairs which of two answers is better, by a loss on its own
log-probabilities and without a reward model or rollouts (Rafailov et al. 2023, arXiv:2305.18290).
The losses are in ``preference_losses.py``, the frozen reference is in ``reference.py``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from yaongi.core.artifact import Artifact, draft, existing
from yaongi.core.i18n import translate
from yaongi.core.seeds import Seed
from yaongi.data.pair_batches import PackedPairs
from yaongi.model.io import load_model, save_model
from yaongi.model.lm import LM
from yaongi.ops.backend import choose_device
from yaongi.text.foreign import save_tokenizer
from yaongi.train.loop import Step
from yaongi.train.objectives import MicroBatch, Objective, Sums
from yaongi.train.precision import choose_precision
from yaongi.train.run import finish, recover, run_training
from yaongi.tune.pairs import (
    OnNote,
    PairConfig,
    Validation,
    answers_of,
    counts,
    open_pairs,
    quiet,
)
from yaongi.tune.preference_losses import DPO, PairLogProbs, PreferenceLoss, PreferenceLossChoice
from yaongi.tune.reference import (
    Reference,
    answer_log_probs,
    live_reference,
    no_reference,
    precomputed_reference,
)

KIND = "dpo"


class DPOConfig(PairConfig):
    """Settings of preference optimisation: those of every training from pairs, and the loss.

    Attributes:
        loss: ``dpo`` (with ``label_smoothing`` cDPO), ``ipo``, ``simpo`` or ``orpo``.
        reference: compute the reference's log-probabilities once and keep them, or hold a second
            model and ask it in every step.
    """

    loss: PreferenceLossChoice = Field(default_factory=DPO)
    reference: Literal["precomputed", "live"] = "precomputed"


def dpo(
    cfg: DPOConfig,
    base: Artifact,
    pairs: Artifact,
    out: str | Path,
    *,
    seed: int = 0,
    on_step: Callable[[Step], None] | None = None,
    on_note: OnNote = quiet,
) -> Artifact:
    """Tune ``base`` on preferences; continue where an interrupted run stopped.

    Every logged step has ``reward_chosen``, ``reward_rejected``, their ``margin`` and
    ``accuracy`` (the share of pairs whose chosen answer has the higher reward), the answers'
    log-probabilities and lengths; held-out pairs, where there are any, give the same as ``val_…``.

    Args:
        base: a model folder, usually a fine-tuned one; it is the reference, too.
        pairs: encoded with the tokenizer of ``base``.
        on_step: as in ``pretrain``.
        on_note: told how far the reference and each evaluation are.
    Returns: the ``dpo`` artifact at ``out``, a model folder like that of ``base``. Its counts say
        how many pairs were used, how long they are, and how many were too long.
    Raises:
        DataError, TokenizerError, ArtifactError: see ``open_pairs``.
        CheckpointError, NumericsError, StorageError, KeyboardInterrupt: see ``run_training``.
    """
    made: dict[str, Any] = {"config": cfg.as_json(), "parents": [base, pairs], "seed": seed}
    if found := existing(out, KIND, **made):
        return found
    train, held = open_pairs(cfg, base, pairs, Seed(seed).split("dpo", "data"))
    with draft(out, KIND, **made, resumable=True) as work:
        recover(work)
        model = load_model(base.path, dtype=torch.float32, verify=True)
        began = time.monotonic()
        references = _References(cfg, base, pairs, model, work.path / "checkpoints", on_note)
        objective = preference(cfg.loss, references.of(train, "train"))
        judge = preference(cfg.loss, references.of(held, "val")) if held is not None else None
        reference_s = time.monotonic() - began
        validation = Validation(held, judge, on_note)
        run = run_training(
            model,
            train,
            objective,
            cfg,
            work,
            steps=cfg.steps_of(train),
            probes=validation.probes,
            watch=None if held is None else validation,
            on_step=on_step,
        )
        save_model(model, work.path)
        save_tokenizer(base.path, work.path)
        times = {"training_s": round(run.seconds, 1), "reference_s": round(reference_s, 1)}
        return finish(
            work,
            counts=counts(run, train, held),
            metrics={**run.metrics, **validation.logged(), **times},
            hardware=run.machine,
        )


def preference(loss: PreferenceLoss, reference: Reference) -> Objective:
    """The objective of one of the losses: its mean over the pairs of a step."""

    def objective(model: LM, batch: MicroBatch, *, checkpoint: bool = False) -> Sums:
        out = model(batch.ids, doc_ids=batch.doc_ids, checkpoint=checkpoint)
        answers = answers_of(batch)
        found = answer_log_probs(model, out.hidden, batch, answers)
        ref = reference(batch, answers)
        tokens = answers.lengths.to(found.dtype)
        log_probs = PairLogProbs(
            chosen=found[::2],
            rejected=found[1::2],
            chosen_tokens=tokens[::2],
            rejected_tokens=tokens[1::2],
            ref_chosen=ref[::2],
            ref_rejected=ref[1::2],
        )
        told = statistics(loss, log_probs)
        return Sums(loss.loss(log_probs).sum(), out.aux.loss, out.aux.expert_counts, weighted=told)

    return objective


@torch.no_grad()
def statistics(loss: PreferenceLoss, p: PairLogProbs) -> dict[str, Tensor]:
    """Sums over pairs of what is logged; equal rewards are half right."""
    chosen, rejected = loss.rewards(p)
    right = (chosen > rejected).float() + 0.5 * (chosen == rejected).float()
    named = {
        "reward_chosen": chosen,
        "reward_rejected": rejected,
        "margin": chosen - rejected,
        "accuracy": right,
        "log_prob_chosen": p.chosen,
        "log_prob_rejected": p.rejected,
        "tokens_chosen": p.chosen_tokens,
        "tokens_rejected": p.rejected_tokens,
    }
    return {name: values.sum() for name, values in named.items()}


class _References:
    """Makes the reference of a split, as the settings and the loss ask for."""

    def __init__(
        self,
        cfg: DPOConfig,
        base: Artifact,
        pairs: Artifact,
        model: LM,
        folder: Path,
        on_note: OnNote,
    ) -> None:
        self.on_note = on_note
        self.cfg, self.made_from, self.folder = cfg, [base, pairs], folder
        self.device = choose_device(cfg.device)
        self.base, self.model = base, model  # not yet trained, so it is the reference
        self.live: Reference | None = None

    def of(self, pairs: PackedPairs, split: str) -> Reference:
        cfg = self.cfg
        if not cfg.loss.needs_reference:
            return no_reference
        if cfg.reference == "live":
            self.live = self.live or live_reference(self._frozen())
            return self.live
        if cfg.tables_on_host:
            self.model.keep_tables_on_host()
        return precomputed_reference(
            self.folder,
            self.model.to(self.device),
            choose_precision(cfg.precision, self.device),
            pairs,
            made_from=self.made_from,
            reads={
                "split": split,
                "seq_len": cfg.seq_len,
                "truncate": cfg.truncate,
                "domains": cfg.domains,
            },
            on_progress=lambda share: self.on_note(translate("reference {share:.0%}", share=share)),
        )

    def _frozen(self) -> LM:
        return load_model(
            self.base.path,
            dtype=torch.float32,
            device=self.device,
            tables_on_host=self.cfg.tables_on_host,
        ).requires_grad_(False)
