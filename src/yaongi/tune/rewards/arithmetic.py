"""Reward 1 for the right number: the last one said after a mark, compared as an exact fraction.

The rule-based accuracy reward of DeepSeek-R1 (arXiv:2501.12948, section 2.2.2) for sums and word
problems, whose answers stand behind ``답:`` (ours), ``####`` (GSM8K) or in ``\\boxed{}``.
"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction

from yaongi.core.errors import DataError
from yaongi.tune.rewards import Reward, Sample

MARKS = re.compile(r"답(?:은|\s*[::])|####|\\boxed\{|(?i:answer\s*(?:is|:))")
"""What stands before a final answer; of several the last counts."""

_NUMBER = re.compile(r"-?(?:\d+(?:\.\d+)?|\.\d+)(?:\s*/\s*\d+(?![\d.]))?")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?:\D|$))")


class Arithmetic(Reward):
    """Settings of ``arithmetic``.

    A completion needs a mark and one number behind it on the same line, so that listing several
    answers earns nothing. The right answer is the row's column ``answer``, else the one its
    ``reply`` ends with.
    """

    kind: str = "arithmetic"

    def score(self, sample: Sample) -> float:
        gold = str(sample.column("answer", "reply"))
        expected = answer(gold)
        if expected is None:
            expected = only_number(gold)
        if expected is None:
            raise DataError("no number is its right answer: {gold!r}", gold=gold[-60:])
        return float(answer(sample.text) == expected)


def answer(text: str) -> Fraction | None:
    """The number behind the last mark; None without a mark, or with another count of numbers."""
    written = unicodedata.normalize("NFKC", text)
    marks = list(MARKS.finditer(written))
    if not marks:
        return None
    line = written[marks[-1].end() :].split("\n", 1)[0]
    return only_number(line.split("}", 1)[0])


def only_number(text: str) -> Fraction | None:
    """The number in ``text`` if it has just one: 1,234 and -3/4 and 0.50 are numbers."""
    written = unicodedata.normalize("NFKC", text).replace("\u2212", "-")
    found = _NUMBER.findall(_THOUSANDS.sub("", written))
    if len(found) != 1:
        return None
    top, _, bottom = found[0].replace(" ", "").partition("/")
    below = int(bottom or 1)
    return Fraction(top) / below if below else None
