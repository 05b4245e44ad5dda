"""Several answers to one prompt, with ranks or scores: which is the best, and which the worst.

The pair that differs most is the one kept: UltraFeedback's max-min (Cui et al. 2023,
arXiv:2310.01377) and Nectar's first against last.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from yaongi.data.turns import BrokenRow

NUMBERED = ("completion_0", "completion_1")
"""The first two of KoChatGPT's answers, which stand in columns of their own."""

_LISTS = ("answers", "completions")
_TEXTS = ("answer", "response", "completion", "text", "content")
_LOW = ("ranks", "ranking", "rank")  # 1 is the best
_HIGH = ("scores", "overall_score", "score", "rating")


def best_and_worst(row: Mapping[str, Any]) -> tuple[Any, Any]:
    """The answers ranked first and last; of equals the one named first.

    Ranks count where a row has both: scores of different judges need not agree with them.

    Raises:
        BrokenRow: fewer than two answers, a rank that is no number or is missing, or all equal.
    """
    answers = _answers(row)
    if len(answers) < 2:
        raise BrokenRow("fewer than two answers to compare")
    places = _places(row, answers)
    if min(places) == max(places):
        raise BrokenRow("all answers are ranked the same")
    best, worst = places.index(min(places)), places.index(max(places))
    return _text(answers[best]), _text(answers[worst])


def _answers(row: Mapping[str, Any]) -> Sequence[Any]:
    if NUMBERED[0] in row:
        name = NUMBERED[0].removesuffix("0")
        return [row[f"{name}{i}"] for i in range(len(row)) if row.get(f"{name}{i}") is not None]
    value = next((row[name] for name in _LISTS if row.get(name) is not None), None)
    if not isinstance(value, list):
        raise BrokenRow("answers is not a list")
    return value


def _places(row: Mapping[str, Any], answers: Sequence[Any]) -> list[float]:
    """A number for each answer, the smallest for the best."""
    for names, sign in ((_LOW, 1.0), (_HIGH, -1.0)):
        for name in names:
            if row.get(name) is not None:
                return [sign * n for n in _numbers(row[name], name, len(answers))]
            of_each = [one.get(name) if isinstance(one, Mapping) else None for one in answers]
            if any(value is not None for value in of_each):
                return [sign * n for n in _numbers(of_each, name, len(answers))]
    raise BrokenRow("answers have neither ranks nor scores")


def _numbers(values: object, name: str, n: int) -> list[float]:
    if not isinstance(values, list) or len(values) != n:
        raise BrokenRow(f"{name} does not have a number for each answer")
    found = [_number(value) for value in values]
    if not all(map(math.isfinite, found)):
        raise BrokenRow(f"{name} holds something that is not a number")
    return found


def _number(value: object) -> float:
    """Numbers, also spelled as text ("7.5"); NaN for anything else."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return math.nan
    return float(value) if isinstance(value, int | float) else math.nan


def _text(answer: Any) -> Any:
    """An answer without what was judged of it: text, or a message."""
    if isinstance(answer, Mapping) and not {"role", "from"} & set(answer):
        return next((answer[name] for name in _TEXTS if answer.get(name) is not None), None)
    return answer
