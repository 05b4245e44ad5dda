"""Removes what a site puts around its text: bylines, copyright, share bars, footers, cookies.

Line by line, never from a keyword to the end of the document: an article about 무단전재 stays. The
phrases are in ``words/boilerplate.txt``, regular expressions by the reason they are counted under.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from pydantic import Field

from yaongi.data.filters import Cleaned, Filter, drop_lines, settle
from yaongi.data.filters.wordlist import hint
from yaongi.data.wordfiles import sections


class Boilerplate(Filter):
    """Cuts bylines off lines, then drops lines that are hardly anything but known phrases.

    Args:
        min_cover: share of a line's letters and digits in known phrases that makes it boilerplate.
    """

    kind: str = "boilerplate"
    min_cover: float = Field(default=0.6, gt=0.0, le=1.0)

    def clean(self, text: str) -> Cleaned:
        cut: Counter[str] = Counter()
        if _phrases().byline_hint.search(text):
            text = "\n".join(_without_byline(line, cut) for line in text.split("\n"))
        result = drop_lines(text, self._reason) if _phrases().hint(text) else Cleaned(text)
        result.changed += cut
        return result

    def _reason(self, line: str) -> str:
        """Why a line goes, "" when it stays."""
        if len(line) > _LONGEST or not _phrases().hint(line) or _is_comment(line):
            return ""
        found = {match.group() for match in _phrases().any.finditer(line)}
        left = _phrases().any.sub(" ", line)
        total = _written(line)
        if total - _written(left) < max(1, self.min_cover * total):
            return ""
        if len(found) < 2 and not _phrases().alone.search(line):  # 좋아요 좋아요 is a comment
            return ""
        return next(name for name, phrase in _phrases().by_reason.items() if phrase.search(line))


_LONGEST = 300  # characters; what is longer is text, or a page without line breaks
_COMMENT = ("#", "*", "//", "<!--", "--", "%", ";")  # licences of source files stay whole
_NEAR_END = 200  # characters of a line in which a byline at its end is looked for


def _is_comment(line: str) -> bool:
    return line.lstrip().startswith(_COMMENT) and not re.search("[가-힣]", line)


def _without_byline(line: str, cut: Counter[str]) -> str:
    """``(서울=연합뉴스) 홍길동 기자 = 정부는 …`` -> ``정부는 …``; the same at the end.

    A line of nothing else stays: it is judged as a whole.
    """
    shorter = settle(line, _cut_once)
    if not shorter or shorter == line:
        return line
    cut["byline"] += 1
    return shorter


def _cut_once(line: str) -> str:
    if found := _phrases().lead.match(line):
        line = line[found.end() :]
    if found := _phrases().tail.search(line, max(0, len(line) - _NEAR_END)):
        line = line[: found.start()].rstrip(" /=·▶")
    return line


def _written(text: str) -> int:
    return len(_NOT_WRITTEN.sub("", text))


_NOT_WRITTEN = re.compile(r"[\W_]+")


class _Phrases(NamedTuple):
    lead: re.Pattern[str]
    tail: re.Pattern[str]
    byline_hint: re.Pattern[str]
    any: re.Pattern[str]
    alone: re.Pattern[str]
    by_reason: dict[str, re.Pattern[str]]
    hint: Callable[[str], bool]  # whether ``any`` may match


@cache
def _phrases() -> _Phrases:
    lists = sections("yaongi.data.filters", "boilerplate.txt")
    lead, tail = lists.pop("at the beginning of a line"), lists.pop("at the end of a line")
    byline = lists.pop("lines with neither of these have no byline")
    bare = {name: [row.removeprefix(_ALONE) for row in rows] for name, rows in lists.items()}
    phrase = re.compile("|".join(row for rows in bare.values() for row in rows))
    enough = (row.removeprefix(_ALONE) for rows in lists.values() for row in rows if _ALONE in row)
    return _Phrases(
        re.compile(rf"\s*(?:{'|'.join(lead)})\s*"),
        re.compile(rf"(?:{'|'.join(tail)})\s*$"),
        re.compile("|".join(byline)),
        phrase,
        re.compile("|".join(enough)),
        {name: re.compile("|".join(rows)) for name, rows in bare.items()},
        hint(phrase),
    )


_ALONE = "! "
