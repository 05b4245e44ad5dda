"""Numbers in unusual spellings, read as plain ones: 공일공-일이삼사-5678, 010/1234/5678, OlO-1234.

Somebody hid them, a scanner took 0 and 1 for letters, or a line ended within. Only what is odd is
read here; whether the digits are personal data is decided by the rules of ``numbers.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

_SPOKEN = "공영일이삼사오육륙칠팔구"
_READ = str.maketrans("Ol" + _SPOKEN, "01" + "001234566789")
_DIGIT = rf"[0-9Ol{_SPOKEN}]"
_RUN = re.compile(
    rf"{_DIGIT}(?<![0-9A-Za-z][0-9Ol]|[가-힣][{_SPOKEN}])(?:[-. ()/_~·\n]{{0,3}}+{_DIGIT}){{7,}}+"
)
_GROUP = re.compile(rf"{_DIGIT}+")
_LINE = re.compile(r"[^\n]+")
_ODD = re.compile(r"[^0-9. ()-]|--| - |(?<![0-9])[0-9] [0-9] [0-9](?![0-9])")
_PARTICLE = re.compile(rf"\s+[{_SPOKEN}]\Z")  # 공일공 1234 5678 이쪽으로
_FEW = 3  # fewer digits in words are words (1일, 이 번호), fewer true ones leave l and O letters
_LONGEST = 60  # characters; longer runs are tables


class Spelled(NamedTuple):
    """``text[start:end]`` is odd and reads as these groups of digits."""

    start: int
    end: int
    groups: tuple[str, ...]
    spoken: bool  # with digits in words
    boxed: bool  # with spaces between all digits
    cut: int | None = None  # groups before a line break that no dash bridges


def find(text: str) -> Iterator[Spelled]:
    """Odd runs of digits in a folded text, and their lines where they have several."""
    for run in _RUN.finditer(text):
        lines = run[0].count("\n")
        if lines < 2:  # more of them are a column
            yield from _read(text, *run.span())
        if lines:
            for line in _LINE.finditer(text, *run.span()):
                yield from _read(text, *line.span())


def _read(text: str, start: int, end: int) -> Iterator[Spelled]:
    if end - start > _LONGEST:
        return
    run = text[start:end]
    if "가" <= text[end : end + 1] <= "힣" and (particle := _PARTICLE.search(run)):
        run = run[: particle.start()]
    if not _ODD.search(run):
        return
    spoken = sum(char in _SPOKEN for char in run)
    if 0 < spoken < _FEW or (not spoken and sum("0" <= char <= "9" for char in run) < _FEW):
        return
    found = list(_GROUP.finditer(run))
    gaps = [run[a.end() : b.start()] for a, b in pairwise(found)]
    digits = [group[0].translate(_READ) for group in found]
    boxed = all(len(group) == 1 for group in digits)
    groups = _joined(digits, gaps) if boxed else tuple(digits)
    first, last = start + found[0].start(), start + found[-1].end()
    yield Spelled(first, last, groups, spoken > 0, boxed, _cut(gaps))


def _joined(digits: Sequence[str], gaps: Sequence[str]) -> tuple[str, ...]:
    """Single digits put together over their spaces: 7 4 0 7 2 2 - 2 8 6 ..."""
    groups = [digits[0]]
    for gap, digit in zip(gaps, digits[1:], strict=True):
        if gap == " ":
            groups[-1] += digit
        else:
            groups.append(digit)
    return tuple(groups)


def _cut(gaps: Sequence[str]) -> int | None:
    return next((i + 1 for i, gap in enumerate(gaps) if "\n" in gap and "-" not in gap), None)
