"""Numbers of persons, companies, phones, cards and accounts.

Digits joined by dashes, dots or spaces form a run; each stretch of a run that stands for itself
is looked up by the lengths of its groups (6-7, 3-4-4, ...), and the rules for that shape decide.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from yaongi.data.pii import check
from yaongi.data.pii.candidate import Candidate, Certainty
from yaongi.data.pii.context import bank_after, called_other, company_after, names_before

# A regex that begins with a plain class is scanned several times faster, so the look behind comes
# second. Groups are possessive: no digit is tried twice.
_RUN = re.compile(r"[0-9](?<![0-9][0-9])(?:[-. ()]{0,3}+[0-9]){7,}+")
_GROUP = re.compile(r"[0-9]+")
_NOT_BEFORE = re.compile(r"[A-Za-z0-9_.\\%^*$#-]$")
_NOT_AFTER = re.compile(r"[A-Za-z0-9_%^*]|[-.]+[A-Za-z0-9]| ?=")
_AMOUNT_BEFORE = re.compile(r"[0-9][,:]$|[A-Za-z0-9]/$")  # of digits without a separator
_AMOUNT_AFTER = re.compile(r" ?[원명개년억만천건점위표대%℃]| ?달러|[,:][0-9]{2,3}(?![0-9])")


class Number(NamedTuple):
    """Groups of digits that may be one number, and the characters between them."""

    text: str
    start: int
    end: int
    groups: tuple[str, ...]
    separators: str  # one of "-~ .)" per gap; ~ is a dash between spaces

    @property
    def digits(self) -> str:
        """All digits without separators."""
        return "".join(self.groups)

    @property
    def joint(self) -> str | None:
        """The one separator, "" of a bare number, None when they differ."""
        return self.separators[:1] if len(set(self.separators)) < 2 else None

    def names(self) -> dict[str, int]:
        """Kinds named in the words before."""
        return names_before(self.text, self.start)


Rule = Callable[[Number], Certainty]


def find(text: str) -> Iterator[Candidate]:
    """Candidates of all kinds that are made of digits, in a folded text."""
    for run in _RUN.finditer(text):
        yield from _in_run(text, run)
    yield from _masked_rrns(text)
    yield from _passports(text)


def _in_run(text: str, run: re.Match[str]) -> Iterator[Candidate]:
    groups = list(_GROUP.finditer(text, run.start(), run.end()))
    lengths = [g.end() - g.start() for g in groups]
    gaps = [text[a.end() : b.start()] for a, b in pairwise(groups)]
    for first in range(len(groups)):
        if first and not _stands_apart(gaps[first - 1]):
            continue
        for last in range(first, min(first + _MOST_GROUPS, len(groups))):
            rules = _RULES.get(tuple(lengths[first : last + 1]))
            if rules is None or (last + 1 < len(groups) and not _stands_apart(gaps[last])):
                continue
            number = _number(text, groups[first : last + 1], gaps[first:last])
            if number:
                yield from _judge(number, rules)


def _stands_apart(gap: str) -> bool:
    """Whether a number may begin or end at this gap of a run: 010-1234-5678 02-123-4567."""
    return any(c in gap for c in " ()")


def _number(text: str, groups: Sequence[re.Match[str]], gaps: Sequence[str]) -> Number | None:
    separators = "".join(_SEPARATORS.get(gap, "?") for gap in gaps)
    if "?" in separators:
        return None
    start, end = groups[0].start(), groups[-1].end()
    return Number(text, start, end, tuple(g[0] for g in groups), separators)


def _judge(number: Number, rules: Sequence[tuple[str, Rule]]) -> Iterator[Candidate]:
    text, start, end = number.text, number.start, number.end
    before = text[max(0, start - 2) : start]
    if region := _REGION_BEFORE.search(text[max(0, start - 5) : start]):
        yield from _licence_of_region(number, len(region[0]))
    if _NOT_BEFORE.search(before) or _NOT_AFTER.match(text, end):
        return
    bare = not number.separators
    if bare and (_AMOUNT_BEFORE.search(before) or _AMOUNT_AFTER.match(text, end)):
        return
    for kind, rule in rules:
        if (certainty := rule(number)) and not called_other(text, start):
            yield Candidate(kind, _opened(number) if kind == "phone" else start, end, certainty)


# --- rules: how sure is it that the number is of this kind? ------------------------------------


def _rrn(number: Number) -> Certainty:
    """A resident's number.

    People registered since October 2020, whoever changed the number, and foreigners registered
    since, have no check digit. So it is asked for where nearly all numbers have one: of citizens
    born before, and of thirteen bare digits.
    """
    digits, joint, names = number.digits, number.joint, number.names()
    born = check.birth_date(digits)
    if born is None or joint == ".":
        return Certainty.NO
    if "rrn" in names:
        return Certainty.NAMED
    if not joint and digits.startswith("880") and check.ean_checks(digits):
        return Certainty.NO  # a Korean bar code: 8801062... also reads as 4 January 1988
    if check.rrn_checks(digits):
        return Certainty.CHECKED
    is_random = born >= check.RANDOM_SINCE or check.is_foreigner(digits)
    return Certainty.SHAPE if joint in ("-", "~", " ") and is_random else Certainty.NO


def _corporate_no(number: Number) -> Certainty:
    """A corporation's number: register office, kind of corporation, serial, check digit."""
    digits = number.digits
    if number.joint not in ("-", "") or not check.corporate_checks(digits):
        return Certainty.NO
    if "corporate_no" in number.names() and _CORPORATE.match(digits):
        return Certainty.NAMED
    return Certainty.CHECKED if _COMMON_CORPORATE.match(digits) else Certainty.NO


def _business_no(number: Number) -> Certainty:
    digits = number.digits
    if digits[0] == "0" or digits[3:5] == "00" or not check.business_checks(digits):
        return Certainty.NO
    if "business_no" in number.names() or company_after(number.text, number.end):
        return Certainty.NAMED
    return Certainty.CHECKED if number.joint == "-" else Certainty.NO


def _driver_license(number: Number) -> Certainty:
    """Region code, year, serial, check digits."""
    if not 11 <= int(number.digits[:2]) <= 28 or number.joint not in ("-", " ", ""):
        return Certainty.NO
    if "driver_license" in number.names():
        return Certainty.NAMED
    return Certainty.SHAPE if number.joint == "-" else Certainty.NO


def _card(number: Number) -> Certainty:
    if number.joint not in ("-", " ", "") or not check.card_checks(number.digits):
        return Certainty.NO
    if "card" in number.names():
        return Certainty.NAMED
    inside_more = number.joint == " " and _DIGIT_NEAR.search(_around(number))
    return Certainty.NO if inside_more else Certainty.CHECKED


def _account(number: Number) -> Certainty:
    """A bank account: never without its name, for most banks have no public check digit."""
    names, digits = number.names(), number.digits
    if number.joint not in ("-", " ", "") or (not number.joint and _DATED.match(digits)):
        return Certainty.NO
    if number.joint == "" and digits.startswith("01"):
        return Certainty.NO  # a phone
    named = "account" in names and names["account"] == min(names.values())
    return Certainty.NAMED if named or bank_after(number.text, number.end) else Certainty.NO


def _phone(number: Number) -> Certainty:
    """A number of the Korean plan: mobile, area, internet, toll-free, personal, service."""
    national, abroad = _national(number)
    spelled = "-".join(national.groups)
    if not _PHONE.fullmatch(spelled):
        return Certainty.NO
    joint = number._replace(separators=national.separators).joint
    if joint is None:
        return Certainty.NO
    if "phone" in number.names():
        return Certainty.NAMED
    if joint == "~":  # a subtraction
        return Certainty.NO
    if abroad or _MOBILE.match(spelled):
        return Certainty.CHECKED
    if not joint or (len(national.groups) == 2 and (joint != "-" or _is_years(spelled))):
        return Certainty.NO  # 0212345678, 1588.1234 and 1592-1598 are more often something else
    return Certainty.SHAPE


class _National(NamedTuple):
    groups: tuple[str, ...]
    separators: str


def _national(number: Number) -> tuple[_National, bool]:
    """Groups as dialled in Korea, and whether +82 stood before: +82 (0)10-... is 010-..."""
    groups, separators = number.groups, number.separators
    plus = number.text[max(0, number.start - 1) : number.start] == "+"
    code = "0082" if groups[0] == "0082" else "82"
    if groups[0].startswith(code) and (plus or code == "0082" or len(groups) > 1):
        rest = (groups[0][len(code) :], *groups[1:])
        rest = rest[1:] if not rest[0] else rest
        if rest and rest[0] == "0" and len(rest) > 1:
            rest = rest[1:]
        if rest and not rest[0].startswith("0"):
            rest = ("0" + rest[0], *rest[1:])
        return _National(rest, separators[len(separators) - len(rest) + 1 :]), True
    if separators.startswith(")"):
        separators = separators[1:]
    return _National(groups, separators), False


def _opened(number: Number) -> int:
    """The start of a phone number with its plus sign or bracket: (02)123-4567, (+82)10-..."""
    start = number.start
    start -= number.text[max(0, start - 1) : start] == "+"
    bracket = number.separators.startswith(")") and number.text[max(0, start - 1) : start] == "("
    return start - bracket


def _is_years(spelled: str) -> bool:
    first, last = map(int, spelled.split("-"))
    return first < last < first + 150


def _around(number: Number) -> str:
    """The text close to a number, with the number itself left out."""
    before = number.text[max(0, number.start - 2) : number.start]
    return f"{before}|{number.text[number.end : number.end + 2]}"


_SEPARATORS = {"-": "-", " - ": "~", "- ": "-", " -": "-", ".": ".", " ": " "}
_SEPARATORS |= {")": ")", ") ": ")", ")-": ")", " (": " ", "(": " "}
_CORPORATE = re.compile(r"(?:1[1-9]|2[0-4])[0-9]{2}(?:1[1-5]|2[1-9]|[3-8][0-9])")
_COMMON_CORPORATE = re.compile(r"(?:1[1-9]|2[0-4])[0-9]{2}(?:1[145]|2[12])")  # companies, societies
_DATED = re.compile(r"20[0-3][0-9](?:0[1-9]|1[0-2])(?:[0-2][0-9]|3[01])")
_DIGIT_NEAR = re.compile(r"[0-9]")
_MOBILE = re.compile(r"010-?[0-9]{4}-?[0-9]{4}$")
_PHONE = re.compile(
    r"010-?[0-9]{3,4}-?[0-9]{4}|01[16-9]-?[1-9][0-9]{2,3}-?[0-9]{4}"
    r"|(?:02|03[1-3]|04[1-4]|05[1-5]|06[1-4])-?[1-9][0-9]{2,3}-?[0-9]{4}"
    r"|0(?:70|80|50[2-9]?)-?[0-9]{3,4}-?[0-9]{4}"
    r"|1(?:5(?:22|33|44|55|66|77|88|99)|6(?:00|11|22|33|44|55|60|61|66|68|70|77|88|99)"
    r"|8(?:00|11|22|33|44|55|66|77|88|99))-?[0-9]{4}"
)
_BANK_SHAPES = (
    *("6-2-6", "3-3-6", "3-2-6", "4-3-6", "3-6-5", "3-4-4-2", "3-6-2-3", "4-2-7", "4-4-4"),
    *("4-4-4-1", "3-2-6-1", "3-6-3", "3-4-4-3", "3-2-7", "2-2-6", "3-2-4-3", "3-2-5-1", "3-2-6-2"),
    *("3-4-6", "3-5-6", "4-2-6", "6-2-5", "3-3-7", "2-3-6-3", "10", "11", "12", "13", "14"),
)
_PHONE_SHAPES = (
    *("3-4-4", "3-3-4", "2-3-4", "2-4-4", "4-3-4", "4-4-4", "4-4", "8", "9", "10", "11", "12"),
    *("2-2-4-4", "2-2-3-4", "2-1-3-4", "2-1-4-4", "2-3-4-4", "2-3-3-4", "2-1-2-4-4", "2-1-2-3-4"),
    *("2-1-1-3-4", "2-1-1-4-4", "2-10", "2-9", "13"),
)
_SHAPES: dict[str, tuple[Rule, tuple[str, ...]]] = {
    "corporate_no": (_corporate_no, ("6-7", "13")),
    "rrn": (_rrn, ("6-7", "13")),
    "business_no": (_business_no, ("3-2-5", "10")),
    "driver_license": (_driver_license, ("2-2-6-2", "12")),
    "card": (_card, ("4-4-4-4", "4-6-5", "4-6-4", "16", "15", "14")),
    "phone": (_phone, _PHONE_SHAPES),
    "account": (_account, _BANK_SHAPES),
}


def _by_shape() -> dict[tuple[int, ...], list[tuple[str, Rule]]]:
    table: dict[tuple[int, ...], list[tuple[str, Rule]]] = {(2, 6, 2): []}  # licence of a region
    for kind, (rule, shapes) in _SHAPES.items():
        for shape in shapes:
            table.setdefault(tuple(map(int, shape.split("-"))), []).append((kind, rule))
    return table


_RULES = _by_shape()
_MOST_GROUPS = max(map(len, _RULES))

# --- numbers with letters or stars in them ------------------------------------------------------

_REGION_BEFORE = re.compile(
    r"(?:서울|부산|경기(?:남부|북부)?|강원|충북|충남|전북|전남|경북|경남|제주|대구|인천|광주|대전|울산)"
    r"[ -]?$"
)
_MASK = r"[*●○■xX•#]"
_MASKED_RRN = re.compile(
    r"[0-9](?<![0-9][0-9])[0-9]{5} ?- ?"
    rf"(?=[0-9]{{0,6}}+{_MASK})(?:[1-8]|{_MASK})(?:[0-9]|{_MASK}){{6}}"
)
_PASSPORT = re.compile(r"[MSms][0-9]{3}(?:[0-9]{5}|[A-Za-z][0-9]{4})(?![0-9A-Za-z_-])")


def _licence_of_region(number: Number, region: int) -> Iterator[Candidate]:
    """서울 12-345678-90, the older spelling of a driving licence."""
    if len(number.groups) == 3 and number.joint == "-" and len(number.groups[1]) == 6:
        named = "driver_license" in number.names()
        certainty = Certainty.NAMED if named else Certainty.SHAPE
        yield Candidate("driver_license", number.start - region, number.end, certainty)


def _masked_rrns(text: str) -> Iterator[Candidate]:
    """901231-1******: date of birth and sex are personal still."""
    for m in _MASKED_RRN.finditer(text):
        century = m[0][-7] if m[0][-7].isdigit() else "1"
        born = check.birth_date(m[0][:6] + century) or check.birth_date(m[0][:6] + "3")
        if born and not _NOT_BEFORE.search(text[max(0, m.start() - 2) : m.start()]):
            yield Candidate("rrn", m.start(), m.end(), Certainty.CHECKED)


def _passports(text: str) -> Iterator[Candidate]:
    """M12345678 is also a part number, so it must be named; M123A4567 is rare enough."""
    for m in _PASSPORT.finditer(text):
        before = text[max(0, m.start() - 1) : m.start()]
        if before.isascii() and (before.isalnum() or before in ("_", "-", "#", "/")) and before:
            continue
        around = names_before(text, m.start()) | names_before(text, min(len(text), m.end() + 10))
        if "passport" in around:
            yield Candidate("passport", m.start(), m.end(), Certainty.NAMED)
        elif m[0][4].isalpha() and m[0].isupper() and not called_other(text, m.start()):
            yield Candidate("passport", m.start(), m.end(), Certainty.SHAPE)
