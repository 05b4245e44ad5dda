"""Hangul syllables and the sounds at the end of words, so that 조사 come out right.

Syllable arithmetic is chapter 3.12 of the Unicode standard. Latin words are read by the final
stop rule of 외래어 표기법 (words ending in p, t, k after a short vowel keep a 받침).
"""

from __future__ import annotations

import re
import unicodedata

LEADS = "ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ"
VOWELS = "ㅏㅐㅑㅒㅓㅔㅕㅖㅗㅘㅙㅚㅛㅜㅝㅞㅟㅠㅡㅢㅣ"
TAILS = ("", *"ㄱㄲㄳㄴㄵㄶㄷㄹㄺㄻㄼㄽㄾㄿㅀㅁㅂㅄㅅㅆㅇㅈㅊㅋㅌㅍㅎ")

_FIRST, _COUNT = 0xAC00, 11_172
_DIGITS, _PLACES, _GROUPS = "영일이삼사오육칠팔구", "십백천", "만억조경"
_CLOSED_LETTERS = {"L": "엘", "M": "엠", "N": "엔", "R": "알"}  # the other names end in a vowel
_WORD_TAILS = (
    (re.compile(r"ng$"), "ㅇ"),
    (re.compile(r"le?$"), "ㄹ"),
    (re.compile(r"me?$"), "ㅁ"),
    (re.compile(r"ne?$"), "ㄴ"),
    (re.compile(r"(ck|ook|[aeiou]c|(?<![aeiou])[aeiou]k)$"), "ㄱ"),
    (re.compile(r"(?<![aeiou])[aeiou]pp?$"), "ㅂ"),
    (re.compile(r"(?<![aeiou])[aeiou]tt?$"), "ㅅ"),
)
_SIGNS = {"%": "퍼센트", "℃": "도", "°": "도"}
_IRREGULAR = {"은": "는", "이": "가", "을": "를", "과": "와", "아": "야", "이에요": "예요"}
_NUMBER = re.compile(r"[0-9][0-9,]*(?:\.[0-9]+)?$")


def is_syllable(char: str) -> bool:
    """Whether ``char`` is one of the 11,172 precomposed syllables 가..힣."""
    return len(char) == 1 and "가" <= char <= "힣"


def decompose(syllable: str) -> tuple[str, str, str]:
    """``"각"`` -> ``("ㄱ", "ㅏ", "ㄱ")`` in compatibility jamo; no final consonant is ``""``.

    Raises:
        ValueError: not one precomposed syllable.
    """
    if not is_syllable(syllable):
        raise ValueError(f"{syllable!r} is not one Hangul syllable")
    index = ord(syllable) - _FIRST
    return LEADS[index // 588], VOWELS[index // 28 % 21], TAILS[index % 28]


def compose(lead: str, vowel: str, tail: str = "") -> str:
    """The inverse of ``decompose``.

    Raises:
        ValueError: a jamo that cannot stand in its place.
    """
    index = (LEADS.index(lead) * 21 + VOWELS.index(vowel)) * 28 + TAILS.index(tail)
    return chr(_FIRST + index)


def final_sound(word: str) -> str | None:
    """The final consonant a reader hears at the end of ``word``: ``"ㄴ"``, or ``""`` for a vowel.

    Closing marks and a remark in parentheses are not heard: 서울(Seoul) ends in ㄹ of 울.
    None when the reading cannot be told from the letters (hanja, emoji, empty).
    """
    word = _heard(unicodedata.normalize("NFC", word))
    last = word[-1:]
    if is_syllable(last):
        return _tail_of(last)
    if number := _NUMBER.search(word):
        return _number_tail(number[0])
    if last.isascii() and last.isalpha():
        return _latin_tail(word)
    if last and last in VOWELS:
        return ""
    if last and last in LEADS:  # letters are read by name: ㅋ is 키읔
        return {"ㄲ": "ㄱ", "ㄸ": "ㄷ", "ㅃ": "ㅂ", "ㅆ": "ㅅ", "ㅉ": "ㅈ"}.get(last, last)
    return _tail_of(_SIGNS[last]) if last in _SIGNS else None


def has_final(word: str) -> bool | None:
    """Whether ``word`` is heard to end in a consonant; None when that cannot be told."""
    tail = final_sound(word)
    return None if tail is None else bool(tail)


def josa(word: str, pair: str) -> str:
    """``word`` with the right particle: ``josa("사과", "은/는")`` -> ``"사과는"``.

    Args:
        pair: both forms in either order: 은/는, 이/가, 을/를, 과/와, 아/야, 이에요/예요,
            이었다/였다, 이어서/여서, and any pair that differs by a leading 이 or 으 (으로/로,
            이라고/라고, 이나/나). After ㄹ, 으 is dropped: 서울로.
    Raises:
        ValueError: two forms that are no such pair.
    """
    return word + pick_josa(word, pair)


def pick_josa(word: str, pair: str) -> str:
    """The particle alone. For a word whose reading is unknown, both: ``은(는)``, ``(으)로``."""
    closed, opened = _forms(pair)
    tail = final_sound(word)
    if tail is None:
        prefixed = len(closed) > 1 and closed[1:] == opened
        return f"({closed[0]}){opened}" if prefixed else f"{closed}({opened})"
    if closed == "으" + opened and tail == "ㄹ":
        return opened
    return closed if tail else opened


def _forms(pair: str) -> tuple[str, str]:
    """A pair as (after a consonant, after a vowel)."""
    parts = pair.split("/")
    if len(parts) == 2:
        for closed, opened in (parts, reversed(parts)):
            if opened and (_IRREGULAR.get(closed) == opened or closed in _closed_of(opened)):
                return closed, opened
    raise ValueError(f"{pair!r} is not a pair of particles such as 은/는, 이/가 or 으로/로")


def _closed_of(opened: str) -> list[str]:
    """The regular forms after a consonant; 이어 and 이었 contract to 여 and 였 after a vowel."""
    full = {"여": "이어", "였": "이었"}.get(opened[0])
    return ["이" + opened, "으" + opened, *([full + opened[1:]] if full else [])]


def _tail_of(reading: str) -> str:
    return decompose(reading[-1])[2]


def _heard(word: str) -> str:
    """Drop what is written at the end but not spoken."""
    while word:
        shorter = re.sub(r"\s*[(（\[][^()（）\[\]]*[)）\]]$", "", word)
        if shorter == word and unicodedata.category(word[-1]) in ("Pe", "Pf", "Pi", "Po", "Zs"):
            shorter = word if word[-1] in _SIGNS else word[:-1]
        if shorter in ("", word):
            break
        word = shorter
    return word


def _number_tail(number: str) -> str:
    """How a number read in Korean ends: 10 십, 1,000 천, 3.10 삼 점 일영, 20000 이만."""
    digits = number.replace(",", "")
    zeros = len(digits) - len(digits.rstrip("0"))
    by_digit = "." in digits or digits.startswith("0")
    if zeros == 0 or by_digit:
        return _tail_of(_DIGITS[int(digits[-1])])
    if zeros < 4:
        return _tail_of(_PLACES[zeros - 1])
    return _tail_of(_GROUPS[min(zeros // 4, len(_GROUPS)) - 1])


def _latin_tail(word: str) -> str:
    """How a Latin word is heard: capitals by letter (GPU 지피유), others by spelling."""
    latin = re.search(r"[A-Za-z]+$", word)
    assert latin is not None  # the caller saw a Latin letter at the end
    if latin[0].isupper() or len(latin[0]) == 1:
        return _tail_of(_CLOSED_LETTERS.get(latin[0][-1].upper(), "에이"))
    spelled = latin[0].lower()
    return next((tail for pattern, tail in _WORD_TAILS if pattern.search(spelled)), "")
