"""A pairwise reward model: which of two answers would a person choose, as a number for each.

A language model whose unembedding is not used: a vector turns the hidden state behind an answer's
last token into a scalar, learnt so that chosen answers get more than rejected ones (Bradley and
Terry's model; Ouyang et al. 2022, arXiv:2203.02155, section 3.5). Only differences of rewards for
one prompt mean anything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import safetensors.torch
import torch
from torch import Tensor, nn

from yaongi.core.artifact import Artifact, draft, existing, open_artifact
from yaongi.core.errors import CheckpointError, DataError
from yaongi.core.files import write_with
from yaongi.core.seeds import Seed
from yaongi.data.pair_batches import PackedPairs
from yaongi.data.pairs import answered
from yaongi.model.io import load_model, read_tensors, save_tensors
from yaongi.model.lm import LM
from yaongi.ops.backend import choose_device
from yaongi.text.chat import Message, validate
from yaongi.text.foreign import AnyTokenizer, load_tokenizer, save_tokenizer
from yaongi.train.loop import Step
from yaongi.train.objectives import MicroBatch, Objective, Sums
from yaongi.train.run import finish, recover, run_training
from yaongi.tune.pairs import (
    VALIDATION_ROWS,
    OnNote,
    PairConfig,
    Validation,
    answers_of,
    counts,
    evaluate_pairs,
    open_pairs,
    quiet,
)
from yaongi.tune.preference_losses import bradley_terry_loss

_torch_files: Any = safetensors.torch  # its functions are only partly typed
KIND = "reward"
HEAD, HEAD_FILE = "reward_head", "reward_head.safetensors"


class RewardConfig(PairConfig):
    """Settings of a reward model's training: those of every training from pairs."""


def train_reward(
    cfg: RewardConfig,
    base: Artifact,
    pairs: Artifact,
    out: str | Path,
    *,
    seed: int = 0,
    on_step: Callable[[Step], None] | None = None,
    on_note: OnNote = quiet,
) -> Artifact:
    """Make a reward model of ``base``; continue where an interrupted run stopped.

    Logged steps have ``accuracy``, the share of pairs whose chosen answer gets the higher reward,
    and ``margin``; held-out pairs, where there are any, give the same as ``val_…``.

    Args:
        base: a model folder, usually a fine-tuned one.
        pairs: encoded with the tokenizer of ``base``.
        on_step: as in ``pretrain``.
        on_note: told how far each evaluation is.
    Returns: the ``reward`` artifact at ``out``: a model folder with ``reward_head.safetensors``.
    Raises:
        DataError, TokenizerError, ArtifactError: see ``open_pairs``.
        CheckpointError, NumericsError, StorageError, KeyboardInterrupt: see ``run_training``.
    """
    made: dict[str, Any] = {"config": cfg.as_json(), "parents": [base, pairs], "seed": seed}
    if found := existing(out, KIND, **made):
        return found
    seeds = Seed(seed).split("reward")
    train, held = open_pairs(cfg, base, pairs, seeds.split("data"))
    with draft(out, KIND, **made, resumable=True) as work:
        recover(work)
        model = load_model(base.path, dtype=torch.float32, verify=True)
        head = new_head(model, seeds.split("head"))
        model.add_module(HEAD, head)  # learns, and is in checkpoints, with the rest
        objective = bradley_terry(head)
        validation = Validation(held, objective, on_note)
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
        save_reward(model, head, work.path)
        save_tokenizer(base.path, work.path)
        return finish(
            work,
            counts=counts(run, train, held),
            metrics={**run.metrics, **validation.logged(), "training_s": round(run.seconds, 1)},
            hardware=run.machine,
        )


def new_head(model: LM, seed: Seed) -> nn.Linear:
    """(D) -> (1), normal with variance 1 / (D + 1). No bias: it would cancel out.

    Source: Stiennon et al. 2020, arXiv:2009.01325, appendix B.
    """
    head = nn.Linear(model.cfg.d_model, 1, bias=False)
    draw = torch.Generator().manual_seed(seed.int63)
    nn.init.normal_(head.weight, std=(model.cfg.d_model + 1) ** -0.5, generator=draw)
    return head


def bradley_terry(head: nn.Linear) -> Objective:
    """The objective of a reward model: its mean loss over the pairs of a step."""

    def objective(model: LM, batch: MicroBatch, *, checkpoint: bool = False) -> Sums:
        out = model(batch.ids, doc_ids=batch.doc_ids, checkpoint=checkpoint)
        answers = answers_of(batch)
        # a target is one place behind the token it is predicted from
        rows, places = answers.rows[answers.ends], answers.places[answers.ends] + 1
        rewards = reward_of(head, out.hidden[rows, places])
        chosen, rejected = rewards[::2], rewards[1::2]
        margin = (chosen - rejected).detach()
        told = {
            "reward_chosen": chosen.detach().sum(),
            "reward_rejected": rejected.detach().sum(),
            "margin": margin.sum(),
            "accuracy": ((margin > 0).float() + 0.5 * (margin == 0).float()).sum(),
        }
        loss = bradley_terry_loss(chosen, rejected).sum()
        return Sums(loss, out.aux.loss, out.aux.expert_counts, weighted=told)

    return objective


def reward_of(head: nn.Linear, hidden: Tensor) -> Tensor:
    """(n,D) hidden states in any float type -> (n,) float32 rewards."""
    with torch.autocast(hidden.device.type, enabled=False):
        return head(hidden.float())[:, 0]


def evaluate_reward(
    reward: RewardModel,
    pairs: Artifact,
    *,
    split: str = "val",
    domains: Sequence[str] | None = None,
    truncate: bool = False,
) -> dict[str, float]:
    """``accuracy``, ``margin``, ``loss`` and the mean rewards over the pairs of a split, and
    how many ``pairs`` there were; ``chosen_longer`` is the share of them that taking the longer
    answer gets right, ``left_out`` counts those that are too long.

    Args:
        domains: which domains; None takes all that have pairs in ``split``.
        truncate: judge longer conversations by their beginning instead of leaving them out.
    Raises:
        DataError: there are none, or none fits into the model's context.
        ArtifactError: ``pairs`` is something else.
    """
    read = PackedPairs(
        pairs,
        VALIDATION_ROWS,
        reward.context_len,
        Seed(0),
        domains=domains,
        split=split,
        truncate=truncate,
    )
    found = evaluate_pairs(reward.lm, read, bradley_terry(reward.head))
    report = read.report
    left_out = 0 if truncate else report.too_long
    return {
        **found,
        "pairs": len(read),
        "left_out": left_out,
        "chosen_longer": report.chosen_longer,
    }


# --- a finished one --------------------------------------------------------------------------


class RewardModel:
    """A trained reward model, ready to judge answers.

    Attributes:
        lm, head: the network, in eval mode, and what makes its hidden state a number.
        context_len: the longest conversation it has learnt to judge, in tokens.
    """

    def __init__(self, lm: LM, head: nn.Linear, tokenizer: AnyTokenizer, context_len: int) -> None:
        self.lm, self.head = lm, head
        self.tokenizer, self.context_len = tokenizer, context_len

    @torch.no_grad()
    def score(self, messages: Sequence[Message]) -> float:
        """The reward of the answer a conversation ends with, for reinforcement learning, say.

        Raises:
            DataError: no conversation that ends with an answer, or longer than the context.
        """
        validate(messages)
        if messages[-1]["role"] != "assistant":
            raise DataError("There is no answer to judge: the conversation ends with '{role}'.",
                            role=messages[-1]["role"])  # fmt: skip
        conversation = answered(self.tokenizer, messages)
        end = max(i for i, said in enumerate(conversation.mask or ()) if said) + 1
        if end > self.context_len:
            raise DataError(
                "The conversation has {n} tokens, but the reward model has learnt to judge at "
                "most {most}.",
                n=end,
                most=self.context_len,
            )
        hidden = self.lm(torch.tensor([list(conversation.ids[:end])], device=self.lm.device)).hidden
        return float(reward_of(self.head, hidden[:, -1]))


def save_reward(model: LM, head: nn.Linear, folder: Path) -> None:
    """Write a reward model's weights: the language model's as every model, the head beside it."""
    own = {k: v for k, v in model.state_dict().items() if not k.startswith(f"{HEAD}.")}
    save_tensors(model.cfg, own, folder)
    weight = {"weight": head.weight.detach().float().cpu().contiguous()}
    write_with(folder / HEAD_FILE, lambda temporary: _torch_files.save_file(weight, temporary))


def load_reward(path: str | Path, *, device: str = "auto") -> RewardModel:
    """Open a ``reward`` artifact; every file is compared with its recorded hash first.

    Raises:
        ArtifactError: it is something else, or damaged.
        CapabilityError: the device is not there.
    """
    artifact = open_artifact(path, KIND)
    where = choose_device(device)
    lm = load_model(artifact.path, device=where, verify=True)
    weight = read_tensors(artifact.path / HEAD_FILE).get("weight")
    if weight is None or weight.shape != (1, lm.cfg.d_model):
        raise CheckpointError(
            "{path} must hold one tensor, weight {shape}; found {found}.",
            path=artifact.path / HEAD_FILE,
            shape=(1, lm.cfg.d_model),
            found=None if weight is None else tuple(weight.shape),
        )
    head = nn.Linear(lm.cfg.d_model, 1, bias=False)
    head.weight = nn.Parameter(weight)
    context_len = cast(int, artifact.manifest.config["seq_len"])
    return RewardModel(lm, head.to(where), load_tokenizer(artifact.path), context_len)
