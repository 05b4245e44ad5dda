"""What an evaluation task is: settings that turn a model into scores.

Every score carries what one needs to read it: how many items, a 95 % interval, what guessing
would get, and what a simple baseline gets.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from yaongi.core.artifact import Artifact
from yaongi.core.config import Config, Registry
from yaongi.core.errors import ConfigError
from yaongi.core.i18n import translate
from yaongi.core.intervals import Z95
from yaongi.core.seeds import Seed
from yaongi.model.lm import LM
from yaongi.text.foreign import AnyTokenizer

Progress = Callable[[float | None, str], None]


def silent(_share: float | None, _note: str) -> None:
    """Tells nobody."""


def part(told: Progress, note: str, number: int, of: int) -> Callable[[float], None]:
    """What to tell the share done of part ``number`` of ``of``, for ``told`` to know of the whole.

    It is told of the beginning at once.
    """

    def share(done: float) -> None:
        told((number + done) / of, note)

    share(0.0)
    return share


@dataclass(frozen=True)
class Score:
    """One number about a model.

    Attributes:
        name: unique in a report, e.g. ``bpb/ko`` or ``addition``.
        better: which direction is good.
        n: how many ``counted`` things the value is measured on.
        low, high: 95 % interval; equal to value when it cannot be known (a single row).
        chance: what a model that knows nothing would get.
        baseline: what the method called ``baseline_name`` gets on the same items.
        samples: a few items with the model's unedited answers.
    """

    name: str
    value: float
    unit: Literal["exact match", "bits per byte"]
    better: Literal["higher", "lower"]
    n: int
    counted: Literal["items", "bytes"]
    low: float
    high: float
    chance: float
    baseline: float | None = None
    baseline_name: str | None = None
    samples: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Subject:
    """What a task looks at.

    Attributes:
        model: in eval mode, on its device.
        inputs: artifacts by kind, e.g. the shards whose held-out part is measured.
        on_progress: told the share of the task that is done.
    """

    model: LM
    tokenizer: AnyTokenizer
    inputs: Mapping[str, Artifact]
    seed: Seed
    on_progress: Progress = silent

    def input(self, kind: str, task: str) -> Artifact:
        """The artifact of a kind. Raises ConfigError when none was given."""
        if kind not in self.inputs:
            raise ConfigError(
                "The task {task} needs a '{kind}' artifact; given: {given}. {lost} In yaongi eval, "
                "--input names one, or the corpus to make it from.",
                task=task,
                kind=kind,
                given=", ".join(sorted(self.inputs)) or "none",
                lost=self._lost(kind),
            )
        return self.inputs[kind]

    def _lost(self, kind: str) -> str:
        """Where the model's own of a kind was."""
        nodes = [node for a in self.inputs.values() for node in a.as_ancestor().walk()]
        places = dict.fromkeys(node.path for node in nodes if node.kind == kind)
        if not places:
            return translate("The model's ancestry names none.")
        return translate(
            "The model's own is no longer unchanged in its place ({places}).",
            places=", ".join(places),
        )


class Task(Config):
    """Settings of a task; ``run`` measures."""

    kind: str = "bpb"

    def run(self, subject: Subject) -> list[Score]:
        """The scores of ``subject``.

        Raises:
            ConfigError: an artifact it needs was not given.
            DataError: its items cannot be read.
        """
        raise NotImplementedError


TASKS: Registry[Task] = Registry(
    "task",
    Task,
    {
        "bpb": "yaongi.evals.tasks.bpb:BitsPerByte",
        "synthetic": "yaongi.evals.tasks.synthetic:Synthetic",
        "exact_match": "yaongi.evals.tasks.exact_match:ExactMatch",
    },
)
TaskChoice = Annotated[Task, TASKS.field()]


def ratio_interval(tops: Sequence[float], bottoms: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of sum(tops)/sum(bottoms) over independent rows.

    Source: Cochran 1977, "Sampling Techniques", section 6.4 (ratio estimate).
    """
    n, total = len(tops), sum(bottoms)
    ratio = sum(tops) / total
    if n < 2:
        return ratio, ratio
    squares = sum((t - ratio * b) ** 2 for t, b in zip(tops, bottoms, strict=True))
    half = Z95 * math.sqrt(n / (n - 1) * squares) / total
    return ratio - half, ratio + half


def majority(answers: Sequence[str]) -> str:
    """The most frequent answer; of several the first."""
    return Counter(answers).most_common(1)[0][0]


def chance(answers: Sequence[str]) -> float:
    """Expected share right when guessing evenly among the answers that occur."""
    return 1 / len(set(answers))
