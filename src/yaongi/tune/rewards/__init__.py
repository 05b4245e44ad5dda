"""What a reward is: settings that turn a completion into a number; chosen by ``kind:``.

Most are verifiable, as in DeepSeek-R1 (arXiv:2501.12948, section 2.2.2): rules that can be checked;
``model`` is an opinion. A plug-in (``kind: my_module:MyReward``) is imported only because a recipe
the user runs names it. Every reward runs in a process of its own, see ``process``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from yaongi.core.config import Config, Registry
from yaongi.core.errors import DataError
from yaongi.core.units import Seconds
from yaongi.text.chat import Message


@dataclass(frozen=True)
class Sample:
    """A completion and what it answers.

    Attributes:
        id: names the row in messages.
        prompt: the conversation so far.
        text: what the model said, with ``<think>`` and the like written out.
        row: the prompt's other columns, such as ``answer``, ``tests``, or ``reply``, the answer a
            conversation of the corpus had.
    """

    id: str
    prompt: Sequence[Message]
    text: str
    row: Mapping[str, Any] = field(default_factory=dict)

    def column(self, *names: str) -> Any:
        """The first of these columns that the row has.

        Raises:
            DataError: it has none of them.
        """
        for name in names:
            if self.row.get(name) is not None:
                return self.row[name]
        raise DataError(
            "the row has no column {names}; it has {there}",
            names=" or ".join(names),
            there=", ".join(self.row) or "none",
        )


class Reward(Config):
    """Settings of a reward; ``score`` gives it.

    Attributes:
        weight: what it counts in the sum of all rewards.
        timeout_s: longest time for one completion. Starting the reward's process (imports, and
            what ``prepare`` does) has a minute of its own.
        on_failure: ``stop`` ends the run, naming the row; a number is what a completion gets for
            which the reward raised an error, was no finite number, or took too long. Such
            completions are counted in the metric ``reward_failures``.
    """

    kind: str
    weight: float = Field(default=1.0, allow_inf_nan=False)
    timeout_s: Annotated[Seconds, Field(gt=0)] = 30.0
    on_failure: Literal["stop"] | float = "stop"

    @property
    def name(self) -> str:
        """What it is called in logs: ``MyReward`` of ``my_module:MyReward``."""
        return self.kind.rpartition(":")[2]

    def check(self) -> None:
        """Before the run: raise a YaongiError if it cannot work on this machine."""

    def prepare(self) -> None:
        """Once in the reward's process, before its first completion: load what scoring needs."""

    def score(self, sample: Sample) -> float:
        """The reward of one completion."""
        raise NotImplementedError

    def scores(self, samples: Sequence[Sample]) -> Iterator[float]:
        """The rewards of many, in order; a reward that is a model overrides this to batch."""
        for sample in samples:
            yield self.score(sample)


REWARDS: Registry[Reward] = Registry(
    "reward",
    Reward,
    {
        "arithmetic": "yaongi.tune.rewards.arithmetic:Arithmetic",
        "korean": "yaongi.tune.rewards.korean:Korean",
        "format": "yaongi.tune.rewards.format:Format",
        "model": "yaongi.tune.rewards.model:Model",
        "python_tests": "yaongi.tune.rewards.python_tests:PythonTests",
    },
)
RewardChoice = Annotated[Reward, REWARDS.field()]
