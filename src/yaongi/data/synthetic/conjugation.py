"""Korean verbs and adjectives with the ending a sentence asks for: 걷다 + 았다 -> 걸었다.

Regular stems, ㄷ ㅂ ㅅ ㅎ 르 러 우 ㅡ and ㄹ stems, 하다, 이다, 있다 and honorific -(으)시-, after
한글 맞춤법 chapter 4, section 2 (articles 15-18) and section 5 (contractions, articles 34-38).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from yaongi.data.synthetic.wordfiles import rows
from yaongi.text.hangul import compose, decompose, final_sound

# Homographs are told apart by a tag: "묻다/ㄷ" asks, "묻다" buries; "이르다/러" arrives.
_D_IRREGULAR = ("걷다", "듣다", "깨닫다", "싣다", "긷다", "일컫다")
_B_REGULAR = ("잡다", "입다", "뽑다", "씹다", "접다", "집다", "꼽다", "업다", "좁다", "수줍다")
_S_IRREGULAR = ("짓다", "낫다", "붓다", "젓다", "잇다", "긋다")
_H_IRREGULAR = "갛랗맣얗떻렇겋멓옇"
_EU_REGULAR = ("따르다", "치르다", "들르다", "다다르다", "우러르다")
_REO = ("푸르다",)

# Written past tense keeps these two apart (보았다, 주었다) where speech contracts (봤다, 줬다).
_UNCONTRACTED = "보주두누쏘되"

_APART = ("비다", "피다", "기다", "끼다", "시다", "띠다")  # written 피어, 비어 rather than 펴, 벼

_HONORIFIC = {
    "먹다": "드시다", "마시다": "드시다", "자다": "주무시다", "말하다": "말씀하시다",
    "있다": "계시다", "아프다": "편찮으시다", "죽다": "돌아가시다",
}  # fmt: skip

ADJECTIVES = frozenset(" ".join(rows("adjectives.txt")).split())


@dataclass(frozen=True, slots=True)
class Stems:
    """The three shapes a stem takes.

    Attributes:
        plain: before a consonant ending: 걷(고), 돕(는), 살(지).
        linked: before 으: 걸(으면), 도우(면), 지(으면); ``eu`` says whether 으 itself appears.
        vowel: joined with 아/어: 걸어, 도와, 지어, 해.
        eu: 으 appears: 먹으면, 걸으면, 지으면; not 가면, 살면, 도우면.
        liquid: a ㄹ stem, which drops ㄹ before ㄴ, ㅂ, ㅅ: 사는, 삽니다.
        adjective: takes -다 and -(으)ㄴ where a verb takes -는다 and -는.
    """

    plain: str
    linked: str
    vowel: str
    eu: bool
    liquid: bool
    adjective: bool


def conjugate(word: str, ending: str, honorific: bool = False) -> str:
    """``word`` (dictionary form, possibly a phrase: "밥을 먹다") with ``ending``.

    Args:
        ending: written as after a consonant stem: 았다, 아서, 으면, 을, 습니다, 는다, 는, 는데, 고,
            지만, 으려고... A ``word`` tagged like "묻다/ㄷ" chooses between homographs.
        honorific: insert -(으)시-: 가다 + 았다 -> 가셨다.
    """
    head, space, last = word.rpartition(" ")
    return head + space + _one_word(last, ending, honorific)


@functools.cache
def _one_word(word: str, ending: str, honorific: bool) -> str:
    return _attach(stems(_honor(word) if honorific else word), ending)


def copula(noun: str, ending: str) -> str:
    """이다 after ``noun``: ("봄", "았다") -> 봄이었다, ("나무", "았다") -> 나무였다."""
    closed = bool(final_sound(noun))
    if ending.startswith("았"):
        return noun + ("이었" if closed else "였") + ending[1:]
    if ending == "아요":
        return noun + ("이에요" if closed else "예요")
    if ending == "아":
        return noun + ("이야" if closed else "야")
    if ending == "아서":
        return noun + ("이어서" if closed else "여서")
    return noun + _attach(Stems("이", "이", "이어", False, False, True), ending)


def _honor(word: str) -> str:
    special = _HONORIFIC.get(word)
    if special:
        return special
    stem = stems(word)
    if stem.liquid:
        return _drop_tail(stem.plain) + "시다"
    return stem.linked + ("으" if stem.eu else "") + "시다"


@functools.cache
def stems(word: str) -> Stems:
    """The stem shapes of one dictionary form.

    Raises:
        ValueError: not a dictionary form ending in 다.
    """
    bare, _, tag = word.partition("/")
    if not bare.endswith("다") or len(bare) < 2:
        raise ValueError(f"{word!r} is not a dictionary form")
    stem = bare[:-1]
    adjective = word in ADJECTIVES or bare.endswith(("스럽다", "롭다", "답다"))
    lead, vowel, tail = decompose(stem[-1])
    before = stem[:-1]

    def made(linked: str, joined: str, eu: bool = False) -> Stems:
        return Stems(stem, linked, joined, eu, tail == "ㄹ", adjective)

    if tail == "":
        return made(stem, _open_vowel(stem, lead, vowel, bare, tag))
    if tail == "ㄹ":
        return made(stem, stem + _harmony(vowel))
    if tail == "ㄷ" and (tag == "ㄷ" or (not tag and bare.endswith(_D_IRREGULAR))):
        linked = before + compose(lead, vowel, "ㄹ")
        return made(linked, linked + _harmony(vowel), eu=True)
    if tail == "ㅂ" and not bare.endswith(_B_REGULAR):
        opened = before + compose(lead, vowel)
        return made(opened + "우", opened + ("와" if bare in ("돕다", "곱다") else "워"))
    if tail == "ㅅ" and bare.endswith(_S_IRREGULAR):
        opened = before + compose(lead, vowel)
        return made(opened, opened + _harmony(vowel), eu=True)
    if tail == "ㅎ" and stem[-1] in _H_IRREGULAR:
        return made(before + compose(lead, vowel), before + _h_vowel(stem[-1]))
    return made(stem, stem + _harmony(vowel), eu=True)


def _harmony(vowel: str) -> str:
    return "아" if vowel in "ㅏㅑㅗ" else "어"


def _h_vowel(syllable: str) -> str:
    """빨갛 -> 빨개, 하얗 -> 하얘, 그렇 -> 그래, 누렇 -> 누레, 뿌옇 -> 뿌예."""
    lead, vowel, _ = decompose(syllable)
    if syllable in "떻렇":
        return compose(lead, "ㅐ")
    return compose(lead, {"ㅏ": "ㅐ", "ㅑ": "ㅒ", "ㅓ": "ㅔ", "ㅕ": "ㅖ"}[vowel])


_MERGED = {"ㅗ": "ㅘ", "ㅜ": "ㅝ", "ㅣ": "ㅕ", "ㅚ": "ㅙ"}


def _open_vowel(stem: str, lead: str, vowel: str, bare: str, tag: str) -> str:
    """A stem ending in a vowel, joined with 아/어 and contracted where that is usual."""
    before = stem[:-1]
    if stem[-1] == "하":
        return before + "해"
    if bare in ("아니다", "이다"):
        return stem + "어"
    if stem[-1] == "르":
        return _reu_vowel(stem, bare, tag)
    if vowel == "ㅡ":
        harmony = "ㅓ"
        if before:
            harmony = "ㅏ" if decompose(before[-1])[1] in "ㅏㅑㅗ" else "ㅓ"
        return before + compose(lead, harmony)
    if bare == "푸다":
        return "퍼"
    if bare in _APART:
        return stem + "어"
    if vowel in "ㅏㅓㅐㅔㅕㅖ":
        return stem
    if vowel in _MERGED:
        return before + compose(lead, _MERGED[vowel])
    return stem + "어"  # 쉬어, 뛰어, 띄어, 꿰어


def _reu_vowel(stem: str, bare: str, tag: str) -> str:
    before = stem[:-1]
    if bare in _REO or tag == "러":
        return stem + "러"
    lead, vowel, tail = decompose(before[-1])
    harmony = "ㅏ" if vowel in "ㅏㅗ" else "ㅓ"
    if bare.endswith(_EU_REGULAR):
        return before + compose("ㄹ", harmony)
    return before[:-1] + compose(lead, vowel, tail or "ㄹ") + compose("ㄹ", harmony)


def _attach(stem: Stems, ending: str) -> str:
    first = ending[0]
    if first in "아았":
        return _after_vowel(stem, ending)
    if first == "으" or first in "은을음읍":
        return _after_eu(stem, ending)
    if ending in ("는다", "는", "는데", "는지", "는구나", "는군") or ending.startswith("는데"):
        return _after_neun(stem, ending)
    if first == "습":
        if stem.liquid or not decompose(stem.plain[-1])[2]:
            return _close(_drop_tail(stem.plain), "ㅂ") + ending[1:]
        return stem.plain + ending
    if stem.liquid and first in "네나니느":
        return _drop_tail(stem.plain) + ending
    return stem.plain + ending


def _after_vowel(stem: Stems, ending: str) -> str:
    joined = stem.vowel
    if stem.plain.endswith("시") and ending == "아요":  # 가시어요 is said 가세요
        return stem.plain[:-1] + "세요"
    if ending[0] == "아":
        return joined + ending[1:]
    if stem.plain[-1] in _UNCONTRACTED and ending in ("았다", "았습니다", "았지만", "았는데"):
        lead = "았" if stem.plain[-1] in "보쏘" else "었"
        return stem.plain + lead + ending[1:]
    return _close(joined, "ㅆ") + ending[1:]


def _after_eu(stem: Stems, ending: str) -> str:
    """으면, 은, 을, 음, 으니, 으시..., written as after a consonant."""
    if stem.eu:
        return stem.linked + ending
    first = ending[0]
    if first == "으":
        rest = ending[1:]
        drops = stem.liquid and rest[0] in "니시세십오신실"
        return (_drop_tail(stem.linked) if drops else stem.linked) + rest
    tail = {"은": "ㄴ", "을": "ㄹ", "음": "ㅁ", "읍": "ㅂ"}[first]
    base = stem.linked
    if stem.liquid:
        base = _drop_tail(base)
        if tail == "ㅁ":
            return _close(base, "ㄻ") + ending[1:]
    return _close(base, tail) + ending[1:]


def _after_neun(stem: Stems, ending: str) -> str:
    existing = stem.plain.endswith(("있", "없"))
    if stem.adjective or existing:
        if ending == "는다":
            return stem.plain + "다"
        if ending in ("는구나", "는군"):
            return stem.plain + ending[1:]
        if not existing:
            return _after_eu(stem, "은" + ending[1:])
    if ending == "는다" and (stem.liquid or not decompose(stem.plain[-1])[2]):
        return _close(_drop_tail(stem.plain), "ㄴ") + "다"
    return (_drop_tail(stem.plain) if stem.liquid else stem.plain) + ending


def _close(text: str, tail: str) -> str:
    """Put ``tail`` under the last syllable."""
    lead, vowel, _ = decompose(text[-1])
    return text[:-1] + compose(lead, vowel, tail)


def _drop_tail(text: str) -> str:
    lead, vowel, _ = decompose(text[-1])
    return text[:-1] + compose(lead, vowel)
