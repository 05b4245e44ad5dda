"""Korean micro-stories: a plot is drawn, then told beat by beat in a register.

A plot says who wants what, where, what gets in the way and how that turns; telling it keeps track
of place, weather, belongings and mood, and picks among lines that fit them. The idea of planning
before telling is that of TALE-SPIN (Meehan 1977); the aim of small, coherent, varied texts a small
model can learn from is that of TinyStories (Eldan & Li 2023, arXiv:2305.07759).
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from yaongi.data.synthetic.conjugation import stems
from yaongi.data.synthetic.people import (
    Cast,
    Narrator,
    Person,
    beast,
    child,
    family,
    grown,
    helper,
    helper_tags,
    speaks_politely,
)
from yaongi.data.synthetic.template import (
    AND,
    CASUAL,
    FORMAL,
    PLAIN,
    POLITE,
    SINCE,
    WHILE,
    Line,
    Scene,
    Word,
)
from yaongi.data.synthetic.words import (
    Animal,
    Creature,
    Job,
    Lexicon,
    Make,
    Mystery,
    Place,
    Plant,
    Skill,
    Thing,
    lexicon,
)


@dataclass(frozen=True)
class Arc:
    """A kind of story: who it can happen to, what it is about, and its beats in order.

    A beat is a pool of lines, ``pool?60`` told in 60 of 100 stories, or one of the verbs of
    ``Teller``: ``open=pool  detail=kind  spot  look  feel=sad,worry  react=joy  steps  para  end``,
    ``travel=q`` (goes there; trouble of the phase "go" falls on the way), ``trouble=phase`` and
    ``trouble=phase:pool`` (told only when the trouble comes then, led in by a line of ``pool``).

    Attributes:
        about: the table the subject comes from, and a tag it must have: ``things:find``.
        places: tags the first and second place must have ("own": one of the subject's own places).
        phases: when trouble may come, with the tags that hold then.
        parts, seasons: times of day and year that suit it.
        me: a child can tell it of himself.
    """

    heroes: str
    about: str
    places: tuple[str, str]
    phases: dict[str, str]
    beats: str
    parts: str = "morning noon evening"
    seasons: str = "spring summer autumn winter"
    me: bool = True


_ANYTIME = "morning noon evening night"
ARCS = {
    "find": Arc("kid kid adult animal", "things:find", ("", ""), {"go": "out"}, """
        open=find.want find.why?70 feel=worry,sad?60 place=p?85 look?50 find.search detail=way?45 spot
        find.search?40 para find.clue travel=q look?30 feel=nervous,curious?25 spot find.done
        react=joy,relief para find.after?70 detail=supper?20 end"""),
    "errand": Arc("kid kid", "goods:", ("own", ""), {
        "go": "out prep", "at": "shop", "back": "out carry goods"}, """
        open=errand.want errand.go?70 detail=way?60 travel=p look?60 para trouble=at errand.done?90
        errand.twist?30 trouble=back:homeward para errand.home react=proud,joy?60 detail=supper?20 end
        """),
    "gift": Arc("kid kid adult", "things:gift", ("own", ""), {
        "go": "out prep", "at": "shop", "back": "out carry thing"}, """
        open=gift.want gift.idea?80 travel=p look?50 para trouble=at gift.buy detail=way?45
        trouble=back:homeward para gift.done gift.react react=joy,proud?60 detail=supper?15 end"""),
    "make": Arc("kid adult animal", "makes:", ("own", ""), {"make": "make in", "go": "out"}, """
        open=make.want make.ready?80 detail=home?40 trouble=go:make.out steps para trouble=make
        make.last?60 make.done react=proud,joy para make.share end""", _ANYTIME),
    "learn": Arc("kid kid adult animal", "skills:", ("own", ""), {"learn": "learn"}, """
        open=learn.want place=p?80 look?50 learn.try?80 para trouble=learn detail=lunch?20 para
        learn.done learn.react?80 react=proud,joy end"""),
    "rescue": Arc("kid kid adult", "creatures:", ("out", ""), {"go": "out"}, """
        open=rescue.find detail=way?45 rescue.state react=pity?70 rescue.first para
        trouble=go:rescue.out rescue.help?70 rescue.done react=relief,joy?60 rescue.after
        detail=supper?15 end"""),
    "quarrel": Arc("kid kid animal", "things:find", ("", ""), {"go": "out"}, """
        open=quarrel.cause react=angry,sad quarrel.fight para quarrel.alone detail=home?45
        quarrel.alone?40 react=lonely,shame quarrel.step para trouble=go:quarrel.out quarrel.sorry
        react=relief,joy quarrel.after end"""),
    "trip": Arc("kid kid adult animal", "none:", ("near", "far"), {
        "go": "out prep", "back": "out carry"}, """
        open=trip.want trip.pack?60 detail=way?60 para travel=q trip.see detail=way?60 trip.see?60
        react=joy,surprise para trouble=back:homeward trip.home?70 detail=supper?20 end"""),
    "grow": Arc("kid kid adult", "plants:", ("own", ""), {"grow": "grow"}, """
        open=grow.want grow.plant grow.talk?60 grown detail=way?40 para trouble=grow grow.talk?30
        grown?40 para grow.done react=proud,joy detail=supper?15 end""",
        seasons="spring spring summer"),
    "show": Arc("kid kid adult", "skills:show", ("show", ""), {"show": "show"}, """
        open=show.want show.ready show.ready?30 detail=home?45 react=nervous?50 para place=p?0 show.go
        look?50 trouble=show show.done react=proud,joy,relief?70 para show.after end"""),
    "deliver": Arc("kid adult animal", "things:deliver", ("", ""), {"go": "out carry thing"}, """
        open=deliver.want deliver.carry?70 detail=way?50 para travel=q look?40 deliver.done
        react=proud,relief?50 deliver.react deliver.react?40 end"""),
    "fix": Arc("kid adult animal", "things:fix", ("own", ""), {"go": "out"}, """
        open=fix.want react=sad?40 detail=home?40 fix.try fix.try?50 para fix.snag
        react=worry,tired?40 trouble=go:fix.out fix.turn para fix.done react=proud,joy fix.after?70
        end""", _ANYTIME),
    "mystery": Arc("kid kid adult", "mysteries:", ("own", ""), {"go": "out"}, """
        open=mystery.want mystery.guess react=fear,curious?60 detail=home?40 para mystery.plan?70
        trouble=go:mystery.out mystery.act mystery.wait?60 react=fear,nervous?40 para mystery.done
        react=surprise,relief mystery.after end""", "evening night"),
    "friend": Arc("kid kid animal", "things:gift", ("near", ""), {"go": "out"}, """
        open=friend.want friend.shy react=lonely,nervous?30 para trouble=go:friend.out friend.chance
        friend.talk friend.play?80 detail=way?50 react=joy para friend.after end"""),
    "memory": Arc("kid", "things:find", ("home", ""), {}, """
        open=memory.want look?60 memory.find detail=home?60 react=curious?40 para memory.ask memory.tell
        react=thanks,surprise para memory.after detail=supper?20 end""", _ANYTIME),
    "work": Arc("adult", "jobs:", ("own", ""), {}, """
        open=work.want work.day?70 look?60 detail=lunch?40 para work.trouble react=worry,tired?70
        work.turn detail=home?45 work.done para work.praise react=proud,thanks end""", me=False),
    "feast": Arc("animal", "food:", ("", ""), {}, """
        open=feast.want detail=home?45 feast.ask feast.refuse para feast.turn react=lonely,shame,sad?70
        para feast.done react=joy,thanks detail=supper?30 end""", me=False),
}  # fmt: skip

SEASONS = ("spring", "summer", "autumn", "winter")
_NOT_NOW = {*SEASONS, "in", "out", "adult", "kid", "animal", "show"}  # of a thing, not the moment
_EVENTS = tuple(map(Word, ("학예회", "노래자랑", "장기 자랑", "마을 축제", "발표회", "재능 대회",
                           "단풍 축제", "어울림 한마당")))  # fmt: skip
_EATABLE = ("시장", "빵집", "방앗간", "떡집", "과일 가게", "분식집")
_GIFT_SHOPS = {
    "book": ("책방",), "knit": ("시장",), "wear": ("시장",), "write": ("문구점", "책방"),
    "toy": ("문구점", "골동품 가게"), "metal": ("골동품 가게", "시장"), "music": ("골동품 가게",),
}  # fmt: skip
_GOODS = {
    "시장": "두부 콩나물 시금치 멸치 고등어 미나리 쌀+ 감자+ 배추+", "빵집": "식빵 단팥빵 바게트 크림빵",
    "꽃집": "국화 프리지어 장미 튤립", "약국": "감기약 파스 반창고 소화제",
    "문구점": "도화지 색종이 풀 지우개 모눈종이", "철물점": "못 전구 철사 자물쇠 페인트+",
    "방앗간": "참기름 들기름 고춧가루 떡국떡+ 미숫가루 쌀가루+", "떡집": "꿀떡 인절미 시루떡 가래떡",
    "과일 가게": "사과+ 귤 복숭아 포도 수박+", "책방": "국어사전 요리책 시집", "분식집": "떡볶이 어묵 김밥",
}  # fmt: skip


@dataclass(frozen=True)
class Plot:
    """What happens, before it is told."""

    arc: str
    hero: str
    me: bool
    register: int
    letter: bool
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
    def key(self) -> tuple[str, ...]:
        """What must differ between training and held-out stories."""
        return (self.arc, self.item.text, self.first.word.text, self.second.word.text, self.trouble,
                self.turn, str(self.variant), *(animal.name for animal in self.kinds[:2]))  # fmt: skip


@dataclass(frozen=True)
class Story:
    """A told plot."""

    text: str
    plot: Plot
    cast: Cast = field(repr=False)


def draw_plot(rng: random.Random, arc: str | None = None) -> Plot:
    """A plot whose parts go together."""
    lex = lexicon()
    name = arc or _pick(rng, tuple(ARCS))
    rule = ARCS[name]
    hero = _pick(rng, rule.heroes.split())
    season = _pick(rng, rule.seasons.split())
    found = None
    while found is None:
        found = _subject(rng, lex, rule, hero, season)
    me = rule.me and hero == "kid" and rng.random() < 0.22
    letter = me and rng.random() < 0.35
    plot = Plot(
        arc=name, hero=hero, me=me, letter=letter, season=season,
        register=_register(rng, hero, me, letter), part=_pick(rng, rule.parts.split()),
        weather=_weather(rng, season), subject=found.subject, item=found.item, heavy=found.heavy,
        first=found.first, second=found.second, variant=int(rng.random() * 3),
        friend=rng.random() < 0.6 or name in ("quarrel", "friend", "trip", "feast"),
        kinds=tuple(rng.sample(lex.animals, 3)) if hero == "animal" else (),
    )  # fmt: skip
    return _with_trouble(rng, lex, rule, plot) if rule.phases else plot


def tell(plot: Plot, rng: random.Random, length: float = 1.0) -> Story:
    """The plot as text. ``length`` < 1 leaves out more of what may be left out."""
    return Teller(plot, rng, length).story()


def _pick(rng: random.Random, options: Any) -> Any:
    return options[int(rng.random() * len(options))]


def _register(rng: random.Random, hero: str, me: bool, letter: bool) -> int:
    if letter:
        return CASUAL if rng.random() < 0.6 else POLITE
    if me:
        return PLAIN
    shares = (0.2, 0.8) if hero == "animal" else (0.68, 0.85)
    chance = rng.random()
    return PLAIN if chance < shares[0] else FORMAL if chance < shares[1] else POLITE


def _weather(rng: random.Random, season: str) -> str:
    chance = rng.random()
    if chance < 0.55:
        return "fine"
    if chance < 0.75:
        return "cloudy"
    return "windy" if chance < 0.83 else "snow" if season == "winter" else "rain"


def _with_trouble(rng: random.Random, lex: Lexicon, rule: Arc, plot: Plot) -> Plot:
    phase = _pick(rng, tuple(rule.phases))
    tags = _base_tags(plot) | set(rule.phases[phase].split())
    if plot.heavy and "carry" in tags:
        tags.add("heavy")
    if isinstance(plot.subject, (Make, Skill)) or "thing" in tags:
        tags |= plot.subject.tags - _NOT_NOW
    place = plot.first if plot.arc in ("errand", "gift") else plot.second
    tags |= place.tags & {"forest", "home"}
    if place.tags & {"country", "forest", "water"}:
        tags.add("wild")
    if plot.weather in ("rain", "snow"):
        tags.add("wet")
    if plot.arc in _STRANGERS:
        tags.discard("b")
    fits = [t for t in lex.troubles.values() if t.needs <= tags and t.refuses.isdisjoint(tags)]
    trouble = _pick(rng, fits)
    turn = _pick(rng, trouble.turns_for(tags))
    return replace(plot, phase=phase, trouble=trouble.name, turn=turn)


def _base_tags(plot: Plot) -> set[str]:
    tags = {plot.hero, plot.season, plot.part, plot.weather}
    if plot.friend:
        tags.add("b")
    if plot.arc == "friend":
        tags.add("newcomer")
    if plot.me:
        tags.add("me")
    if plot.me and plot.register == POLITE:
        tags.add("humble")
    return tags


@functools.cache
def _places(hero: str, tag: str, season: str) -> tuple[Place, ...]:
    """Places a hero goes to: ``tag`` is one the place must have, "" for any but a home."""
    seasonal = set(SEASONS) - {season}
    return tuple(
        p for p in lexicon().places.values()
        if hero in p.tags and (tag in p.tags if tag else "home" not in p.tags)
        and seasonal.isdisjoint(p.tags)
    )  # fmt: skip


@functools.cache
def _subjects(table: str, tag: str, hero: str, season: str) -> tuple[Any, ...]:
    lex = lexicon()
    other = set(SEASONS) - {season}
    rows: tuple[Any, ...] = getattr(lex, table)
    return tuple(
        r for r in rows
        if not hasattr(r, "tags") or (
            (season in r.tags or other.isdisjoint(r.tags))
            and (tag in r.tags or not tag)
            and (hero in r.tags or not r.tags & {"kid", "adult", "animal"})
        )
    )  # fmt: skip


class Found(NamedTuple):
    """What a story is about, and where."""

    subject: Any
    item: Word
    heavy: bool
    first: Place
    second: Place


def _subject(
    rng: random.Random, lex: Lexicon, rule: Arc, hero: str, season: str
) -> Found | None:
    """What the story is about and its two places; None when the draw does not fit the hero."""
    table, _, tag = rule.about.partition(":")
    subject: Any = None
    own: tuple[str, ...] = ()
    heavy = False
    if table == "goods":
        shop = _pick(rng, tuple(_GOODS))
        good = _pick(rng, _GOODS[shop].split())
        own, item, heavy = (shop,), _word(good.rstrip("+")), good[-1] == "+"
    elif table == "food":
        item = _pick(rng, lex.animals).food
    elif table == "none":
        item = _word("나들이")
    else:
        subject = _pick(rng, _subjects(table, tag, hero, season))
        item = _word(subject.strange) if isinstance(subject, Mystery) else subject.word
        own = _own_places(subject, hero, tag)
        heavy = "heavy" in getattr(subject, "tags", ())
    first = _place_for(rng, lex, rule.places[0], own, hero, season)
    second = _place_for(rng, lex, rule.places[1], (), hero, season)
    if first is None or second is None or first is second:
        return None
    return Found(subject, item, heavy, first, second)


@functools.cache
def _word(text: str) -> Word:
    return Word(text)


def _own_places(subject: Any, hero: str, tag: str) -> tuple[str, ...]:
    if isinstance(subject, Make):
        if hero == "animal":
            return ("굴속", "참나무 아래", "버섯 마을", "개울가")
        if "out" in subject.tags:
            return ("바닷가",) if subject.word.text == "모래성" else ("마당",)
        return ("부엌",) if "food" in subject.tags else ("거실", "마당", "다락방", "창고")
    if isinstance(subject, Job):
        return (subject.place,)
    if isinstance(subject, Thing):
        shops = [shop for t in sorted(subject.tags) for shop in _GIFT_SHOPS.get(t, ())]
        if tag == "gift":
            return tuple(shops) or ("시장",)
        return ("창고", "마당", "다락방") if hero != "animal" else ()
    return tuple(getattr(subject, "places", ()))


def _place_for(
    rng: random.Random, lex: Lexicon, tag: str, own: tuple[str, ...], hero: str, season: str
) -> Place | None:
    rule_free = hero == "adult" and lex.places[own[0]].word.text != "교실" if own else False
    if own and tag == "own":
        place = lex.places[_pick(rng, own)]
        return place if hero in place.tags or rule_free else None
    options = _places(hero, "" if tag == "own" else tag, season)
    return _pick(rng, options) if options else None


_STRANGERS = ("quarrel", "friend")  # where the friend is not at one's side when trouble comes
FELT = (SINCE, AND)  # how what happened is joined to what it makes one feel
JOIN = 0.4  # how often a sentence runs on into the next where it can
_VERBS = ("open", "detail", "travel", "look", "feel", "react", "trouble", "steps", "end", "para",
          "spot", "grown")  # fmt: skip
_STARTS = ('"', "그런데", "하지만", "그러나", "그때", "마침", "드디어", "결국", "그 순간", "그날", "아뿔싸")


@dataclass(frozen=True)
class Sentence:
    """Told text, open at the end when ``tail`` still has to be given an ending."""

    text: str
    tail: Callable[[int], str] | None
    link: tuple[int, ...]
    topic: str  # what it begins with when it is about the hero, else ""
    hero: bool  # it ends being about the hero

    def follows(self, before: Sentence) -> bool:
        """Whether ``before`` may run on into this one."""
        return bool(self.link) and before.hero and not self.text.startswith(_STARTS)


def _ended(text: str, tail: Callable[[int], str] | None, how: int) -> str:
    return text.rstrip() if tail is None else text + tail(how)


def _is_event(predicate: str) -> bool:
    """Something that happened (-아 버리다, -는 바람에 can follow), rather than a state."""
    last = predicate.rpartition(" ")[2]
    return not stems(last).adjective and not last.endswith(("있다", "없다", "같다", "보이다", "되다"))


def _stopped(text: str) -> str:
    return text if text[-1] in '.?!"' else text + "."


class Teller:
    """Tells one plot: keeps the scene, and turns each beat into sentences."""

    def __init__(self, plot: Plot, rng: random.Random, length: float) -> None:
        self.plot, self.rng, self.length = plot, rng, length
        self.lex = lexicon()
        self.cast = _cast(plot, rng, self.lex)
        self.paragraphs: list[list[Sentence]] = [[]]
        self.stage = 0
        self.moved = False  # the last line was a walk to somewhere
        self.scenes: list[str] = []  # what may still be seen here
        self.scene = Scene(
            rng, self.lex.pools, plot.register, tags=_base_tags(plot),
            speech=speaks_politely, named=self.cast.named,
        )  # fmt: skip
        self._fill()

    def story(self) -> Story:
        """All beats of the arc, in order."""
        if self.plot.me:
            self._header()
        for beat in ARCS[self.plot.arc].beats.split():
            self.beat(beat)
        if self.plot.letter:
            self._farewell()
        text = "\n".join(self._joined(p) for p in self.paragraphs if p)
        if self.plot.letter:
            text = text.removesuffix(".")  # it ends in a signature
        return Story(text, self.plot, self.cast)

    def beat(self, beat: str) -> None:
        """One step of an arc: ``pool``, ``pool?60``, ``verb=what`` or ``verb=what?60``."""
        name, _, chance = beat.partition("?")
        told = not chance or self.rng.random() * 100 < int(chance) * self.length
        verb, _, what = name.partition("=")
        if verb == "place":
            self._arrive(self._place(what))
            name, verb = "goes", ""
        if told and verb in _VERBS:
            getattr(self, f"_{verb}")(what)
        elif told:
            self.say(name)

    def say(self, pool: str, before: str = "", link: tuple[int, ...] = (AND,)) -> None:
        """One line of ``pool``; ``link`` is how the sentence before may be joined to it."""
        self.moved = pool == "goes"
        if pool == "trip.see":
            self._fresh_scene()
        self.tell(self.scene.pools[pool].pick(self.scene), before, link)

    def tell(self, line: Line, before: str = "", link: tuple[int, ...] = (AND,)) -> None:
        """One line as one or more sentences."""
        scene = self.scene
        scene.tail = None
        topic = scene.topic
        raw = f"{before} {line.open(scene)}"
        text = " ".join(raw.split())
        if text and raw[-1] == " ":
            text += " "
        hero = scene.slots["a"]
        if not line.leads and scene.topic is topic and link != FELT:
            scene.topic = None  # somebody or something else was spoken of
        if link == (AND,) and not line.leads:
            link = ()
        start = hero["은"] if line.leads else ""
        self.paragraphs[-1].append(Sentence(text, scene.tail, link, start, scene.topic is hero))

    def aside(self) -> None:
        """What was told last is not about the hero, so nothing is joined to it."""
        last = self.paragraphs[-1][-1]
        self.paragraphs[-1][-1] = replace(last, hero=False)

    def _joined(self, sentences: list[Sentence]) -> str:
        """A paragraph: some sentences run on into the next with -고, -아서, -는데, -지만."""
        told: list[str] = []
        run = 0
        for i, this in enumerate(sentences):
            after = sentences[i + 1] if i + 1 < len(sentences) else None
            text = this.text
            if run:
                text = text.removeprefix(this.topic).lstrip()
            joins = (
                after is not None and this.tail is not None and not run and after.follows(this)
                and len(text) + len(after.text) < 64 and self.rng.random() < JOIN
            )  # fmt: skip
            how = _pick(self.rng, after.link) if after is not None and joins else self.plot.register
            comma = "," if joins and self.rng.random() < 0.3 else ""
            told.append(_ended(text, this.tail, how) + comma if joins else
                        _stopped(_ended(text, this.tail, how)))  # fmt: skip
            run = run + 1 if joins else 0
        return " ".join(told)

    # ------------------------------------------------------------------ beats

    def _open(self, want: str) -> None:
        """Time and weather, who, and what is wanted, in one of several orders."""
        chance = self.rng.random()
        scene = self.scene
        if self.plot.hero == "animal":
            self._open_tale(want, chance)
            return
        if chance < 0.3:
            self.say("opensky")
        if 0.15 < chance < 0.55 and not self.plot.me:
            self.say("intro")
            if chance < 0.4:
                self.say("detail.person")
        line = scene.pools[want].pick(scene)
        when = f"{scene.line('when')}, " if line.leads and chance > 0.3 else ""
        scene.topic = None if when else scene.topic
        self.tell(line, when, ())
        if "b" in scene.tags and self.plot.arc not in ("quarrel", "friend", "trip") and chance > 0.75:
            self.say("friendin", link=())

    def _open_tale(self, want: str, chance: float) -> None:
        self.say("intro")
        if chance < 0.4:
            self.say("detail.person")
        if chance > 0.3:
            self.say("opensky", link=())
        self.say(want, link=())

    def _detail(self, kind: str) -> None:
        self.say(f"detail.{kind}", link=())
        self.aside()

    def _para(self, _: str) -> None:
        if self.paragraphs[-1] and self.rng.random() < 0.6:
            self.paragraphs.append([])

    def _spot(self, _: str) -> None:
        place = self.lex.places[self.scene.slots["p"].text]
        self.scene.slots["s"] = _pick(self.rng, place.spots)

    def _travel(self, slot: str) -> None:
        """Go there; trouble of the phase "go" comes on the way."""
        on_way = self.plot.phase == "go"
        if not on_way:
            self._arrive(self._place(slot))
            self.say("goes")
            return
        scene = self.scene
        scene.slots["p"] = self._place(slot).word
        self.say("way")
        scene.tags |= {"out"}
        self._trouble("go")
        self._arrive(self._place(slot))
        if self.rng.random() < 0.6:
            self.say("arrive")

    def _place(self, slot: str) -> Place:
        return self.plot.first if slot == "p" else self.plot.second

    def _look(self, _: str) -> None:
        self._fresh_scene()
        self.say("look", link=(WHILE,) if self.moved else ())
        self.aside()

    def _feel(self, names: str) -> None:
        self._emotion(names.split(","), "feel")

    def _react(self, names: str) -> None:
        self._emotion(names.split(","), "react")

    def _emotion(self, names: list[str], pool: str) -> None:
        scene = self.scene
        name = _pick(self.rng, names)
        scene.alias["show"] = f"show.{name}"
        feeling = scene.line(f"feel.{name}")
        scene.verbs["em"] = feeling
        scene.tags.discard("emadj")
        if " " not in feeling and stems(feeling).adjective:
            scene.tags.add("emadj")
        self.say(pool if "k" in scene.verbs else "react", link=FELT)

    def _trouble(self, what: str) -> None:
        phase, _, lead = what.partition(":")
        if phase != self.plot.phase:
            return
        scene = self.scene
        trouble = self.lex.troubles[self.plot.trouble]
        person = helper(scene.tags | ({"shop"} if phase == "at" else set()), self.rng)
        company = scene.tags & {"b"} if self.plot.arc in _STRANGERS else set()
        scene.tags -= company
        scene.slots["h"] = scene.slots["e"] if phase in ("learn", "grow") else person
        scene.tags |= helper_tags(person)
        cause = _pick(self.rng, trouble.causes)(scene)
        scene.verbs["k"] = cause
        scene.tags.discard("kverb")
        if _is_event(cause):
            scene.tags.add("kverb")
        if lead:
            self.say(lead)
        self.say(f"{trouble.name}.event", link=(WHILE,) if phase in ("go", "back") else ())
        if self.rng.random() < 0.7 * self.length:
            self._feel(",".join(trouble.feelings))
        self.say(f"{trouble.name}.{self.plot.turn}")
        scene.tags |= company
        if trouble.name == "rain":
            scene.tags -= {"fine", "cloudy"}

    def _grown(self, _: str) -> None:
        """The next stage of growth, as long as there is one."""
        growth = self.plot.subject.growth
        if self.stage < len(growth):
            self.scene.verbs["growth"] = growth[self.stage]
            self.stage += 1
            self.say("grow.days")

    def _steps(self, _: str) -> None:
        self.say("make.steps")

    def _end(self, _: str) -> None:
        if self.rng.random() < 0.75:
            self.say("moral", link=())

    def _arrive(self, place: Place) -> None:
        scene = self.scene
        scene.tags -= {"in", "out", "shop", "home", "town", "country", "forest", "water", "school"}
        scene.tags |= place.tags - {"kid", "adult", "animal", *SEASONS}
        scene.slots["p"] = place.word
        scene.slots["pm"] = _pick(self.rng, place.looks)
        scene.slots["s"] = _pick(self.rng, place.spots)
        self.scenes = list(place.scenes)

    def _fresh_scene(self) -> None:
        """Something seen here that was not told yet."""
        if not self.scenes:
            self.scenes = list(self.lex.places[self.scene.slots["p"].text].scenes)
        self.scene.verbs["sc"] = self.scenes.pop(int(self.rng.random() * len(self.scenes)))

    # ------------------------------------------------------------------ what the lines may name

    def _fill(self) -> None:
        """Bind the slots and predicates of the plot."""
        plot, rng, scene = self.plot, self.rng, self.scene
        cast = self.cast
        scene.slots |= {
            "a": cast.hero, "b": cast.friend, "f": cast.family, "o": cast.other,
            "e": helper(scene.tags, rng), "an": Word(cast.bare), "bn": Word(cast.friend_bare), "me": cast.named or cast.hero,
            "w": _pick(rng, _EVENTS),
            "x": plot.item, "xm": plot.item, "m": plot.item, "food": plot.item,
            "q": plot.second.word, "qm": _pick(rng, plot.second.looks),
        }  # fmt: skip
        self._arrive(plot.first)
        if plot.first.word.text in _EATABLE:
            scene.tags.add("eat")
        bind = _BINDERS.get(type(plot.subject))
        if bind:
            bind(self, plot.subject)

    def _header(self) -> None:
        """The date of a diary, the greeting of a letter."""
        scene, rng = self.scene, self.rng
        if not self.plot.letter:
            self.say("diary.date")
            self.paragraphs.append([])
        elif self.plot.register == CASUAL:
            scene.slots["r"] = child(_pick(rng, self.lex.kids))
            self.say("letter.casual")
        else:
            scene.slots["r"] = _word(_pick(rng, ("할머니", "할아버지", "선생님", "이모", "외할머니")))
            self.say("letter.polite")

    def _farewell(self) -> None:
        self.paragraphs.append([])
        self.say("letter.bye" if self.plot.register == CASUAL else "letter.byepolite", link=())


def _cast(plot: Plot, rng: random.Random, lex: Lexicon) -> Cast:
    named = None
    if plot.hero == "animal":
        hero, friend, other = (_beast(rng, a.name) for a in plot.kinds)
        bare, second = hero.text, friend.text
    elif plot.hero == "adult":
        names = rng.sample(_pick(rng, (lex.women, lex.men)), 3)
        hero, friend, other = (grown(name) for name in names)
        bare, second = names[:2]
    else:
        names = rng.sample(lex.kids, 3)
        hero, friend, other = (child(name) for name in names)
        bare, second = names[:2]
    if plot.me:
        named = hero
        hero = Narrator(humble=plot.register == POLITE)
    spouse = "남편" if bare in lex.women else "아내"
    return Cast(hero, friend, family(plot.hero, spouse, rng), other, named, bare, second)


_EPITHETS = ("아기", "꼬마", "막내")


def _beast(rng: random.Random, kind: str) -> Person:
    return beast(f"{_pick(rng, _EPITHETS)} {kind}" if rng.random() < 0.4 else kind, kind)


def _bind_thing(teller: Teller, thing: Thing) -> None:
    scene = teller.scene
    own = thing.looks if teller.plot.arc in ("gift", "deliver") else thing.looks + thing.worn
    scene.slots["xm"] = _pick(teller.rng, own) if own else thing.word
    scene.slots["why"] = thing.why
    scene.tags |= thing.tags & {"food", "paper", "knit", "music", "toy", "break", "soft", "machine"}


def _bind_make(teller: Teller, make: Make) -> None:
    scene, rng = teller.scene, teller.rng
    scene.slots["m"], scene.slots["mm"] = rng.sample(make.needs, 2)
    start = int(rng.random() * (len(make.steps) - 2))
    for name, step in zip(("sta", "stb", "stc"), make.steps[start:], strict=False):
        scene.verbs[name] = step
    scene.verbs["stc"] = make.steps[-1]
    scene.verbs["wrong"] = make.wrongs[teller.plot.variant % len(make.wrongs)]
    scene.verbs["result"] = _pick(rng, make.results)
    scene.tags |= make.tags & {"food", "craft", "gift", "play", "sweet"}


def _bind_skill(teller: Teller, skill: Skill) -> None:
    scene, rng = teller.scene, teller.rng
    scene.slots["adv"] = _pick(rng, skill.advice)
    scene.verbs["v"] = skill.act
    scene.verbs["wrong"] = skill.wrongs[teller.plot.variant % len(skill.wrongs)]
    scene.verbs["success"] = _pick(rng, skill.successes)


def _bind_job(teller: Teller, job: Job) -> None:
    scene, rng = teller.scene, teller.rng
    scene.slots["job"] = job.word
    scene.slots["m"] = _pick(rng, job.tools)
    scene.slots["praise"] = _pick(rng, job.praise)
    scene.verbs["daily"] = _pick(rng, job.daily)
    scene.verbs["wrong"] = job.wrongs[teller.plot.variant % len(job.wrongs)]


def _bind_creature(teller: Teller, creature: Creature) -> None:
    scene, rng = teller.scene, teller.rng
    i = teller.plot.variant % len(creature.plights)
    scene.slots["cry"] = creature.cry
    if creature.cry.text:
        scene.tags.add("cry")
    scene.verbs["plight"] = creature.plights[i]
    scene.verbs["remedy"] = creature.remedies[i]
    scene.verbs["thanks"] = _pick(rng, creature.thanks)


def _bind_plant(teller: Teller, plant: Plant) -> None:
    scene, rng = teller.scene, teller.rng
    i = teller.plot.variant % len(plant.wrongs)
    scene.verbs |= {
        "plantact": plant.planting, "wrong": plant.wrongs[i],
        "remedy": plant.remedies[i], "harvest": plant.harvest,
    }  # fmt: skip


def _bind_mystery(teller: Teller, mystery: Mystery) -> None:
    scene, rng = teller.scene, teller.rng
    scene.slots["g"] = _pick(rng, mystery.guesses)
    scene.verbs |= {
        "strange": mystery.strange, "findout": _pick(rng, mystery.findouts),
        "truth": _pick(rng, mystery.truths),
    }  # fmt: skip


_BINDERS: dict[type, Any] = {
    Thing: _bind_thing, Make: _bind_make, Skill: _bind_skill, Job: _bind_job,
    Creature: _bind_creature, Plant: _bind_plant, Mystery: _bind_mystery,
}  # fmt: skip
