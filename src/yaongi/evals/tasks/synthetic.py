"""Exact match on the embedded corpus's exercises: sums, small functions, questions on stories.

No operand pair, function input or plot of these items occurs in training; see ``data.synthetic``.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from yaongi.core.errors import ConfigError, did_you_mean
from yaongi.core.units import Count
from yaongi.data.synthetic import TASKS as EXERCISES
from yaongi.data.synthetic import eval_items, extract_answer, majority_answer
from yaongi.evals.task import Score, Subject, Task, part
from yaongi.evals.tasks.exact_match import Item, ask


class Synthetic(Task):
    """Settings of ``synthetic``.

    Attributes:
        exercises: which ones, e.g. ``add`` or ``story_qa``.
        n: items of each.
        max_tokens: longest reply; it works the answer out before giving it.
    """

    kind: str = "synthetic"
    exercises: tuple[str, ...] = Field(default=tuple(EXERCISES), min_length=1)
    n: Annotated[Count, Field(ge=1)] = 200
    max_tokens: Annotated[Count, Field(ge=1)] = 96

    @field_validator("exercises")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in EXERCISES:
                raise ConfigError(
                    "'{name}' is not an exercise. {help}",
                    name=name,
                    help=did_you_mean(name, EXERCISES),
                )
        return names

    def run(self, subject: Subject) -> list[Score]:
        scores: list[Score] = []
        for i, exercise in enumerate(self.exercises):
            part(subject.on_progress, exercise, i, len(self.exercises))  # tells that it begins
            scores.append(self._score(subject, exercise))
        return scores

    def _score(self, subject: Subject, exercise: str) -> Score:
        found = eval_items(subject.seed, exercise, self.n)
        return ask(
            subject,
            exercise,
            [Item(item.messages, (item.answer,)) for item in found],
            max_tokens=self.max_tokens,
            extract=extract_answer,
            majority_answer=majority_answer(subject.seed, exercise),
        )
