"""The rollout phase of GRPO: prompts in, judged groups of completions out, and their log.

A rollout is a file of the run's folder, ``rollouts/000012.jsonl.zst``. It is written before the
first step that learns from it and read by all of them, so the batch of a step is again a function
of what is on disk: a run that was killed goes on with what it had sampled, and ``replay`` repeats
a finished run's updates without sampling.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from yaongi.core.errors import CheckpointError
from yaongi.core.files import storage_errors
from yaongi.core.seeds import Seed
from yaongi.data.lines import json_line, reader, whole_file
from yaongi.infer.engine import Engine
from yaongi.infer.request import Completion, Request
from yaongi.infer.rules import Finish, Generation, stop_ids
from yaongi.model.lm import LM
from yaongi.text.foreign import AnyTokenizer
from yaongi.tune.advantages import differ, group_advantages, overlong_penalty
from yaongi.tune.prompts import Prompt, Prompts
from yaongi.tune.rewards import Sample
from yaongi.tune.rewards.process import RewardProcess

FOLDER = "rollouts"
OVERLONG = "overlong"


@dataclass(frozen=True)
class Row:
    """A completion with everything an update needs of it; a line of the log.

    Attributes:
        group: number of its prompt in the rollout.
        ids: the completion's, the one that ended it included.
        logprobs: of ``ids``, when they were sampled.
        rewards: by name, unweighted; ``reward`` is their weighted sum.
        seed: gives the same completion from the same weights.
    """

    group: int
    prompt_id: str
    seed: int
    prompt: list[int]
    ids: list[int]
    logprobs: list[float]
    text: str
    finish: str
    rewards: dict[str, float]
    reward: float
    advantage: float


@dataclass(frozen=True)
class Rollout:
    """Groups of completions sampled with the same weights.

    Attributes:
        number: from 0.
        step: optimizer steps made before it.
        weights: fingerprint of the model that sampled it.
        asked: prompts asked to find these groups; more than there are groups where some taught
            nothing and were replaced (dynamic sampling).
        equal: those of them whose completions all got the same reward.
        failures: completions that counted their reward's ``on_failure``.
    """

    number: int
    step: int
    weights: str
    asked: int
    equal: int
    failures: int
    rows: list[Row]


@dataclass(frozen=True)
class Sampler:
    """How a rollout is made.

    Attributes:
        rounds: how often prompts are asked in search of ``prompts`` groups whose rewards differ
            (DAPO's dynamic sampling, arXiv:2503.14476, section 3.2). When the rounds are over,
            groups of equal rewards fill the batch; 1 takes every group.
        overlong: see ``overlong_penalty``.
        max_rows: completions sampled at the same time.
        autocast: what the model runs in.
    """

    tokenizer: AnyTokenizer
    questions: Prompts
    rewards: Sequence[RewardProcess]
    seed: Seed
    prompts: int
    group_size: int
    rounds: int
    max_tokens: int
    overlong: int
    scale_by_std: bool
    max_rows: int
    autocast: Callable[[], AbstractContextManager[Any]]

    def rollout(self, model: LM, number: int, step: int) -> Rollout:
        """Sample and judge; a pure function of the model's weights, the number and the seed.

        Raises:
            RewardError: a reward failed, and the recipe does not say what that counts.
        """
        failures = sum(r.failures for r in self.rewards)
        good: list[list[Row]] = []
        equal: list[list[Row]] = []
        asked = 0
        model.eval()
        for round in range(self.rounds):
            groups = self._groups(model, number, round, self.prompts - len(good))
            asked += len(groups)
            for group in groups:
                (good if differ(np.array([r.reward for r in group])) else equal).append(group)
            if len(good) == self.prompts:
                break
        model.train()
        chosen = (good + equal)[: self.prompts]
        return Rollout(
            number,
            step,
            fingerprint(model),
            asked,
            len(equal),
            sum(r.failures for r in self.rewards) - failures,
            [Row(**{**asdict(r), "group": i}) for i, g in enumerate(chosen) for r in g],
        )

    def _groups(self, model: LM, number: int, round: int, wanted: int) -> list[list[Row]]:
        """Ask ``wanted`` prompts, ``group_size`` times each."""
        first = (number * self.rounds + round) * self.prompts
        asked = [self.questions.at(first + i, self.seed) for i in range(wanted)]
        rules = Generation(temperature=1.0, max_tokens=self.max_tokens)
        requests = [
            Request(p.ids, rules, self.seed.split("sample", number, round, i, k).int63)
            for i, p in enumerate(asked)
            for k in range(self.group_size)
        ]
        with self.autocast():
            engine = Engine(model, self.tokenizer, max_rows=self.max_rows)
            engine.refresh()  # an optimizer may write weights where nobody sees it
            said = engine.complete(requests)
        size = self.group_size
        prompts = [prompt for prompt in asked for _ in range(size)]
        rewards = self._rewards(prompts, said)
        rows = [self._row(*item) for item in zip(prompts, requests, said, rewards, strict=True)]
        groups = [rows[start : start + size] for start in range(0, len(rows), size)]
        return [self._judged(group) for group in groups]

    def _rewards(
        self, prompts: Sequence[Prompt], said: Sequence[Completion]
    ) -> list[dict[str, float]]:
        """Each completion's rewards by name."""
        samples = [
            Sample(p.id, p.messages, self._text(c), p.row)
            for p, c in zip(prompts, said, strict=True)
        ]
        found = {r.reward.name: r.scores(samples) for r in self.rewards}
        if self.overlong:
            found[OVERLONG] = [
                overlong_penalty(len(c.ids), self.max_tokens, self.overlong) for c in said
            ]
        return [{name: scores[i] for name, scores in found.items()} for i in range(len(said))]

    def _text(self, said: Completion) -> str:
        """What was said, ``<think>`` and the like written out, without the id that ended it."""
        ended = said.finish is Finish.STOP and said.ids[-1] in stop_ids(self.tokenizer)
        return self.tokenizer.decode(said.ids[:-1] if ended else said.ids, control=True)

    def _row(
        self, prompt: Prompt, request: Request, said: Completion, rewards: dict[str, float]
    ) -> Row:
        weights = {r.reward.name: r.reward.weight for r in self.rewards} | {OVERLONG: 1.0}
        total = sum(weights[name] * value for name, value in rewards.items())
        return Row(
            0, prompt.id, request.seed, list(request.ids), said.ids, said.logprobs,
            self._text(said), said.finish.value, rewards, total, 0.0,
        )  # fmt: skip

    def _judged(self, group: list[Row]) -> list[Row]:
        """The group with its advantages."""
        rewards = np.array([row.reward for row in group])
        found = group_advantages(rewards, scale_by_std=self.scale_by_std)
        return [
            Row(**{**asdict(row), "advantage": float(a)})
            for row, a in zip(group, found, strict=True)
        ]


# --- the log ---------------------------------------------------------------------------------


def fingerprint(model: LM) -> str:
    """Differs, but for one chance in 2^64, as soon as one bit of a weight does."""
    hashes = [torch.hash_tensor(p.detach()).item() for p in model.state_dict().values()]
    mixed = 0
    for found in hashes:  # the place of a tensor counts too
        mixed = (mixed * 0x9E3779B97F4A7C15 + int(found)) % 2**64
    return f"{mixed:016x}"


def log_path(folder: Path, number: int) -> Path:
    """Where rollout ``number`` of a run in ``folder`` is."""
    return folder / FOLDER / f"{number:06d}.jsonl.zst"


def write_rollout(folder: Path, rollout: Rollout) -> None:
    """Put a rollout into its file: a line about it, and a line for each completion."""
    path = log_path(folder, rollout.number)
    head = {k: v for k, v in vars(rollout).items() if k != "rows"}
    with storage_errors(path):
        path.parent.mkdir(exist_ok=True)
        with whole_file(path, level=3) as stream:
            for row in [head, *(asdict(row) for row in rollout.rows)]:
                stream.write(json_line(row))


def read_rollout(folder: Path, number: int) -> Rollout | None:
    """A rollout from its file; None where there is none.

    Raises:
        CheckpointError: the file is damaged.
    """
    path = log_path(folder, number)
    if not path.is_file():
        return None
    try:
        with reader(path) as lines:
            head, *rows = [json.loads(line) for line in lines]
        return Rollout(**head, rows=[Row(**row) for row in rows])
    except Exception as error:
        raise CheckpointError(
            "{path} is not a whole log of a rollout: {reason}", path=path, reason=error
        ) from error
