"""Drawing a plot: who wants what, where and when, what gets in the way and how that turns.

Everything drawn here goes together: heroes have their places, shops their goods, troubles their
moments. The key of a plot decides its split.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar

from yaongi.data.synthetic.arcs import ARCS, Arc
from yaongi.data.synthetic.splits import Key
from yaongi.data.synthetic.template import CASUAL, FORMAL, PLAIN, POLITE, Word
from yaongi.data.synthetic.wordfiles import cells, listed, rows
from yaongi.data.synthetic.words import (
    Animal,
    Job,
    Make,
    Mystery,
    Place,
    Skill,
    Thing,
    lexicon,
)

T = TypeVar("T")
SEASONS = ("spring", "summer", "autumn", "winter")
HEROES = ("kid", "adult", "animal")
ME, LETTER = 0.22, 0.35  # of children's stories in the first person; of those, letters
VARIANTS = 3  # how many ways one plot may go wrong and be put right


@dataclass(frozen=True)
class Plot:
    """What happens, before it is told.

    Attributes:
        subject: the row of the lexicon it is about; ``item`` its name.
        variant: which of the subject's ways of going wrong.
        friend: whether a friend comes along. kinds: the cast of a fable.
        phase, trouble, turn: when trouble comes, which, and how it turns; empty without trouble.
    """

    arc: str
    hero: str
    me: bool
    letter: bool
    register: int
    season: str
    part: str
    weather: str
    subject: Any
    item: Word
    heavy: bool
    first: Place
    second: Place
    variant: int
    friend: bool
    kinds: tuple[Animal, ...]
    phase: str = ""
    trouble: str = ""
    turn: str = ""

    @property
    def key(self) -> Key:
        """What happens, whoever it happens to and however it is told."""
        return (
            "plot", self.arc, self.item.text, self.first.word.text, self.second.word.text,
            self.trouble, self.turn, str(self.variant), *(kind.name for kind in self.kinds[:2]),
        )  # fmt: skip

    @property
    def tags(self) -> set[str]:
        """What holds from the start, for the conditions of lines."""
        holds = {
            "b": self.friend, "newcomer": self.arc == "friend", "me": self.me,
            "diary": self.me and not self.letter, "humble": self.me and self.register == POLITE,
        }  # fmt: skip
        always = {self.hero, self.season, self.part, self.weather}
        return always | {tag for tag, held in holds.items() if held}


def draw_plot(rng: random.Random, arc: str | None = None) -> Plot:
    """A plot whose parts go together, of one kind of story or of any."""
    name = arc or pick(rng, tuple(ARCS))
    rule = ARCS[name]
    hero = pick(rng, rule.heroes.split())
    season = pick(rng, rule.seasons.split())
    found = None
    while found is None:
        found = _find(rng, rule, hero, season)
    me = rule.me and hero == "kid" and rng.random() < ME
    letter = me and rng.random() < LETTER
    plot = Plot(
        arc=name, hero=hero, me=me, letter=letter, register=_register(rng, hero, me, letter),
        season=season, part=pick(rng, rule.parts.split()), weather=_weather(rng, season),
        **found._asdict(), variant=int(rng.random() * VARIANTS),
        friend=rule.alone or name in ("trip", "feast") or rng.random() < 0.6,
        kinds=tuple(rng.sample(lexicon().animals, 3)) if hero == "animal" else (),
    )  # fmt: skip
    return _with_trouble(rng, rule, plot) if rule.phases else plot


def pick(rng: random.Random, options: Sequence[T]) -> T:
    """``rng.choice``, several times as fast."""
    return options[int(rng.random() * len(options))]


def _register(rng: random.Random, hero: str, me: bool, letter: bool) -> int:
    chance = rng.random()
    if letter:
        return CASUAL if chance < 0.6 else POLITE
    plain, formal = (1.0, 1.0) if me else (0.2, 0.8) if hero == "animal" else (0.68, 0.85)
    return PLAIN if chance < plain else FORMAL if chance < formal else POLITE


def _weather(rng: random.Random, season: str) -> str:
    chance = rng.random()
    if chance < 0.75:
        return "fine" if chance < 0.55 else "cloudy"
    return "windy" if chance < 0.83 else "snow" if season == "winter" else "rain"


# --- trouble ---------------------------------------------------------------------------------

_NOT_NOW = {
    *SEASONS,
    *HEROES,
    "in",
    "out",
    "show",
}  # tags of a thing that say nothing of the moment


def _with_trouble(rng: random.Random, rule: Arc, plot: Plot) -> Plot:
    phase = pick(rng, tuple(rule.phases))
    tags = _tags_then(plot, set(rule.phases[phase].split()))
    if rule.alone:
        tags.discard("b")
    fits = [t for t in lexicon().troubles.values() if t.fits(tags)]
    trouble = pick(rng, fits)
    return replace(plot, phase=phase, trouble=trouble.name, turn=pick(rng, trouble.turns_for(tags)))


def _tags_then(plot: Plot, phase: set[str]) -> set[str]:
    """What holds when the trouble comes."""
    tags = plot.tags | phase
    if plot.heavy and "carry" in phase:
        tags.add("heavy")
    if "thing" in phase or isinstance(plot.subject, (Make, Skill)):
        tags |= plot.subject.tags - _NOT_NOW
    place = plot.first if plot.arc in ("errand", "gift") else plot.second
    tags |= place.tags & {"forest", "home"}
    if place.tags & {"country", "forest", "water"}:
        tags.add("wild")
    if plot.weather in ("rain", "snow"):
        tags.add("wet")
    return tags


# --- what it is about, and where -------------------------------------------------------------

_GOODS = {shop: listed(goods) for shop, goods in map(cells, rows("goods.txt"))}
_GIFT_SHOPS = {  # by the tags of a thing
    "book": ("책방",), "knit": ("시장",), "wear": ("시장",), "write": ("문구점", "책방"),
    "toy": ("문구점", "골동품 가게"), "metal": ("골동품 가게", "시장"), "music": ("골동품 가게",),
}  # fmt: skip
FOOD_SHOPS = ("시장", "빵집", "방앗간", "떡집", "과일 가게", "분식집")
_OUTING = Word("나들이")


class Found(NamedTuple):
    """What a story is about, and where."""

    subject: Any
    item: Word
    heavy: bool
    first: Place
    second: Place


def _find(rng: random.Random, rule: Arc, hero: str, season: str) -> Found | None:
    """What the story is about and its two places; None when the draw does not fit the hero."""
    table, _, tag = rule.about.partition(":")
    subject, item, heavy, own = _ABOUT.get(table, _row)(rng, table, tag, hero, season)
    first = _place(rng, rule.places[0], own, hero, season)
    second = _place(rng, rule.places[1], (), hero, season)
    if first is None or second is None or first is second:
        return None
    return Found(subject, item, heavy, first, second)


About = tuple[Any, Word, bool, tuple[str, ...]]
"""The subject, its name, whether it is heavy, and places of its own."""


def _row(rng: random.Random, table: str, tag: str, hero: str, season: str) -> About:
    subject = pick(rng, _rows(table, tag, hero, season))
    item = _word(subject.strange) if isinstance(subject, Mystery) else subject.word
    return subject, item, "heavy" in getattr(subject, "tags", ()), _own_places(subject, hero, tag)


def _goods(rng: random.Random, *_: str) -> About:
    shop = pick(rng, tuple(_GOODS))
    good = pick(rng, _GOODS[shop])
    return None, _word(good.rstrip("+")), good[-1] == "+", (shop,)


def _food(rng: random.Random, *_: str) -> About:
    return None, pick(rng, lexicon().animals).food, False, ()


def _nothing(*_: object) -> About:
    return None, _OUTING, False, ()


_ABOUT = {"goods": _goods, "food": _food, "none": _nothing}


@functools.cache
def _word(text: str) -> Word:
    return Word(text)


@functools.cache
def _rows(table: str, tag: str, hero: str, season: str) -> tuple[Any, ...]:
    """The rows of a table that suit: they have the tag, the hero and the season, if any."""
    others = set(SEASONS) - {season}

    def suits(tags: frozenset[str]) -> bool:
        heroes = tags & set(HEROES)
        in_season = season in tags or others.isdisjoint(tags)
        return in_season and (not tag or tag in tags) and (not heroes or hero in heroes)

    rows: tuple[Any, ...] = getattr(lexicon(), table)
    return tuple(row for row in rows if suits(getattr(row, "tags", frozenset())))


def _own_places(subject: Any, hero: str, tag: str) -> tuple[str, ...]:
    if isinstance(subject, Make):
        return _workplaces(subject, hero)
    if isinstance(subject, Job):
        return (subject.place,)
    if isinstance(subject, Thing) and tag == "gift":
        shops = tuple(s for t in sorted(subject.tags) for s in _GIFT_SHOPS.get(t, ()))
        return shops or ("시장",)
    if isinstance(subject, Thing):
        return () if hero == "animal" else ("창고", "마당", "다락방")
    return tuple(getattr(subject, "places", ()))


def _workplaces(make: Make, hero: str) -> tuple[str, ...]:
    if hero == "animal":
        return ("굴속", "참나무 아래", "버섯 마을", "개울가")
    if "out" in make.tags:
        return ("바닷가",) if make.word.text == "모래성" else ("마당",)
    return ("부엌",) if "food" in make.tags else ("거실", "마당", "다락방", "창고")


def _place(
    rng: random.Random, tag: str, own: tuple[str, ...], hero: str, season: str
) -> Place | None:
    """One of the subject's own places, or any with the tag; None if the hero does not go there."""
    if own and tag == "own":
        place = lexicon().places[pick(rng, own)]
        welcome = hero in place.tags or (hero == "adult" and "school" not in place.tags)
        return place if welcome else None
    options = _places(hero, "" if tag == "own" else tag, season)
    return pick(rng, options) if options else None


@functools.cache
def _places(hero: str, tag: str, season: str) -> tuple[Place, ...]:
    """Places a hero goes to: ``tag`` is one the place must have, "" for any but a home."""
    others = set(SEASONS) - {season}
    return tuple(
        place
        for place in lexicon().places.values()
        if hero in place.tags
        and (tag in place.tags if tag else "home" not in place.tags)
        and others.isdisjoint(place.tags)
    )
