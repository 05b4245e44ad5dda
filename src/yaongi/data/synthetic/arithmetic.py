"""Sums and differences of two-digit numbers, asked in many ways and always worked in one.

Working column by column with the carry written out is what lets a small model add at all (Nye et
al. 2021, arXiv:2112.00114; Lee et al. 2023, arXiv:2307.03381); one fixed form needs least data.
"""

from __future__ import annotations

import random
from typing import NamedTuple

from yaongi.data.synthetic.item import ANSWER, Item
from yaongi.data.synthetic.people import child
from yaongi.data.synthetic.splits import Key, Split, draw
from yaongi.data.synthetic.template import Word
from yaongi.data.synthetic.words import lexicon


class Sum(NamedTuple):
    """``a + b`` or ``a - b`` with 10 <= a, b <= 99 and, for differences, a >= b."""

    op: str
    a: int
    b: int

    @property
    def key(self) -> Key:
        """The pair, whatever is done with it and in whatever order."""
        return ("pair", str(min(self.a, self.b)), str(max(self.a, self.b)))

    @property
    def value(self) -> int:
        return self.a + self.b if self.op == "+" else self.a - self.b


def sum_item(rng: random.Random, split: Split, op: str | None = None) -> Item:
    """A question about a pair of two-digit numbers, with its working."""
    problem = draw(lambda r: _pair(r, op or r.choice("+-")), lambda s: s.key, rng, split)
    chance = rng.random()
    ask = _word_problem if chance < 0.35 else _in_words if chance < 0.45 else _in_figures
    task = "add" if problem.op == "+" else "sub"
    return Item(task, ask(rng, problem), work(problem), str(problem.value), problem.key)


def fact_item(rng: random.Random) -> Item:
    """7 + 8, 15 - 8: what every column of a larger sum needs. Only for training."""
    a, b = rng.randrange(10), rng.randrange(10)
    problem = Sum("+", a, b) if rng.random() < 0.5 else Sum("-", a + b, b)
    written = f"{problem.a}{problem.op}{problem.b}={problem.value}"
    reply = f"{written}\n{ANSWER}{problem.value}"
    key = ("fact", str(problem.a), problem.op, str(problem.b))
    return Item("fact", _in_figures(rng, problem), reply, str(problem.value), key)


def work(problem: Sum) -> str:
    """The written working: ones, carry or borrow, tens, answer."""
    a, b = problem.a, problem.b
    if problem.op == "+":
        ones, carry = a % 10 + b % 10, (a % 10 + b % 10) // 10
        first = f"{a % 10}+{b % 10}={ones}" + (", 1 올림" if carry else "")
        tens = f"{a // 10}+{b // 10}" + ("+1" if carry else "") + f"={a // 10 + b // 10 + carry}"
    else:
        borrow = a % 10 < b % 10
        upper = a % 10 + 10 * borrow
        first = f"{upper}-{b % 10}={upper - b % 10}" + (", 1 내림" if borrow else "")
        tens = f"{a // 10}-{b // 10}" + ("-1" if borrow else "") + f"={a // 10 - b // 10 - borrow}"
    return (f"{a}{problem.op}{b}\n일의 자리 {first}\n십의 자리 {tens}\n"
            f"{ANSWER}{problem.value}")  # fmt: skip


def _pair(rng: random.Random, op: str) -> Sum:
    a, b = 10 + int(rng.random() * 90), 10 + int(rng.random() * 90)
    return Sum(op, max(a, b), min(a, b)) if op == "-" else Sum(op, a, b)


def _in_figures(rng: random.Random, p: Sum) -> str:
    forms = _SPOKEN[p.op] + _WRITTEN[p.op]
    return rng.choice(forms).format(a=Word(str(p.a)), b=Word(str(p.b)))


def _in_words(rng: random.Random, p: Sum) -> str:
    return rng.choice(_SPOKEN[p.op]).format(a=Word(read(p.a)), b=Word(read(p.b)))


def _word_problem(rng: random.Random, p: Sum) -> str:
    """A little story with the two numbers in it."""
    one, two = (child(name) for name in rng.sample(lexicon().kids, 2))
    thing, unit = rng.choice(_COUNTED)
    place, who = rng.choice(_CROWDS)
    return rng.choice(_TOLD[p.op]).format(
        one=one, two=two, thing=thing, unit=unit, a=Word(f"{p.a}{unit}"), b=Word(f"{p.b}{unit}"),
        place=place, who=who, n=p.a, m=p.b, animal=rng.choice(_ANIMALS),
    )  # fmt: skip


_DIGITS = ("", "일", "이", "삼", "사", "오", "육", "칠", "팔", "구")


def read(n: int) -> str:
    """A number below 100 as it is read: 47 -> 사십칠, 10 -> 십, 0 -> 영."""
    tens, ones = divmod(n, 10)
    return ("" if tens < 2 else _DIGITS[tens]) + ("십" if tens else "") + _DIGITS[ones] or "영"


# Fields are Words: {b[을]} is b with its particle.
_SPOKEN = {
    "+": (
        "{a} 더하기 {b[은]} 얼마야?", "{a} 더하기 {b[은]} 얼마인가요?", "{a[과]} {b[을]} 더하면?",
        "{a}에 {b[을]} 더하면 얼마가 돼?", "{a[과]} {b}의 합은 얼마야?",
        "{a[과]} {b[을]} 더한 값을 알려 줘.", "{a}보다 {b}만큼 큰 수는?",
    ),
    "-": (
        "{a} 빼기 {b[은]} 얼마야?", "{a} 빼기 {b[은]} 얼마인가요?", "{a}에서 {b[을]} 빼면?",
        "{a}에서 {b[을]} 빼면 얼마가 남아?", "{a[과]} {b}의 차는 얼마야?",
        "{a}에서 {b[을]} 뺀 값을 알려 줘.", "{a}보다 {b}만큼 작은 수는?",
    ),
}  # fmt: skip
_WRITTEN = {
    "+": ("{a} + {b[은]}?", "{a}+{b}", "{a} + {b[을]} 계산해 줘.", "{a}+{b[은]} 몇이에요?", "{a} + {b} = ?"),
    "-": ("{a} - {b[은]}?", "{a}-{b}", "{a} - {b[을]} 계산해 줘.", "{a}-{b[은]} 몇이에요?", "{a} - {b} = ?"),
}  # fmt: skip
_TOLD = {
    "+": (
        "{one[은]} {thing[을]} {a} 모았고 {two[은]} {b} 모았어요. 두 사람이 모은 {thing[은]} 모두 몇 "
        "{unit}일까요?",
        "{one[에게]} {thing[이]} {a} 있었는데 {two[이]} {b[을]} 더 주었어요. 이제 모두 몇 {unit}일까요?",
        "바구니에 {thing[이]} {a}, 상자에 {b} 있어요. {thing[은]} 모두 몇 {unit} 있나요?",
        "{one[은]} 어제 {thing[을]} {a}, 오늘 {b} 샀어. 모두 몇 {unit} 샀을까?",
        "{thing[을]} {a} 가진 {one[이]} {b[을]} 더 받으면 모두 몇 {unit}일까요?",
        "{animal[이]} {n}마리 있는데 {m}마리가 더 왔어요. 모두 몇 마리일까요?",
        "{place}에 {who[이]} {n}명 있는데 {m}명이 더 들어왔어요. 모두 몇 명일까요?",
    ),
    "-": (
        "{one[은]} {thing[을]} {a} 가지고 있었는데 {two[에게]} {b[을]} 주었어요. 남은 {thing[은]} 몇 "
        "{unit}일까요?",
        "{thing[이]} {a} 있었는데 {b[을]} 썼어요. 남은 {thing[은]} 몇 {unit}일까요?",
        "{one[은]} {thing[을]} {a}, {two[은]} {b} 모았어요. {one[은]} {two}보다 몇 {unit} 더 모았을까요?",
        "상자에 {thing[이]} {a} 있었어. 그중 {b[을]} 꺼냈어. 상자에 몇 {unit} 남았을까?",
        "{one[은]} {thing[을]} {a} 사려고 해요. 지금 {b} 있으면 몇 {unit} 더 필요할까요?",
        "{animal} {n}마리 가운데 {m}마리가 떠났어요. 몇 마리 남았을까요?",
        "{place}에 {who[이]} {n}명 있었는데 {m}명이 나갔어요. 몇 명 남았을까요?",
    ),
}  # fmt: skip


def _counted(text: str) -> tuple[tuple[Word, str], ...]:
    return tuple((Word(thing), unit) for thing, unit in (pair.split(":") for pair in text.split()))


_COUNTED = _counted(
    "사과:개 귤:개 구슬:개 도토리:개 조개껍데기:개 밤:개 달걀:개 단추:개 사탕:개 감자:개 풍선:개 블록:개 "
    "쿠키:개 송편:개 만두:개 초콜릿:개 연필:자루 색연필:자루 동화책:권 공책:권 색종이:장 딱지:장 우표:장 엽서:장 "
    "은행잎:장 꽃:송이 장미:송이 종이학:마리"
)
_ANIMALS = tuple(map(Word, "오리 토끼 닭 양 참새 금붕어 나비 염소 비둘기 잠자리".split()))
_CROWDS = tuple(
    (place, Word(who))
    for place, who in (("버스", "승객"), ("기차", "손님"), ("배", "손님"), ("도서관", "학생"),
                       ("운동장", "아이"), ("극장", "관객"))
)  # fmt: skip
