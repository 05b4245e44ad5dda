"""Reward 1 for a completion of the form asked for: by default thinking first, then an answer.

The format reward of DeepSeek-R1 (arXiv:2501.12948, section 2.2.2), as a regular expression.
"""

from __future__ import annotations

import re

from pydantic import Field, field_validator

from yaongi.core.errors import ConfigError
from yaongi.tune.rewards import Reward, Sample

_PLAIN = r"(?:(?!</?think>).)"
THINK_THEN_ANSWER = rf"\s*<think>\n{_PLAIN}*\S{_PLAIN}*\n</think>\s*{_PLAIN}*\S{_PLAIN}*"
"""One block of thinking with something in it, and something behind it."""


class Format(Reward):
    """Settings of ``format``.

    Attributes:
        pattern: a regular expression that the whole completion has to match; ``.`` matches line
            breaks too.
    """

    kind: str = "format"
    pattern: str = Field(default=THINK_THEN_ANSWER, min_length=1)

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern, re.DOTALL)
        except re.error as error:
            raise ConfigError(
                "'{pattern}' is not a regular expression: {reason}", pattern=pattern, reason=error
            ) from error
        return pattern

    def score(self, sample: Sample) -> float:
        return float(re.fullmatch(self.pattern, sample.text, re.DOTALL) is not None)
