"""Rules for numbers: how sure is it that digits in these groups are of this kind?"""

from __future__ import annotations

import re
from typing import NamedTuple

from yaongi.data.pii import check
from yaongi.data.pii.candidate import Certainty
from yaongi.data.pii.context import bank_after, company_after, names_before


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


def rrn(number: Number) -> Certainty:
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


def corporate_no(number: Number) -> Certainty:
    """A corporation's number: register office, kind of corporation, serial, check digit."""
    digits = number.digits
    if number.joint not in ("-", "") or not check.corporate_checks(digits):
        return Certainty.NO
    if "corporate_no" in number.names() and _CORPORATE.match(digits):
        return Certainty.NAMED
    return Certainty.CHECKED if _COMMON_CORPORATE.match(digits) else Certainty.NO


def business_no(number: Number) -> Certainty:
    """A business registration number; ten bare digits need its name."""
    digits = number.digits
    if digits[0] == "0" or digits[3:5] == "00" or not check.business_checks(digits):
        return Certainty.NO
    if "business_no" in number.names() or company_after(number.text, number.end):
        return Certainty.NAMED
    return Certainty.CHECKED if number.joint == "-" else Certainty.NO


def driver_license(number: Number) -> Certainty:
    """Region code, year, serial, check digits."""
    if not 11 <= int(number.digits[:2]) <= 28 or number.joint not in ("-", " ", ""):
        return Certainty.NO
    if "driver_license" in number.names():
        return Certainty.NAMED
    return Certainty.SHAPE if number.joint == "-" else Certainty.NO


def card(number: Number) -> Certainty:
    """A payment card's number; not among other numbers: 1234 5678 9012 3456 7890."""
    if number.joint not in ("-", " ", "") or not check.card_checks(number.digits):
        return Certainty.NO
    if "card" in number.names():
        return Certainty.NAMED
    inside_more = number.joint == " " and _DIGIT_NEAR.search(_around(number))
    return Certainty.NO if inside_more else Certainty.CHECKED


def account(number: Number) -> Certainty:
    """A bank account: never without its name, for most banks have no public check digit."""
    names, digits = names_before(number.text, number.start, _BANK_REACH), number.digits
    if number.joint not in ("-", " ", "") or (not number.joint and _DATED.match(digits)):
        return Certainty.NO
    if number.joint == "" and digits.startswith("01"):
        return Certainty.NO  # a phone
    if all(_YEAR.fullmatch(group) for group in number.groups):
        return Certainty.NO
    if number.joint == " " and _DIGIT_NEAR.search(_around(number)):
        return Certainty.NO  # a part of a card's number
    named = "account" in names and names["account"] == min(names.values())
    return Certainty.NAMED if named or bank_after(number.text, number.end) else Certainty.NO


def phone(number: Number) -> Certainty:
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


def _is_years(spelled: str) -> bool:
    first, last = map(int, spelled.split("-"))
    return first < last < first + 150


def _around(number: Number) -> str:
    """The text close to a number, with the number itself left out."""
    before = number.text[max(0, number.start - 2) : number.start]
    return f"{before}|{number.text[number.end : number.end + 2]}"


_BANK_REACH = 45  # 입금 1,000,000원 2024-01-02 10:20 and then the account
_CORPORATE = re.compile(r"(?:1[1-9]|2[0-4])[0-9]{2}(?:1[1-5]|2[1-9]|[3-8][0-9])")
_COMMON_CORPORATE = re.compile(r"(?:1[1-9]|2[0-4])[0-9]{2}(?:1[145]|2[12])")  # companies, societies
_YEAR = re.compile("(?:19|20)[0-9]{2}")
_DATED = re.compile(r"20[0-3][0-9](?:0[1-9]|1[0-2])(?:[0-2][0-9]|3[01])")
_DIGIT_NEAR = re.compile(r"[0-9] ?\||\| ?[0-9]")
_MOBILE = re.compile(r"010-?[0-9]{4}-?[0-9]{4}$")
_PHONE = re.compile(
    r"010-?[0-9]{3,4}-?[0-9]{4}|01[16-9]-?[1-9][0-9]{2,3}-?[0-9]{4}"
    r"|(?:02|03[1-3]|04[1-4]|05[1-5]|06[1-4])-?[1-9][0-9]{2,3}-?[0-9]{4}"
    r"|0(?:70|80|50[2-9]?)-?[0-9]{3,4}-?[0-9]{4}"
    r"|1(?:5(?:22|33|44|55|66|77|88|99)|6(?:00|11|22|33|44|55|60|61|66|68|70|77|88|99)"
    r"|8(?:00|11|22|33|44|55|66|77|88|99))-?[0-9]{4}"
)
