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
from yaongi.data.synthetic.wordfiles import cells, listed, sections
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
    forms = _WAYS[f"{p.op} spoken"] + _WAYS[f"{p.op} written"]
    return rng.choice(forms).format(a=Word(str(p.a)), b=Word(str(p.b)))


def _in_words(rng: random.Random, p: Sum) -> str:
    return rng.choice(_WAYS[f"{p.op} spoken"]).format(a=Word(read(p.a)), b=Word(read(p.b)))


def _word_problem(rng: random.Random, p: Sum) -> str:
    """A little story with the two numbers in it."""
    one, two = (child(name) for name in rng.sample(lexicon().kids, 2))
    thing, unit = rng.choice(_COUNTED)
    place, who = rng.choice(_CROWDS)
    return rng.choice(_WAYS[f"{p.op} told"]).format(
        one=one, two=two, thing=thing, unit=unit, a=Word(f"{p.a}{unit}"), b=Word(f"{p.b}{unit}"),
        place=place, who=who, n=p.a, m=p.b, animal=rng.choice(_ANIMALS),
    )  # fmt: skip


_DIGITS = ("", "일", "이", "삼", "사", "오", "육", "칠", "팔", "구")


def read(n: int) -> str:
    """A number below 100 as it is read: 47 -> 사십칠, 10 -> 십, 0 -> 영."""
    tens, ones = divmod(n, 10)
    return ("" if tens < 2 else _DIGITS[tens]) + ("십" if tens else "") + _DIGITS[ones] or "영"


_WAYS = sections("sums.txt")
_COUNTED = [
    (Word(thing), unit) for unit, things in map(cells, _WAYS["counted"]) for thing in listed(things)
]
_ANIMALS = [Word(animal) for animal in listed(_WAYS["animals"][0])]
_CROWDS = [(place, Word(who)) for place, who in map(cells, _WAYS["crowds"])]
