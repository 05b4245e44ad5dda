"""What a step of GRPO reads: completions as rows, sampled where the log does not have them yet.

The batch of a step is a function of its number and of the run's log of rollouts, as that of other
trainings is one of number and data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from yaongi.core.errors import CheckpointError
from yaongi.model.lm import LM
from yaongi.tune.advantages import token_weights
from yaongi.tune.grpo_config import GRPOConfig
from yaongi.tune.rollouts import (
    Rollout,
    Row,
    Sampler,
    fingerprint,
    read_rollout,
    write_rollout,
)


@dataclass(frozen=True)
class PolicyBatch:
    """Completions with their prompts, as rows (B,T); learnt are the completions' tokens.

    Attributes:
        extra: ``sampled`` (B,T), log-probabilities when sampled; ``scales`` (B,), what a token of
            the row counts; ``advantages`` (B,); and what is logged, ``log/NAME`` (B,).
    """

    ids: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    doc_ids: np.ndarray
    extra: dict[str, np.ndarray]


class RolloutBatches:
    """The batch of a step, sampled where the log does not have it yet.

    Args:
        model: samples; the same that is trained.
        folder: where rollouts are logged.
        source: where they are read from: ``folder``, or a finished run that is replayed.
    """

    def __init__(
        self, cfg: GRPOConfig, model: LM, sampler: Sampler, folder: Path, source: Path
    ) -> None:
        self.cfg, self.model, self.sampler = cfg, model, sampler
        self.folder, self.source = folder, source
        self.pad_id = sampler.tokenizer.pad_id
        self._current: Rollout | None = None

    def batch(self, step: int) -> PolicyBatch:
        """The batch of ``step`` (from 0).

        Raises:
            CheckpointError: the log of a rollout that was already learnt from is missing, or
                replaying comes to other weights than the run had.
        """
        number, part = divmod(step, self.cfg.steps_per_rollout)
        rollout = self._rollout(number, step, fresh=part == 0)
        epoch, minibatch = divmod(part, self.cfg.minibatches)
        seed = self.sampler.seed.split("minibatches", number, epoch)
        keys = seed.numpy().bit_generator.random_raw(len(rollout.rows))
        chosen = np.array_split(np.argsort(keys, kind="stable"), self.cfg.minibatches)[minibatch]
        rows = sorted((rollout.rows[i] for i in chosen), key=lambda r: len(r.prompt) + len(r.ids))
        return policy_batch(rows, rollout, self.cfg, self.pad_id)

    def _rollout(self, number: int, step: int, *, fresh: bool) -> Rollout:
        """Rollout ``number``; only with the weights it was sampled with is it made or made anew."""
        if self._current is not None and self._current.number == number and not fresh:
            return self._current
        found = read_rollout(self.source, number)
        replaying = self.source != self.folder
        if fresh and (found is None or found.weights != fingerprint(self.model)):
            if replaying:
                raise CheckpointError(
                    "Replaying {path} comes to other weights before step {step} than the run had: "
                    "another machine or version computes other last bits.",
                    path=self.source,
                    step=step + 1,
                )
            found = self.sampler.rollout(self.model, number, step)
            write_rollout(self.folder, found)
        elif found is None:
            raise CheckpointError(
                "The log of rollout {number} is missing in {path}, though steps were learnt from "
                "it. Remove the folder to start again.",
                number=number,
                path=self.source,
            )
        elif replaying:
            write_rollout(self.folder, found)
        self._current = found
        return found


def policy_batch(
    rows: Sequence[Row], rollout: Rollout, cfg: GRPOConfig, pad_id: int
) -> PolicyBatch:
    """Rows of a rollout as arrays, padded on the right with a document of its own.

    Without a divergence to hold down, a completion as good as its group teaches nothing: it counts
    in every mean, but is left out of what the model has to read.
    """
    lengths = np.array([len(row.ids) for row in rows])
    scales = token_weights(lengths, cfg.average, cfg.max_tokens)
    read = [i for i, row in enumerate(rows) if row.advantage or cfg.kl] or [0]
    kept = [rows[i] for i in read]
    longest = max(len(row.prompt) + len(row.ids) for row in kept) - 1
    shape = len(kept), longest
    tokens = np.full((len(kept), longest + 1), pad_id, dtype=np.int64)
    weights, sampled = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    doc_ids = np.ones(shape, np.int32)
    for i, row in enumerate(kept):
        begin, end = len(row.prompt), len(row.prompt) + len(row.ids)
        tokens[i, :end] = row.prompt + row.ids
        weights[i, begin - 1 : end - 1] = 1
        sampled[i, begin - 1 : end - 1] = row.logprobs
        doc_ids[i, : end - 1] = 0
    extra = {
        "sampled": sampled,
        # the loop divides by the tokens that were read
        "scales": (scales * lengths[read].sum())[read].astype(np.float32),
        "advantages": np.array([row.advantage for row in kept], np.float32),
        **{
            f"log/{name}": np.full(len(kept), value, np.float32)
            for name, value in _logged(rows, rollout).items()
        },
    }
    return PolicyBatch(tokens[:, :-1], tokens[:, 1:], weights, doc_ids, extra)


def _logged(rows: Sequence[Row], rollout: Rollout) -> dict[str, float]:
    """Numbers about the rows of a step, and about the whole rollout."""
    found: dict[str, Sequence[float]] = {
        "reward": [row.reward for row in rows],
        **{f"reward/{name}": [row.rewards[name] for row in rows] for name in rows[0].rewards},
        "completion_tokens": [len(row.ids) for row in rows],
        "unfinished": [row.finish != "stop" for row in rows],
    }
    return {name: float(np.mean(values)) for name, values in found.items()} | {
        "groups_equal": rollout.equal / rollout.asked,
        "reward_failures": rollout.failures / len(rollout.rows),
    }
