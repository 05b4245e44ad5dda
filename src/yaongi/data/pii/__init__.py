"""Personal data in Korean text: where it stands, and the text with placeholders instead.

Numbers are told by their check digits, grouping and the words before them, not by digits alone:
the patterns of older Korean corpora (EleutherAI/dps, ``korean_prep.py``) take any nine digits for
a phone number and any date range for a bank account. What is found and what not: docs/pii.md.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from yaongi.data.pii import address, letters, messenger, network, numbers
from yaongi.data.pii.candidate import Candidate
from yaongi.data.pii.fold import fold

KINDS = (
    *("rrn", "phone", "business_no", "corporate_no", "passport", "driver_license"),
    *("card", "account", "email", "ip", "messenger", "address"),
)
_FINDERS = (numbers.find, letters.find, network.find, messenger.find, address.find)


class Finding(NamedTuple):
    """``text[start:end]`` is personal data of this kind."""

    kind: str
    start: int
    end: int


def find(text: str) -> list[Finding]:
    """What is personal in ``text``, in order and without overlap; offsets are those of ``text``.

    Time grows linearly with the text, whatever it holds.
    """
    folded = fold(text)
    candidates = (c for finder in _FINDERS for c in finder(folded.text))
    return [Finding(c.kind, *folded.span(c.start, c.end)) for c in _disjoint(candidates)]


def scrub(text: str) -> str:
    """``text`` with a placeholder, such as ``[PHONE]``, for each finding.

    Scrubbing twice changes nothing more: a placeholder moves words closer to the number behind
    it, so the result is read again until nothing is found.
    """
    while findings := find(text):
        text = "".join(_replaced(text, findings))
    return text


def placeholders(text: str) -> Counter[str]:
    """How many placeholders of each kind ``text`` holds."""
    return Counter(kind.lower() for kind in _PLACEHOLDER.findall(text))


_PLACEHOLDER = re.compile(rf"\[({'|'.join(kind.upper() for kind in KINDS)})\]")


def _replaced(text: str, findings: list[Finding]) -> Iterator[str]:
    done = 0
    for kind, start, end in findings:
        yield text[done:start]
        yield f"[{kind.upper()}]"
        done = end
    yield text[done:]


def _disjoint(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Of overlapping candidates the most certain, then the longest."""
    kept: list[Candidate] = []
    for new in sorted(candidates, key=lambda c: (c.start, -c.end)):
        if not kept or new.start >= kept[-1].end:
            kept.append(new)
        elif new.rank > kept[-1].rank:
            kept[-1] = new
    return kept
