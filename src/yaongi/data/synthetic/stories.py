"""Korean micro-stories: a plot is drawn, then told beat by beat in a register.

Telling keeps track of place, weather, company and mood, and picks among lines that fit them. The
idea of planning before telling is that of TALE-SPIN (Meehan 1977); the aim of small, coherent,
varied texts that a small model can learn from is that of TinyStories (Eldan & Li 2023,
arXiv:2305.07759).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from yaongi.data.synthetic.arcs import ARCS, Beat
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
from yaongi.data.synthetic.plots import FOOD_SHOPS, HEROES, SEASONS, Plot, pick
from yaongi.data.synthetic.template import AND, CASUAL, POLITE, SINCE, WHILE, Line, Scene, Word
from yaongi.data.synthetic.words import (
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

JOIN = 0.4  # how often a sentence runs on into the next where it can
FELT = (SINCE, AND)  # how what happened is joined to what it makes one feel
_STARTS = ('"', "그런데", "하지만", "그러나", "그때", "마침", "드디어", "결국", "그 순간", "그날")
_MERGED = 64  # characters two sentences may have together to become one


@dataclass(frozen=True)
class Story:
    """A told plot."""

    text: str
    plot: Plot
    cast: Cast = field(repr=False)


def tell(plot: Plot, rng: random.Random, length: float = 1.0) -> Story:
    """The plot as text. ``length`` < 1 leaves out more of what may be left out."""
    return Teller(plot, rng, length).story()


@dataclass(frozen=True)
class Sentence:
    """Told text, open at the end while ``tail`` still has to be given an ending.

    Attributes:
        link: how the sentence before may be joined to it; empty for not at all.
        topic: what it begins with when that is the hero as topic, else empty.
        hero: it ends being about the hero.
    """

    text: str
    tail: Callable[[int], str] | None
    link: tuple[int, ...]
    topic: str
    hero: bool

    def ended(self, how: int) -> str:
        """The text with its last predicate in the form ``how``."""
        return self.text.rstrip() if self.tail is None else self.text + self.tail(how)

    def runs_into(self, after: Sentence) -> bool:
        """Whether it may be joined to ``after``."""
        fits = len(self.text) + len(after.text) < _MERGED
        open_ended = self.tail is not None and self.hero and fits
        return open_ended and bool(after.link) and not after.text.startswith(_STARTS)


class Teller:
    """Tells one plot: keeps the scene, and turns each beat into sentences."""

    def __init__(self, plot: Plot, rng: random.Random, length: float) -> None:
        self.plot, self.rng, self.length = plot, rng, length
        self.lex = lexicon()
        self.cast = _cast(plot, rng, self.lex)
        self.paragraphs: list[list[Sentence]] = [[]]
        self.stage = 0  # of what grows
        self.moved = False  # the last line was a walk to somewhere
        self.scenes: list[str] = []  # what may still be seen here
        self.scene = Scene(
            rng, self.lex.pools, plot.register, tags=plot.tags,
            speech=speaks_politely, named=self.cast.named,
        )  # fmt: skip
        self._bind()

    def story(self) -> Story:
        """All beats of the arc, in order."""
        if self.plot.me:
            self._header()
        for beat in ARCS[self.plot.arc].beats:
            self.beat(beat)
        if self.plot.letter:
            self._farewell()
        text = "\n".join(self._joined(p) for p in self.paragraphs if p)
        if self.plot.letter:
            text = text.removesuffix(".")  # it ends in a signature
        return Story(text, self.plot, self.cast)

    def beat(self, beat: Beat) -> None:
        """One step of an arc."""
        if beat.verb in ("place", "travel"):
            self._go(beat)
        elif beat.chance == 1 or self.rng.random() < beat.chance * self.length:
            getattr(self, f"_{beat.verb}")(beat.what)

    def say(self, pool: str, before: str = "", link: tuple[int, ...] = (AND,)) -> None:
        """One line of ``pool``; ``link`` is how the sentence before may be joined to it."""
        self.moved = pool == "goes"
        if pool in ("look", "trip.see"):
            self._look_around()
        self.tell(self.scene.pools[pool].pick(self.scene), before, link)

    def tell(self, line: Line, before: str = "", link: tuple[int, ...] = (AND,)) -> None:
        """One line as one or more sentences."""
        scene = self.scene
        scene.tail = None
        topic, hero = scene.topic, scene.slots["a"]
        raw = f"{before} {line.open(scene)}"
        text = " ".join(raw.split())
        if text and raw[-1] == " ":
            text += " "
        if not line.leads and scene.topic is topic and link != FELT:
            scene.topic = None  # somebody or something else was spoken of
        if link == (AND,) and not line.leads:
            link = ()
        start = hero["은"] if line.leads else ""
        told = Sentence(text, scene.tail, link, start, scene.topic is hero)
        self.paragraphs[-1].append(told)

    def aside(self) -> None:
        """What was told last is not about the hero, so nothing is joined to it."""
        self.paragraphs[-1][-1] = replace(self.paragraphs[-1][-1], hero=False)

    def _joined(self, sentences: list[Sentence]) -> str:
        """A paragraph: some sentences run on into the next with -고, -아서, -는데."""
        told: list[str] = []
        joined = False
        for this, after in zip(sentences, [*sentences[1:], None], strict=True):
            if joined:
                this = replace(this, text=this.text.removeprefix(this.topic).lstrip())
            joins = not joined and after is not None and this.runs_into(after)
            if joins and after is not None and self.rng.random() < JOIN:
                comma = "," if self.rng.random() < 0.3 else ""
                told.append(this.ended(self._how(this, after)) + comma)
                joined = True
            else:
                text = this.ended(self.plot.register)
                told.append(text if text[-1] in '.?!"' else text + ".")
                joined = False
        return " ".join(told)

    def _how(self, this: Sentence, after: Sentence) -> int:
        """The connective: what one did oneself is no cause (-아서) of what one feels."""
        own = after.link == FELT and this.topic
        return AND if own else pick(self.rng, after.link)

    # --- beats -------------------------------------------------------------------------------

    def _say(self, pool: str) -> None:
        self.say(pool)

    def _open(self, want: str) -> None:
        """Time and weather, who, and what is wanted, in one of several orders."""
        chance, scene = self.rng.random(), self.scene
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
        known = "b" in scene.tags and self.plot.arc not in ("quarrel", "friend", "trip")
        if known and chance > 0.75:
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

    def _look(self, _: str) -> None:
        self.say("look", link=(WHILE,) if self.moved else ())
        self.aside()

    def _para(self, _: str) -> None:
        if self.paragraphs[-1] and self.rng.random() < 0.6:
            self.paragraphs.append([])

    def _spot(self, _: str) -> None:
        place = self.lex.places[self.scene.slots["p"].text]
        self.scene.slots["s"] = pick(self.rng, place.spots)

    def _end(self, _: str) -> None:
        if self.rng.random() < 0.75:
            self.say("moral", link=())

    def _grown(self, _: str) -> None:
        """The next stage of growth, as long as there is one."""
        growth = self.plot.subject.growth
        if self.stage < len(growth):
            self.scene.verbs["growth"] = growth[self.stage]
            self.stage += 1
            self.say("grow.days")

    def _go(self, beat: Beat) -> None:
        """To the first (p) or second (q) place; trouble of the phase "go" comes on the way."""
        place = self.plot.first if beat.what == "p" else self.plot.second
        if beat.verb == "travel" and self.plot.phase == "go":
            self.scene.slots["p"] = place.word
            self.say("way")
            self.scene.tags.add("out")
            self._trouble("go")
            self._arrive(place)
            if self.rng.random() < 0.6:
                self.say("arrive")
            return
        self._arrive(place)
        if beat.chance == 1 or self.rng.random() < beat.chance * self.length:
            self.say("goes")

    def _arrive(self, place: Place) -> None:
        scene = self.scene
        scene.tags -= _OF_PLACES
        scene.tags |= place.tags - _OF_PEOPLE
        scene.slots["p"] = place.word
        scene.slots["pm"] = pick(self.rng, place.looks)
        scene.slots["s"] = pick(self.rng, place.spots)
        self.scenes = list(place.scenes)

    def _look_around(self) -> None:
        """Something to be seen here that was not told yet."""
        if not self.scenes:
            self.scenes = list(self.lex.places[self.scene.slots["p"].text].scenes)
        self.scene.verbs["sc"] = self.scenes.pop(int(self.rng.random() * len(self.scenes)))

    def _feel(self, names: str) -> None:
        """One of these feelings, with its cause where there is one."""
        self._emotion(names, "feel" if "k" in self.scene.verbs else "react")

    def _react(self, names: str) -> None:
        """One of these feelings, about what was just told."""
        self._emotion(names, "react")

    def _emotion(self, names: str, pool: str) -> None:
        scene = self.scene
        name = pick(self.rng, names.split(","))
        scene.alias["show"] = f"show.{name}"
        feeling = scene.line(f"feel.{name}")
        scene.verbs["em"] = feeling
        scene.tags.discard("emadj")
        if " " not in feeling and stems(feeling).adjective:
            scene.tags.add("emadj")
        self.say(pool, link=FELT)

    def _trouble(self, what: str) -> None:
        """The trouble of the plot, if it comes in this phase: event, feeling, turn."""
        phase, _, lead = what.partition(":")
        if phase != self.plot.phase:
            return
        company = self.scene.tags & {"b"} if ARCS[self.plot.arc].alone else set()
        self.scene.tags -= company
        trouble = self.lex.troubles[self.plot.trouble]
        self._meet(phase)
        self._cause(pick(self.rng, trouble.causes)(self.scene))
        if lead:
            self.say(lead)
        self.say(f"{trouble.name}.event", link=(WHILE,) if phase in ("go", "back") else ())
        if self.rng.random() < 0.7 * self.length:
            self._feel(",".join(trouble.feelings))
        self.say(f"{trouble.name}.{self.plot.turn}")
        del self.scene.verbs["k"]  # what one feels from here on has other causes
        self.scene.tags |= company
        if trouble.name == "rain":
            self.scene.tags -= {"fine", "cloudy"}

    def _meet(self, phase: str) -> None:
        """Somebody who may help: the teacher of a skill, a shopkeeper, a passer-by."""
        scene = self.scene
        person = helper(scene.tags | ({"shop"} if phase == "at" else set()), self.rng)
        scene.slots["h"] = scene.slots["e"] if phase in ("learn", "grow") else person
        scene.tags |= helper_tags(person)

    def _cause(self, predicate: str) -> None:
        """Why the hero will feel something; ``kverb`` says it happened rather than is so."""
        self.scene.verbs["k"] = predicate
        last = predicate.rpartition(" ")[2]
        state = stems(last).adjective or last.endswith(("있다", "없다", "같다", "보이다", "되다"))
        self.scene.tags -= {"kverb"}
        self.scene.tags |= set() if state else {"kverb"}

    # --- what the lines may name -------------------------------------------------------------

    def _bind(self) -> None:
        """Fill the slots and predicates from the plot."""
        plot, rng, scene, cast = self.plot, self.rng, self.scene, self.cast
        scene.slots |= {
            "a": cast.hero, "b": cast.friend, "f": cast.family, "o": cast.other,
            "e": helper(scene.tags, rng), "me": cast.named or cast.hero,
            "an": Word(cast.bare), "bn": Word(cast.friend_bare), "w": pick(rng, _EVENTS),
            "x": plot.item, "xm": plot.item, "m": plot.item, "food": plot.item,
            "q": plot.second.word, "qm": pick(rng, plot.second.looks),
        }  # fmt: skip
        self._arrive(plot.first)
        if plot.first.word.text in FOOD_SHOPS:
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
            scene.slots["r"] = child(pick(rng, self.lex.kids))
            self.say("letter.casual")
        else:
            scene.slots["r"] = pick(rng, _READERS)
            self.say("letter.polite")

    def _farewell(self) -> None:
        casual = self.plot.register == CASUAL
        self.paragraphs.append([])
        self.say("letter.bye" if casual else "letter.byepolite", link=())

    def variant(self, options: tuple[str, ...]) -> str:
        """The option the plot chose."""
        return options[self.plot.variant % len(options)]


_OF_PLACES = {"in", "out", "shop", "home", "town", "country", "forest", "water", "school", "near",
              "far", "quiet"}  # fmt: skip
_OF_PEOPLE = {*HEROES, *SEASONS}
_READERS = tuple(map(Word, ("할머니", "할아버지", "선생님", "이모", "외할머니")))
_EVENTS = tuple(map(Word, ("학예회", "노래자랑", "장기 자랑", "마을 축제", "발표회", "재능 대회",
                           "단풍 축제", "어울림 한마당")))  # fmt: skip
_EPITHETS = ("아기", "꼬마", "막내")


def _cast(plot: Plot, rng: random.Random, lex: Lexicon) -> Cast:
    if plot.hero == "animal":
        people = [_beast(rng, kind.name) for kind in plot.kinds]
        names = [person.text for person in people]
    elif plot.hero == "adult":
        names = rng.sample(pick(rng, (lex.women, lex.men)), 3)
        people = [grown(name) for name in names]
    else:
        names = rng.sample(lex.kids, 3)
        people = [child(name) for name in names]
    hero = Narrator(humble=plot.register == POLITE) if plot.me else people[0]
    spouse = "남편" if names[0] in lex.women else "아내"
    return Cast(
        hero, people[1], family(plot.hero, spouse, rng), people[2],
        named=people[0] if plot.me else None, bare=names[0], friend_bare=names[1],
    )  # fmt: skip


def _beast(rng: random.Random, kind: str) -> Person:
    return beast(f"{pick(rng, _EPITHETS)} {kind}" if rng.random() < 0.4 else kind, kind)


def _bind_thing(teller: Teller, thing: Thing) -> None:
    scene = teller.scene
    looks = thing.looks if teller.plot.arc in ("gift", "deliver") else thing.looks + thing.worn
    scene.slots["xm"] = pick(teller.rng, looks) if looks else thing.word
    scene.slots["why"] = thing.why
    scene.tags |= thing.tags & {"machine"}


def _bind_make(teller: Teller, make: Make) -> None:
    scene, rng = teller.scene, teller.rng
    scene.slots["m"], scene.slots["mm"] = rng.sample(make.needs, 2)
    start = int(rng.random() * (len(make.steps) - 2))
    scene.verbs |= {
        "sta": make.steps[start], "stb": make.steps[start + 1], "stc": make.steps[-1],
        "wrong": teller.variant(make.wrongs), "result": pick(rng, make.results),
    }  # fmt: skip
    scene.tags |= make.tags & {"food", "craft", "gift", "play"}


def _bind_skill(teller: Teller, skill: Skill) -> None:
    scene, rng = teller.scene, teller.rng
    scene.slots["adv"] = pick(rng, skill.advice)
    scene.verbs |= {
        "v": skill.act, "wrong": teller.variant(skill.wrongs),
        "success": pick(rng, skill.successes),
    }  # fmt: skip


def _bind_job(teller: Teller, job: Job) -> None:
    scene, rng = teller.scene, teller.rng
    scene.slots |= {"job": job.word, "m": pick(rng, job.tools), "praise": pick(rng, job.praise)}
    scene.verbs |= {"daily": pick(rng, job.daily), "wrong": teller.variant(job.wrongs)}


def _bind_creature(teller: Teller, creature: Creature) -> None:
    scene = teller.scene
    scene.slots["cry"] = creature.cry
    scene.tags |= {"cry"} if creature.cry.text else set()
    scene.verbs |= {
        "plight": teller.variant(creature.plights), "remedy": teller.variant(creature.remedies),
        "thanks": pick(teller.rng, creature.thanks),
    }  # fmt: skip


def _bind_plant(teller: Teller, plant: Plant) -> None:
    teller.scene.verbs |= {
        "plantact": plant.planting, "wrong": teller.variant(plant.wrongs),
        "remedy": teller.variant(plant.remedies), "harvest": plant.harvest,
    }  # fmt: skip


def _bind_mystery(teller: Teller, mystery: Mystery) -> None:
    scene, rng = teller.scene, teller.rng
    scene.slots["g"] = pick(rng, mystery.guesses)
    scene.verbs |= {
        "strange": mystery.strange, "findout": pick(rng, mystery.findouts),
        "truth": teller.variant(mystery.truths),
    }  # fmt: skip


_BINDERS: dict[type, Callable[[Teller, Any], None]] = {
    Thing: _bind_thing, Make: _bind_make, Skill: _bind_skill, Job: _bind_job,
    Creature: _bind_creature, Plant: _bind_plant, Mystery: _bind_mystery,
}  # fmt: skip
