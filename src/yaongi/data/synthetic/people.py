"""Who a story is about: how each person is named, called, honoured and spoken to."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from yaongi.data.synthetic.template import Scene, Word, attach
from yaongi.text.hangul import has_final, josa

CHILD, GROWN, SENIOR = range(3)


class Person(Word):
    """Somebody in a story.

    Args:
        text: the name a narrator uses.
        rank: CHILD, GROWN or SENIOR; one speaks politely upwards and between grown strangers.
        call: what others call them to their face.
        honoured: the narrator uses -(으)시- of them.
        raised: and 께서 in place of 이/가.
    """

    def __init__(
        self, text: str, rank: int, call: str, *, honoured: bool = False, raised: bool = False
    ) -> None:
        super().__init__(text)
        self.rank = rank
        self.call = call
        self.honoured = honoured
        self.raised = raised

    def form(self, particle: str) -> str:
        if particle == "아":
            return self.call
        if self.raised and particle in ("은", "이"):
            return self.text + ("께서는" if particle == "은" else "께서")
        if self.honoured and particle == "에게":
            return self.text + "께"
        return attach(self.text, particle)


class Narrator(Person):
    """나, who tells a diary or a letter."""

    FORMS = {"": "나", "은": "나는", "이": "내가", "의": "내", "에게": "나에게", "과": "나와"}  # noqa: RUF012

    def __init__(self, humble: bool) -> None:
        super().__init__("저" if humble else "나", CHILD, "")

    def form(self, particle: str) -> str:
        if self.text == "저":
            forms = {"은": "저는", "이": "제가", "의": "제", "에게": "저에게", "과": "저와"}
            return forms.get(particle) or attach("저", particle)
        return self.FORMS.get(particle) or attach("나", particle)


def child(name: str) -> Person:
    """민지 is 민지, 지훈 is 지훈이 in a story; called 민지야, 지훈아."""
    return Person(name + ("이" if has_final(name) else ""), CHILD, josa(name, "아/야"))


def grown(name: str) -> Person:
    """A grown-up hero: 상호 씨."""
    return Person(f"{name} 씨", GROWN, f"{name} 씨")


def beast(name: str, kind: str) -> Person:
    """An animal: 아기 토끼, called 토끼야."""
    return Person(name, CHILD, josa(kind, "아/야"))


_CHILD_FAMILY = (
    ("엄마", GROWN), ("아빠", GROWN), ("이모", GROWN), ("삼촌", GROWN), ("고모", GROWN),
    ("할머니", SENIOR), ("할아버지", SENIOR), ("외할머니", SENIOR), ("외할아버지", SENIOR),
)  # fmt: skip
_BEAST_FAMILY = _CHILD_FAMILY[:2] + _CHILD_FAMILY[5:7]
_GROWN_FAMILY = (("어머니", SENIOR), ("아버지", SENIOR))
_STRANGERS = (
    "동네 할머니+", "이웃집 아저씨", "옆 가게 아주머니", "경비 아저씨", "우체부 아저씨",
    "과일 장수 아저씨", "고등학생 누나", "옆집 형", "교통 봉사 할아버지+", "이장 할아버지+",
    "빵집 아주머니", "두부 장수 할아버지+", "청소하는 아주머니", "낚시꾼 아저씨", "스님+",
    "미용실 아주머니", "군고구마 장수", "유치원 선생님+", "사진관 아저씨", "꽃집 아주머니",
    "약국 할머니+", "태권도장 사범님+", "세탁소 아저씨", "자전거 탄 아주머니", "국숫집 할머니+",
)  # fmt: skip
_SHOPKEEPERS = ("주인", "주인아저씨", "주인아주머니", "주인 할머니+", "주인 할아버지+")
_BEAST_ELDERS = (
    "부엉이 할아버지+", "사슴 아주머니", "두더지 아저씨", "거북이 할머니+", "황소 아저씨",
    "까치 아주머니", "수달 아저씨", "두루미 할머니+", "오소리 아저씨", "염소 할아버지+",
    "제비 아주머니", "잉어 할아버지+",
)  # fmt: skip
_FLYING, _SWIMMING = ("부엉이", "까치", "두루미", "제비"), ("거북이", "수달", "잉어")


def family(hero: str, spouse: str, rng: random.Random) -> Person:
    """A relative of a hero of this kind (kid, adult or animal); ``spouse`` is 아내 or 남편."""
    table = {"kid": _CHILD_FAMILY, "animal": _BEAST_FAMILY}.get(hero)
    name, rank = rng.choice(table or (*_GROWN_FAMILY, (spouse, GROWN)))
    call = {"아내": "여보", "남편": "여보"}.get(name, name)
    honoured = rank == SENIOR or (rank == GROWN and hero != "adult" and rng.random() < 0.3)
    return Person(name, rank, call, honoured=honoured, raised=honoured and rng.random() < 0.3)


def helper(tags: set[str], rng: random.Random) -> Person:
    """Somebody one meets: a shopkeeper in a shop, an elder animal in a fable, else a passer-by."""
    table: Sequence[str] = _STRANGERS
    if "animal" in tags:
        table = _BEAST_ELDERS
    elif "shop" in tags:
        table = _SHOPKEEPERS
    text = table[int(rng.random() * len(table))]
    name = text.rstrip("+")
    senior = text != name
    return Person(name, SENIOR if senior else GROWN, name.split()[-1], honoured=senior)


def helper_tags(person: Person) -> set[str]:
    """What a helping animal can do."""
    kind = person.text.split()[0]
    return {tag for tag, kinds in (("hfly", _FLYING), ("hswim", _SWIMMING)) if kind in kinds}


def speaks_politely(scene: Scene, speaker: str, listener: str) -> bool:
    """Whether 요 is due: to one's elders, and between grown-ups who are not a couple."""
    s, t = scene.slots.get(speaker), scene.slots.get(listener)
    if not isinstance(s, Person) or not isinstance(t, Person):
        return False
    if t.rank != s.rank:
        return t.rank > s.rank
    return s.rank >= GROWN and t.call != "여보"


@dataclass
class Cast:
    """The people of one story."""

    hero: Person
    friend: Person
    family: Person
    other: Person
    named: Person | None = None
    bare: str = ""
    friend_bare: str = ""
