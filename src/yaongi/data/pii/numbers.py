"""Numbers of persons, companies, phones, cards and accounts.

Digits joined by dashes, dots or spaces form a run; each stretch of a run that stands for itself
is looked up by the lengths of its groups (6-7, 3-4-4, ...), and the rules for that shape decide.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from yaongi.data.pii import disguise, rules
from yaongi.data.pii.candidate import Candidate, Certainty
from yaongi.data.pii.context import called_other
from yaongi.data.pii.rules import Number

# A regex that begins with a plain class is scanned several times faster, so the look behind comes
# second. Groups are possessive: no digit is tried twice.
_RUN = re.compile(r"[0-9](?<![0-9][0-9])(?:[-. ()]{0,3}+[0-9]){7,}+")
_GROUP = re.compile(r"[0-9]+")
NOT_BEFORE = re.compile(r"[A-Za-z0-9_.\\%^*$#-]\Z")
_NOT_AFTER = re.compile(r"[A-Za-z0-9_%^*]|[-.]+[A-Za-z0-9]| ?=")
_AMOUNT_BEFORE = re.compile(r"[0-9][,:]\Z|[A-Za-z0-9]/\Z")  # of digits without a separator
_AMOUNT_AFTER = re.compile(  # but 1234567890 대표자, 명의, 개설, 만기
    r" ?(?:[원년억천건점위표%℃]|대(?!표)|명(?!의)|개(?!설)|만(?!기)|달러)|[,:][0-9]{2,3}(?![0-9])"
)
Rule = Callable[[Number], Certainty]


def find(text: str) -> Iterator[Candidate]:
    """Candidates of all kinds that are made of digits, in a folded text."""
    for run in _RUN.finditer(text):
        yield from _in_run(text, run)
    for spelled in disguise.find(text):
        yield from _disguised(text, spelled)


def _in_run(text: str, run: re.Match[str]) -> Iterator[Candidate]:
    groups = list(_GROUP.finditer(text, run.start(), run.end()))
    lengths = [g.end() - g.start() for g in groups]
    gaps = [text[a.end() : b.start()] for a, b in pairwise(groups)]
    for first in range(len(groups)):
        if first and not _stands_apart(gaps[first - 1]):
            continue
        for last in range(first, min(first + _MOST_GROUPS, len(groups))):
            of_shape = _RULES.get(tuple(lengths[first : last + 1]))
            if of_shape is None or (last + 1 < len(groups) and not _stands_apart(gaps[last])):
                continue
            number = _number(text, groups[first : last + 1], gaps[first:last])
            if number:
                yield from _judge(number, of_shape)


def _stands_apart(gap: str) -> bool:
    """Whether a number may begin or end at this gap of a run: 010-1234-5678 02-123-4567."""
    return any(c in gap for c in " ()")


def _number(text: str, groups: Sequence[re.Match[str]], gaps: Sequence[str]) -> Number | None:
    separators = "".join(_SEPARATORS.get(gap, "?") for gap in gaps)
    if "?" in separators:
        return None
    start, end = groups[0].start(), groups[-1].end()
    return Number(text, start, end, tuple(g[0] for g in groups), separators)


def _judge(number: Number, of_shape: Sequence[tuple[str, Rule]]) -> Iterator[Candidate]:
    text, start, end = number.text, number.start, number.end
    before = text[max(0, start - 2) : start]
    if region := _REGION_BEFORE.search(text[max(0, start - 5) : start]):
        yield from _licence_of_region(number, len(region[0]))
    if NOT_BEFORE.search(before) or _NOT_AFTER.match(text, end):
        return
    bare = not number.separators
    if bare and (_AMOUNT_BEFORE.search(before) or _AMOUNT_AFTER.match(text, end)):
        return
    for kind, rule in of_shape:
        if (certainty := rule(number)) and not called_other(text, start):
            yield Candidate(kind, _opened(number) if kind == "phone" else start, end, certainty)


def _disguised(text: str, spelled: disguise.Spelled) -> Iterator[Candidate]:
    """An odd spelling needs the name of the kind; a phone may do without, if it looks like one."""
    groups, excluded = spelled.groups, set[str]()
    of_shape = _RULES.get(tuple(map(len, groups)), ())
    if spelled.cut:  # what is complete before the line break ends there
        excluded = {kind for kind, _ in _RULES.get(tuple(map(len, groups[: spelled.cut])), ())}
        if not of_shape and len(groups) == 2:  # bare digits broken in the middle, or two amounts
            groups, excluded = ("".join(groups),), {"account", "phone"}
            of_shape = _RULES.get((len(groups[0]),), ())
    number = Number(text, spelled.start, spelled.end, groups, "-" * (len(groups) - 1))
    for found in _judge(number, of_shape):
        checked = found.certainty is Certainty.CHECKED and not spelled.boxed
        phone = found.kind == "phone" and (checked or spelled.spoken)
        if (phone or found.certainty is Certainty.NAMED) and found.kind not in excluded:
            yield found


def _licence_of_region(number: Number, region: int) -> Iterator[Candidate]:
    """서울 12-345678-90, the older spelling of a driving licence; without dashes if named."""
    named = "driver_license" in number.names()
    lengths = tuple(map(len, number.groups))
    if (lengths == (2, 6, 2) and number.joint == "-") or (lengths == (10,) and named):
        certainty = Certainty.NAMED if named else Certainty.SHAPE
        yield Candidate("driver_license", number.start - region, number.end, certainty)


def _opened(number: Number) -> int:
    """The start of a phone number with its plus sign or bracket: (02)123-4567, (+82)10-..."""
    start = number.start
    start -= number.text[max(0, start - 1) : start] == "+"
    bracket = number.separators.startswith(")") and number.text[max(0, start - 1) : start] == "("
    return start - bracket


_SEPARATORS = {"-": "-", " - ": "~", "- ": "-", " -": "-", ".": ".", " ": " "}
_SEPARATORS |= {")": ")", ") ": ")", ")-": ")", " (": " ", "(": " ", "-(": "-", ")-(": ")"}
_BANK_SHAPES = (
    *("6-2-6", "3-3-6", "3-2-6", "4-3-6", "3-6-5", "3-4-4-2", "3-6-2-3", "4-2-7", "4-4-4"),
    *("4-4-4-1", "3-2-6-1", "3-6-3", "3-4-4-3", "3-2-7", "2-2-6", "3-2-4-3", "3-2-5-1", "3-2-6-2"),
    *("3-4-6", "3-5-6", "4-2-6", "6-2-5", "3-3-7", "2-3-6-3", "10", "11", "12", "13", "14"),
)
_PHONE_SHAPES = (
    *("3-4-4", "3-3-4", "2-3-4", "2-4-4", "4-3-4", "4-4-4", "4-4", "8", "9", "10", "11", "12"),
    *("2-2-4-4", "2-2-3-4", "2-1-3-4", "2-1-4-4", "2-3-4-4", "2-3-3-4", "2-1-2-4-4", "2-1-2-3-4"),
    *("2-1-1-3-4", "2-1-1-4-4", "2-10", "2-9", "13"),
    *("4-2-4-4", "4-2-3-4", "4-1-2-4-4", "4-1-2-3-4"),
)
_SHAPES: dict[str, tuple[Rule, tuple[str, ...]]] = {
    "corporate_no": (rules.corporate_no, ("6-7", "13")),
    "rrn": (rules.rrn, ("6-7", "13")),
    "business_no": (rules.business_no, ("3-2-5", "10")),
    "driver_license": (rules.driver_license, ("2-2-6-2", "12")),
    "card": (rules.card, ("4-4-4-4", "4-6-5", "4-6-4", "16", "15", "14")),
    "phone": (rules.phone, _PHONE_SHAPES),
    "account": (rules.account, _BANK_SHAPES),
}


def _by_shape() -> dict[tuple[int, ...], list[tuple[str, Rule]]]:
    table: dict[tuple[int, ...], list[tuple[str, Rule]]] = {(2, 6, 2): []}  # licence of a region
    for kind, (rule, shapes) in _SHAPES.items():
        for shape in shapes:
            table.setdefault(tuple(map(int, shape.split("-"))), []).append((kind, rule))
    return table


_REGION_BEFORE = re.compile(
    r"(?:서울|부산|경기(?:남부|북부)?|강원|충북|충남|전북|전남|경북|경남|제주|대구|인천|광주|대전|울산)"
    r"[ _-]?\Z"
)
_RULES = _by_shape()
_MOST_GROUPS = max(map(len, _RULES))
