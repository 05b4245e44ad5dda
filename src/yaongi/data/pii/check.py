"""Check digits, and the dates and prefixes that make a number possible."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date

RANDOM_SINCE = date(2020, 10, 5)
"""From this day on numbers of residents are given out without region and check digit."""
_LAST_BIRTH_YEAR = 2035  # a constant, not today's year: the same corpus gives the same text
_CARD_PREFIX = re.compile(
    r"4|5[1-5]|2(?:22[1-9]|2[3-9]|[3-6]|7[01]|720)"  # Visa, Mastercard
    r"|3(?:[47]|5(?:2[89]|[3-8])|0[0-5]|[68])"  # American Express, JCB, Diners
    r"|62|60|65|9"  # UnionPay, Discover, cards for use in Korea only
)


def weighted_sum(digits: str, weights: Iterable[int]) -> int:
    """Digits times weights."""
    return sum(int(d) * w for d, w in zip(digits, weights, strict=True))


def birth_date(digits: str) -> date | None:
    """The date of birth in a resident's number: YYMMDD and the digit of century and sex.

    1, 2 (foreigners 5, 6) are born in the 1900s, 3, 4 (7, 8) in the 2000s.
    """
    if digits[6] not in "12345678":
        return None
    century = 1900 if digits[6] in "1256" else 2000
    try:
        born = date(century + int(digits[:2]), int(digits[2:4]), int(digits[4:6]))
    except ValueError:
        return None
    return born if born.year <= _LAST_BIRTH_YEAR else None


def is_foreigner(digits: str) -> bool:
    """Whether a resident's number is that of a foreigner."""
    return digits[6] in "5678"


def rrn_checks(digits: str) -> bool:
    """The check digit of residents' numbers given out before October 2020.

    For foreigners Korean sources add 2 to it and python-stdnum does not; both are taken. Known
    answers (python-stdnum): 971013-9019902 and, of a foreigner, 850126-6401473.
    """
    total = weighted_sum(digits[:12], (2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5))
    added = (0, 2) if is_foreigner(digits) else (0,)
    return any((11 + more - total % 11) % 10 == int(digits[12]) for more in added)


def business_checks(digits: str) -> bool:
    """The check digit of business registration numbers; known answer: 116-82-00276."""
    total = weighted_sum(digits[:9], (1, 3, 7, 1, 3, 7, 1, 3, 5)) + int(digits[8]) * 5 // 10
    return -total % 10 == int(digits[9])


def corporate_checks(digits: str) -> bool:
    """The check digit of corporations' registration numbers."""
    return -weighted_sum(digits[:12], (1, 2) * 6) % 10 == int(digits[12])


def ean_checks(digits: str) -> bool:
    """The check digit of 13-digit bar codes (EAN-13, ISBN-13)."""
    return weighted_sum(digits, (1, 3) * 6 + (1,)) % 10 == 0


def card_checks(digits: str) -> bool:
    """A prefix that issuers use, and the check digit of ISO/IEC 7812 (Luhn)."""
    if not _CARD_PREFIX.match(digits):
        return False
    doubled = (int(d) * (1 + i % 2) for i, d in enumerate(reversed(digits)))
    return sum(n - 9 * (n > 9) for n in doubled) % 10 == 0
