"""Repairs what wrong decoding did to a text, and brings it to NFC without invisible characters.

Mojibake of UTF-8 is ftfy's work (Speer 2019, https://ftfy.readthedocs.io). Korean text in CP949
or EUC-KR, half-width jamo and stray conjoining jamo are ours: ftfy knows no East Asian encoding.
Compatibility jamo (ㅋㅋ, ㅠㅠ) stay as they are; nothing here is NFKC.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from functools import cache
from typing import ClassVar

from pydantic import Field

from yaongi.data.filters import Cleaned, Conversations, Filter, hangul_runs, optional_module, settle
from yaongi.text import hangul
from yaongi.text.normalize import nfc


class Encoding(Filter):
    """Drops a document only when too much of it is beyond repair.

    Args:
        max_damage: largest share of characters that are lost: U+FFFD, and the syllables nobody
            writes that appear when UTF-8 is read as CP949.
    """

    conversations: ClassVar[Conversations] = Conversations.EACH
    kind: str = "encoding"
    max_damage: float = Field(default=0.01, ge=0.0, le=1.0)

    def clean(self, text: str) -> Cleaned:
        done: set[str] = set()
        repaired = settle(text, lambda before: _repair(before, done))
        if repaired is None:
            return Cleaned(nfc(text), "never settles")
        changed = Counter(done)
        if apart := len(_CONJOINING.findall(repaired)):
            changed["jamo left apart"] = apart
        lost = _damage(repaired) > self.max_damage
        return Cleaned(repaired, "unreadable" if lost else "", changed)


def _repair(text: str, done: set[str]) -> str:
    for reason, repair in _REPAIRS.items():
        repaired = repair(text)
        if repaired != text:
            done.add(reason)
        text = repaired
    return text


# --- bytes read in the wrong encoding --------------------------------------------------------

_HIGH = "\u0080-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc\u2013\u2014"
_HIGH += "\u2018-\u201a\u201c-\u201e\u2020-\u2022\u2026\u2030\u2039\u203a\u20ac\u2122"
"""The bytes 80 to BF, as Latin-1 shows them and as Windows-1252 does."""
_UTF8 = re.compile(rf"[\u00c2-\u00f4][{_HIGH}]")
_SEGMENT = re.compile(rf"[\t -~\u00c0-\u00ff{_HIGH}]+")
"""What can be bytes shown as Windows-1252, the superset of Latin-1 that browsers use."""
_HANGUL_BYTES = re.compile("(?:[\u00b0-\u00c8][\u00a1-\u00fe]){2,}")
_LOST_UTF8 = re.compile("占(?:쏙옙|쏙|싼|쌔|쎄|쎈|쎌)")
"""U+FFFD in UTF-8 (EF BF BD, twice) read as CP949: what was there is gone."""


def _cp949(text: str) -> str:
    """``ÇÑ±Û`` -> ``한글``."""
    if not _HANGUL_BYTES.search(text):
        return text
    return _SEGMENT.sub(lambda found: _decoded(found[0]), text)


def _decoded(segment: str) -> str:
    """The segment as the Korean it was, the whole or only its sure parts; else unchanged."""
    runs = [run for run in _HANGUL_BYTES.findall(segment) if _is_proof(run)]
    if not runs:
        return segment
    for codec in ("latin-1", "sloppy-windows-1252"):  # the second comes with ftfy
        try:
            raw = segment.encode(codec)
        except UnicodeEncodeError:
            continue
        for encoding in ("utf-8", "cp949"):  # UTF-8 hardly ever fits by accident, so it goes first
            try:
                return raw.decode(encoding)
            except UnicodeDecodeError:
                continue
    return _HANGUL_BYTES.sub(
        lambda run: run[0].encode("latin-1").decode("cp949") if _is_proof(run[0]) else run[0],
        segment,
    )


def _is_proof(run: str) -> bool:
    """Two syllables or more of KS X 1001. Ornaments such as ``¸¸.·´¯`` repeat a few signs."""
    return len(set(run)) > 2 and any(char >= "À" for char in run)


def _utf8(text: str) -> str:
    """``í•œê¸€`` -> ``한글``, line by line because ftfy is slow and a text may mix."""
    if not _UTF8.search(text):
        return text
    fix = optional_module("ftfy").fix_encoding
    return "\n".join(fix(line) if _UTF8.search(line) else line for line in text.split("\n"))


def _mark_lost(text: str) -> str:
    """``占쏙옙`` -> U+FFFD, which says the same honestly."""
    return _LOST_UTF8.sub("\ufffd", text)


def _surrogates(text: str) -> str:
    """Pairs joined, halves of a pair marked as lost."""
    if not _SURROGATE.search(text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


_SURROGATE = re.compile("[\ud800-\udfff]")


def _damage(text: str) -> float:
    """The share of characters that are lost."""
    lost = text.count("\ufffd")
    rare = _rare_syllables().findall(text)
    if len(set(rare)) >= _TOO_MANY_RARE and len(rare) > _RARE_SHARE * sum(hangul_runs(text)):
        lost += len(rare)
    return lost / max(1, len(text))


_TOO_MANY_RARE, _RARE_SHARE = 6, 0.05
"""Of 11 million syllables of real text 0.01 % are outside KS X 1001 (typing errors and slang:
됬, 봣, 쵝), and of UTF-8 read as CP949 more than 10 %."""


@cache
def _rare_syllables() -> re.Pattern[str]:
    """The 8,822 syllables that KS X 1001 left out because hardly any word has them."""
    every = map(chr, range(0xAC00, 0xD7A4))
    rare = (char for char in every if min(char.encode("cp949")) < 0xA1)
    return re.compile(f"[{''.join(rare)}]")


# --- entities, invisible characters, jamo ----------------------------------------------------


def _entities(text: str) -> str:
    """``&amp;`` -> ``&``. A text with ``<`` has escaped what it meant to (ftfy's rule)."""
    if "&" not in text or "<" in text:
        return text
    return optional_module("ftfy.fixes").unescape_html(text)


_LINE_BREAK = re.compile("\r\n?|[\v\f\x1c-\x1e\x85\u2028\u2029]")
_OVERSTRUCK = re.compile(".\b")  # how terminals underline and embolden: _\bN
_SPACE = re.compile("[\u00a0\u2000-\u200a\u202f\u205f\u3000]")
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f\u00ad\u180e\u200b\u200e\u200f\u202a-\u202e"
    "\u2060\u2066-\u2069\u3164\ufeff\uffa0\ufffc]"
)
"""Controls, soft hyphen, marks of direction, fillers. U+200C and U+200D join letters and emoji."""

_HALF_WIDTH = re.compile("[\uffa1-\uffdc]+")
_SPELLED = re.compile(
    f"([{hangul.LEADS}])([{hangul.VOWELS}])([{''.join(hangul.TAILS)}](?![{hangul.VOWELS}]))?"
)


def _half_width(text: str) -> str:
    """Half-width jamo as syllables where they spell some, else as compatibility jamo."""
    return _HALF_WIDTH.sub(lambda run: _spelled_out(run[0]), text)


def _spelled_out(run: str) -> str:
    wide = [unicodedata.decomposition(jamo).removeprefix("<narrow> ") for jamo in run]
    jamo = "".join(chr(int(code, 16)) for code in wide if code)  # the block has gaps
    return _SPELLED.sub(lambda s: hangul.compose(s[1], s[2], s[3] or ""), jamo)


_CONJOINING = re.compile("[\u1100-\u11ff\ua960-\ua97c\ud7b0-\ud7fb]+")
_MODERN = {
    **{0x1100 + i: jamo for i, jamo in enumerate(hangul.LEADS)},
    **{0x1161 + i: jamo for i, jamo in enumerate(hangul.VOWELS)},
    **{0x11A7 + i: jamo for i, jamo in enumerate(hangul.TAILS) if jamo},
}


def _lone_jamo(text: str) -> str:
    """Conjoining jamo that NFC left alone as ㅋ and ㅠ; clusters of old Hangul stay."""
    return _CONJOINING.sub(
        lambda run: run[0].translate(_MODERN) if all(ord(c) in _MODERN for c in run[0]) else run[0],
        nfc(text),
    )


_REPAIRS = {
    "surrogates": _surrogates,
    "mojibake of cp949": _cp949,
    "mojibake of utf-8": _utf8,
    "lost characters marked": _mark_lost,
    "html entities": _entities,
    "line breaks": lambda text: _LINE_BREAK.sub("\n", text),
    "spaces": lambda text: _SPACE.sub(" ", text),
    "overstruck characters": lambda text: _OVERSTRUCK.sub("", text),
    "invisible characters": lambda text: _INVISIBLE.sub("", text),
    "half-width jamo": _half_width,
    "nfc": nfc,
    "lone jamo": _lone_jamo,
}
"""Name -> repair, in this order: what is mojibake must be undone before spaces are."""
