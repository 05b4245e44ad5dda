"""Numbers with letters or painted-over digits in them: passports, masked residents' numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator

from yaongi.data.pii import check
from yaongi.data.pii.candidate import Candidate, Certainty
from yaongi.data.pii.context import called_other, names_before
from yaongi.data.pii.numbers import NOT_BEFORE

_PAINT = "*●○■□☆★ㅇ"  # for nothing else behind digits; x, # and O are
_MASK = rf"[{_PAINT}xX•#O]"
_MASKED_RRN = re.compile(
    r"[0-9](?<![0-9][0-9])[0-9]{5}(?P<dash> ?-[ \n]?|\n(?=[1-8]))?"
    rf"(?=[0-9]{{0,6}}+{_MASK})(?:[1-8]|{_MASK})(?:[0-9]|{_MASK}){{6}}{_MASK}?(?![0-9A-Za-z])"
)
_PAINTED = re.compile(rf"[{_PAINT}]{{6}}")
_PASSPORT = re.compile(
    r"[MSms](?:(?P<apart>[ -]|\. )?[0-9]{3}(?:[0-9]{5}|[A-Za-z][0-9]{4})"
    r"|(?P<boxed>(?: [0-9]){3} [0-9A-Za-z](?: [0-9]){4}))(?![0-9A-Za-z_-])"
)
_AFTER = 20  # characters behind a passport's number in which its name may begin


def find(text: str) -> Iterator[Candidate]:
    """Candidates in a folded text."""
    yield from _masked_rrns(text)
    yield from _passports(text)


def _masked_rrns(text: str) -> Iterator[Candidate]:
    """901231-1******: date of birth and sex are personal still.

    The digit of the century is sometimes invented, so the date must exist in one of them.
    """
    for m in _MASKED_RRN.finditer(text):
        born = check.birth_date(m[0][:6] + "1") or check.birth_date(m[0][:6] + "3")
        if not born or NOT_BEFORE.search(text[max(0, m.start() - 2) : m.start()]):
            continue
        sure = m["dash"] or _PAINTED.match(m[0], len(m[0]) - 6)
        if sure or "rrn" in names_before(text, m.start()):
            yield Candidate("rrn", m.start(), m.end(), Certainty.CHECKED)


def _passports(text: str) -> Iterator[Candidate]:
    """M12345678 is also a part number, so it must be named; M123A4567 is rare enough."""
    for m in _PASSPORT.finditer(text):
        before = text[max(0, m.start() - 1) : m.start()]
        if before.isascii() and (before.isalnum() or before in ("_", "-", "#", "/")) and before:
            continue
        behind = names_before(text, min(len(text), m.end() + _AFTER), m.end() - m.start() + _AFTER)
        if "passport" in names_before(text, m.start()) | behind:
            yield Candidate("passport", m.start(), m.end(), Certainty.NAMED)
        elif m["apart"] or m["boxed"]:
            continue
        elif m[0][4].isalpha() and m[0].isupper() and not called_other(text, m.start()):
            yield Candidate("passport", m.start(), m.end(), Certainty.SHAPE)
