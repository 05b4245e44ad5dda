"""Short stories of three people, and a question whose answer stands in the story.

Names, places and things are drawn anew each time, so only the story can tell; the reply quotes the
sentence that does, then gives the answer. The questions are those of bAbI tasks 1, 2, 5 and 20
(Weston et al. 2015, arXiv:1502.05698), told in Korean.
"""

from __future__ import annotations

import functools
import random
from dataclasses import dataclass, replace

from yaongi.data.synthetic.conjugation import conjugate
from yaongi.data.synthetic.item import ANSWER, Item
from yaongi.data.synthetic.people import Person, child
from yaongi.data.synthetic.splits import Key, Split, draw
from yaongi.data.synthetic.template import Word
from yaongi.data.synthetic.words import lexicon


@dataclass(frozen=True)
class Fact:
    """One sentence of a story and the questions it answers.

    Attributes:
        told: the sentence up to its predicate, and the predicate (dictionary form).
        asked: (question, answer) pairs.
        key: the fact without its wording.
    """

    told: str
    predicate: str
    asked: tuple[tuple[str, str], ...]
    key: str


def story_item(rng: random.Random, split: Split) -> Item:
    """A story of three people and one question."""
    story = draw(_story, lambda s: s.key, rng, split)
    item = story.asked(rng, story.fact)
    both = [story.text, item.question]
    if rng.random() < 0.3:
        both.reverse()
    return replace(item, question="\n\n".join(both))


def story_items(rng: random.Random, split: Split) -> tuple[Item, Item]:
    """A story with one question, and another question about it for the next turn."""
    story = draw(_story, lambda s: s.key, rng, split)
    item = story.asked(rng, story.fact)
    more = story.asked(rng, (story.fact + 1) % len(story.facts))
    return replace(item, question=f"{story.text}\n\n{item.question}"), more


@dataclass(frozen=True)
class ShortStory:
    """Sentences in order; ``fact`` is the one asked about first."""

    facts: tuple[Fact, ...]
    fact: int
    ending: str
    distraction: str

    @property
    def key(self) -> Key:
        """The facts of the story, in any order and wording, whatever is asked."""
        return ("story_qa", *sorted(f.key for f in self.facts))

    @property
    def text(self) -> str:
        told = [self.sentence(fact) for fact in self.facts]
        return " ".join([self.distraction, *told] if self.distraction else told)

    def sentence(self, fact: Fact) -> str:
        return fact.told + " " + conjugate(fact.predicate, self.ending) + "."

    def asked(self, rng: random.Random, which: int) -> Item:
        """A question about one of its facts; the story itself is not in it."""
        fact = self.facts[which]
        question, answer = rng.choice(fact.asked)
        reply = f"{self.sentence(fact)}\n{ANSWER}{answer}"
        return Item("story_qa", question, reply, answer, self.key)


def _story(rng: random.Random) -> ShortStory:
    people = [child(name) for name in rng.sample(lexicon().kids, 3)]
    make = rng.choice((_where, _where, _found, _feels, _gives, _mixed))
    facts = make(rng, people)
    rng.shuffle(facts)
    distraction = ""
    if rng.random() < 0.3:
        distraction = rng.choice(_SKIES)
    ending = rng.choice(("았다", "았다", "았어요", "았습니다"))
    if distraction:
        head, _, last = distraction.rpartition("|")
        distraction = head + conjugate(last, ending) + "."
    return ShortStory(tuple(facts), rng.randrange(len(facts)), ending, distraction)


def _where(rng: random.Random, people: list[Person]) -> list[Fact]:
    places = rng.sample(_places(), 3)
    return [_went(rng, who, place) for who, place in zip(people, places, strict=True)]


def _went(rng: random.Random, who: Person, place: Word) -> Fact:
    way = rng.choice(_WAYS)
    particle, verb = rng.choice((("으로", "가다"), ("에", "가다"), ("으로", "달려가다"), ("에", "도착하다"),
                                 ("으로", "떠나다")))  # fmt: skip
    told = " ".join(f"{who['은']} {way} {place[particle]}".split())
    asked = (
        (f"{who['은']} 어디에 있을까?", place.text),
        (f"{who['은']} 어디로 갔어?", place.text),
        (f"{place}에 간 사람은 누구야?", who.text),
        (f"누가 {place}에 있을까?", who.text),
    )
    return Fact(told, verb, asked, f"{who}@{place}")


def _found(rng: random.Random, people: list[Person]) -> list[Fact]:
    things = rng.sample(_things(), 3)
    return [_got(rng, who, thing) for who, thing in zip(people, things, strict=True)]


def _got(rng: random.Random, who: Person, thing: Word) -> Fact:
    place = rng.choice(_places())
    verb, past = rng.choice((("사다", "산"), ("줍다", "주운"), ("가져오다", "가져온"), ("찾다", "찾은"),
                             ("빌리다", "빌린"), ("잃어버리다", "잃어버린")))  # fmt: skip
    told = f"{who['은']} {place}에서 {thing['을']}"
    asked = (
        (f"{who['이']} {past} 것은 무엇이야?", thing.text),
        (f"{who['은']} 무엇을 {conjugate(verb, '았어')}?", thing.text),
        (f"{thing['을']} {past} 사람은 누구야?", who.text),
        (f"누가 {thing['을']} {conjugate(verb, '았을까')}?", who.text),
    )
    return Fact(told, verb, asked, f"{who}:{verb}:{thing}")


def _feels(rng: random.Random, people: list[Person]) -> list[Fact]:
    chosen = rng.sample(_CAUSES, 3)
    return [_felt(rng, who, *each) for who, each in zip(people, chosen, strict=True)]


def _felt(rng: random.Random, who: Person, cause: str, feelings: tuple[str, ...]) -> Fact:
    feeling = rng.choice(feelings)
    why = conjugate(cause, "아서")
    asked = (
        (f"{who['은']} 왜 {conjugate(feeling, '았어')}?", why),
        (f"{who['이']} {conjugate(feeling, '은')} 까닭은 무엇이야?", why),
        (f"{why} {conjugate(feeling, '은')} 사람은 누구야?", who.text),
        (f"누가 {why} {conjugate(feeling, '았을까')}?", who.text),
    )
    return Fact(f"{who['은']} {why}", feeling, asked, f"{who}!{cause}!{feeling}")


def _gives(rng: random.Random, people: list[Person]) -> list[Fact]:
    things = rng.sample(_things(), 3)
    rng.shuffle(people)
    pairs = ((0, 1), (1, 2), (2, 0)) if rng.random() < 0.5 else ((0, 2), (2, 1), (1, 0))
    return [
        _gave(rng, people[i], people[j], thing) for (i, j), thing in zip(pairs, things, strict=True)
    ]


def _gave(rng: random.Random, giver: Person, taker: Person, thing: Word) -> Fact:
    verb, past = rng.choice((("주다", "준"), ("건네다", "건넨"), ("빌려주다", "빌려준"), ("선물하다", "선물한")))
    told = f"{giver['은']} {taker['에게']} {thing['을']}"
    asked = (
        (f"{giver['은']} 누구에게 {thing['을']} {conjugate(verb, '았어')}?", taker.text),
        (f"{taker['에게']} {thing['을']} {past} 사람은 누구야?", giver.text),
        (f"{giver['이']} {taker['에게']} {past} 것은 무엇이야?", thing.text),
        (f"누가 {thing['을']} {conjugate(verb, '았을까')}?", giver.text),
    )
    return Fact(told, verb, asked, f"{giver}>{taker}:{thing}")


def _mixed(rng: random.Random, people: list[Person]) -> list[Fact]:
    """One goes somewhere, one gets something, one feels something."""
    went = _went(rng, people[0], rng.choice(_places()))
    return [went, _got(rng, people[1], rng.choice(_things())), _felt(rng, people[2], *rng.choice(_CAUSES))]


@functools.cache
def _places() -> tuple[Word, ...]:
    return tuple(p.word for p in lexicon().places.values() if "kid" in p.tags)


@functools.cache
def _things() -> tuple[Word, ...]:
    return tuple(t.word for t in lexicon().things if {"kid", "find"} <= t.tags)


_WAYS = ("", "", "아침에", "점심을 먹고", "혼자", "서둘러", "가방을 메고", "자전거를 타고", "콧노래를 부르며", "오후에")
_SKIES = ("아침부터 비가 |내리다", "하늘이 |맑다", "바람이 |불다", "눈이 |내리다", "날씨가 |따뜻하다", "해가 |뜨다",
          "골목이 |조용하다", "낙엽이 |떨어지다")  # fmt: skip
_SAD, _GLAD, _MAD = ("슬프다", "속상하다", "울다"), ("기쁘다", "신나다", "웃다"), ("화나다", "속상하다")
_CAUSES: tuple[tuple[str, tuple[str, ...]], ...] = tuple(
    (cause, feelings)
    for feelings, causes in (
        (_SAD, "연필을 잃어버리다; 친구가 전학을 가다; 강아지가 아프다; 풍선이 터지다; 화분이 깨지다; 약속이 취소되다; "
               "그림이 젖다; 시험을 망치다; 아이스크림을 떨어뜨리다; 인형이 찢어지다; 넘어져서 무릎이 까지다; 혼자 남다"),
        (_GLAD, "상을 받다; 편지를 받다; 첫눈이 오다; 새 친구가 생기다; 시합에서 이기다; 할머니를 만나다; 생일 선물을 받다; "
                "자전거를 배우다; 고양이를 찾다; 칭찬을 듣다; 소풍을 가게 되다; 꽃이 피다; 노래를 잘 부르다"),
        (_MAD, "동생이 일기를 읽다; 친구가 놀리다; 줄을 새치기당하다; 빵을 빼앗기다; 장난감이 부서지다; 거짓말을 듣다; "
               "신발이 젖다; 자리를 빼앗기다"),
        (("무섭다", "떨리다"), "천둥이 치다; 길을 잃다; 큰 개를 만나다; 불이 나가다; 무대에 서다; 이상한 소리를 듣다; 밤길을 걷다"),
        (("부끄럽다", "당황하다"), "양말을 짝짝이로 신다; 이름을 잘못 부르다; 수업 시간에 졸다; 대답을 틀리다; 바지가 찢어지다"),
        (("피곤하다", "졸리다"), "밤새 책을 읽다; 산을 오르다; 하루 종일 걷다; 늦게 자다; 짐을 나르다"),
    )
    for cause in (part.strip() for part in causes.split(";"))
)  # fmt: skip
