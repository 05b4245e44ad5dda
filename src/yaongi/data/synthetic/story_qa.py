"""Short stories of three people, and a question whose answer stands in the story.

Names, places and things are drawn anew each time, so only the story can tell; the reply quotes the
sentence that does, then gives the answer. The questions are those of bAbI tasks 1, 2, 5 and 20
(Weston et al. 2015, arXiv:1502.05698), told in Korean.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from yaongi.data.synthetic.conjugation import conjugate
from yaongi.data.synthetic.item import ANSWER, Item
from yaongi.data.synthetic.people import Person, child
from yaongi.data.synthetic.splits import Key, Split, draw
from yaongi.data.synthetic.template import Word
from yaongi.data.synthetic.wordfiles import cells, listed, sections


@dataclass(frozen=True)
class Fact:
    """One sentence of a story and the questions it answers.

    Attributes:
        told: the sentence up to its predicate, and the predicate (dictionary form).
        asks: makes its (question, answer) pairs; most facts are drawn and never asked about.
        key: the fact without its wording.
    """

    told: str
    predicate: str
    asks: Callable[[], tuple[tuple[str, str], ...]]
    key: str


def story_item(rng: random.Random, split: Split) -> Item:
    """A story of three people and one question."""
    return story_items(rng, split)[0]


def story_items(rng: random.Random, split: Split) -> list[Item]:
    """A story with a question, then a question about each other person, without the story."""
    story = draw(_story, lambda s: s.key, rng, split)
    order = rng.sample(range(len(story.facts)), len(story.facts))
    first, *more = (story.asked(rng, which) for which in order)
    return [replace(first, question=f"{story.text}\n\n{first.question}"), *more]


def repeat_item(rng: random.Random, split: Split) -> Item:
    """A story to be written down again: the plainest lesson in looking back."""
    story = draw(_story, lambda s: s.key, rng, split)
    question = f"{rng.choice(_PARTS['repeat'])}\n\n{story.text}"
    return Item("repeat", question, story.text, story.text, story.key)


@dataclass(frozen=True)
class ShortStory:
    """Sentences in order."""

    facts: tuple[Fact, ...]
    ending: str
    distraction: str

    @property
    def key(self) -> Key:
        """The facts of the story, in any order and wording, whatever is asked."""
        return ("story_qa", *sorted(f.key for f in self.facts))

    @property
    def text(self) -> str:
        told = [self.sentence(fact) for fact in self.facts]
        return "\n".join([self.distraction, *told] if self.distraction else told)

    def sentence(self, fact: Fact) -> str:
        return fact.told + " " + conjugate(fact.predicate, self.ending) + "."

    def asked(self, rng: random.Random, which: int) -> Item:
        """A question about one of its facts; the story itself is not in it."""
        fact = self.facts[which]
        question, answer = rng.choice(fact.asks())
        reply = f"{self.sentence(fact)}\n{ANSWER}{answer}"
        return Item("story_qa", question, reply, answer, self.key)


def _story(rng: random.Random) -> ShortStory:
    people = [child(name) for name in rng.sample(_NAMES, 3)]
    make = rng.choice((_where, _where, _found, _feels, _gives, _mixed))
    facts = make(rng, people)
    rng.shuffle(facts)
    ending = rng.choice(("았다", "았다", "았어요", "았습니다"))
    distraction = ""
    if rng.random() < 0.3:
        subject, predicate = rng.choice(_SKIES)
        distraction = f"{subject} {conjugate(predicate, ending)}."
    return ShortStory(tuple(facts), ending, distraction)


def _where(rng: random.Random, people: list[Person]) -> list[Fact]:
    places = rng.sample(_PLACES, 3)
    return [_went(rng, who, place) for who, place in zip(people, places, strict=True)]


def _went(rng: random.Random, who: Person, place: Word) -> Fact:
    way = rng.choice(_WAYS)
    verb = rng.choice(_PARTS["goes"])
    told = " ".join(f"{who['은']} {way} {place}에".split())
    return Fact(
        told,
        verb,
        lambda: (
            (f"{who['은']} 어디에 갔어?", place.text),
            (f"누가 {place}에 {conjugate(verb, '았어')}?", who.text),
        ),
        f"{who}@{place}",
    )


def _found(rng: random.Random, people: list[Person]) -> list[Fact]:
    things = rng.sample(_THINGS, 3)
    return [_got(rng, who, thing) for who, thing in zip(people, things, strict=True)]


def _got(rng: random.Random, who: Person, thing: Word) -> Fact:
    place = rng.choice(_PLACES)
    verb = rng.choice(_PARTS["gets"])
    told = f"{who['은']} {place}에서 {thing['을']}"
    return Fact(
        told,
        verb,
        lambda: (
            (f"{who['은']} 무엇을 {conjugate(verb, '았어')}?", thing.text),
            (f"누가 {thing['을']} {conjugate(verb, '았어')}?", who.text),
        ),
        f"{who}:{verb}:{thing}",
    )


def _feels(rng: random.Random, people: list[Person]) -> list[Fact]:
    chosen = rng.sample(_CAUSES, 3)
    return [_felt(rng, who, *each) for who, each in zip(people, chosen, strict=True)]


def _felt(rng: random.Random, who: Person, cause: str, feelings: tuple[str, ...]) -> Fact:
    feeling = rng.choice(feelings)
    why = conjugate(cause, "아서")
    return Fact(
        f"{who['은']} {why}",
        feeling,
        lambda: (
            (f"{who['은']} 왜 {conjugate(feeling, '았어')}?", why),
            (f"누가 {why} {conjugate(feeling, '았어')}?", who.text),
        ),
        f"{who}!{cause}!{feeling}",
    )


def _gives(rng: random.Random, people: list[Person]) -> list[Fact]:
    things = rng.sample(_THINGS, 3)
    rng.shuffle(people)
    pairs = ((0, 1), (1, 2), (2, 0)) if rng.random() < 0.5 else ((0, 2), (2, 1), (1, 0))
    return [
        _gave(rng, people[i], people[j], thing) for (i, j), thing in zip(pairs, things, strict=True)
    ]


def _gave(rng: random.Random, giver: Person, taker: Person, thing: Word) -> Fact:
    verb = rng.choice(_PARTS["gives"])
    told = f"{giver['은']} {taker['에게']} {thing['을']}"
    return Fact(
        told,
        verb,
        lambda: (
            (f"{giver['은']} 누구에게 {thing['을']} {conjugate(verb, '았어')}?", taker.text),
            (f"{giver['은']} {taker['에게']} 무엇을 {conjugate(verb, '았어')}?", thing.text),
            (f"누가 {thing['을']} {conjugate(verb, '았어')}?", giver.text),
        ),
        f"{giver}>{taker}:{thing}",
    )


def _mixed(rng: random.Random, people: list[Person]) -> list[Fact]:
    """One goes somewhere, one gets something, one feels something."""
    one, two, three = people
    return [
        _went(rng, one, rng.choice(_PLACES)),
        _got(rng, two, rng.choice(_THINGS)),
        _felt(rng, three, *rng.choice(_CAUSES)),
    ]


_PARTS = sections("questions.txt")
_WAYS = ["", "", *_PARTS["ways"]]
_NAMES = " ".join(_PARTS["names"]).split()
_PLACES = [Word(place) for place in " ".join(_PARTS["places"]).split()]
_THINGS = [Word(thing) for thing in " ".join(_PARTS["things"]).split()]
_SKIES = [cells(row) for row in _PARTS["skies"]]
_CAUSES = [
    (cause, listed(feelings))
    for feelings, causes in map(cells, _PARTS["feels"])
    for cause in listed(causes)
]
