"""The kinds of story: each a row of beats, who it suits, and when trouble may come."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class Beat(NamedTuple):
    """One step of a story: a verb of the teller with its argument, told in ``chance`` of cases."""

    verb: str
    what: str
    chance: float


@dataclass(frozen=True)
class Arc:
    """A kind of story: who it can happen to, what it is about, and its beats in order.

    A beat is a pool of lines, ``pool?60`` told in 60 of 100 stories, or one of the verbs of
    ``Teller``: ``open=pool  detail=kind  spot  look  feel=sad,worry  react=joy  para  end``,
    ``place=p`` (be there; how one goes is told), ``travel=q`` (the same; trouble of the phase "go"
    falls on the way), ``trouble=phase`` and ``trouble=phase:pool`` (told only when the trouble
    comes then, led in by a line of ``pool``).

    Attributes:
        about: the table the subject comes from, and a tag it must have: ``things:find``.
        places: tags the first and second place must have ("own": one of the subject's own places).
        phases: when trouble may come, with the tags that hold then.
        parts, seasons: times of day and year that suit it.
        me: a child can tell it of himself.
        alone: the friend is not at one's side when trouble comes.
        beats: the script, read.
    """

    heroes: str
    about: str
    places: tuple[str, str]
    phases: dict[str, str]
    script: str
    parts: str = "morning noon evening"
    seasons: str = "spring summer autumn winter"
    me: bool = True
    alone: bool = False
    beats: tuple[Beat, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "beats", tuple(_beat(token) for token in self.script.split()))


def _beat(token: str) -> Beat:
    name, _, percent = token.partition("?")
    verb, _, what = name.partition("=")
    chance = int(percent) / 100 if percent else 1.0
    return Beat(verb, what, chance) if what or verb in _BARE else Beat("say", verb, chance)


_BARE = ("look", "spot", "para", "grown", "end")  # verbs without an argument
_ANYTIME = "morning noon evening night"
ARCS = {
    "find": Arc("kid kid adult animal", "things:find", ("", ""), {"go": "out"}, """
        open=find.want find.why?70 feel=worry,sad?60 place=p?85 look?50 find.search
        detail=way?45 spot find.search?40 para find.clue travel=q look?30
        feel=nervous,curious?25 spot find.done react=joy,relief para find.after?70
        detail=supper?20 end"""),
    "errand": Arc("kid kid", "goods:", ("own", ""), {
        "go": "out prep", "at": "shop", "back": "out carry goods"}, """
        open=errand.want errand.go?70 detail=way?60 travel=p look?60 para trouble=at
        errand.done?90 errand.twist?30 trouble=back:homeward para errand.home
        react=proud,joy?60 detail=supper?20 end"""),
    "gift": Arc("kid kid adult", "things:gift", ("own", ""), {
        "go": "out prep", "at": "shop", "back": "out carry thing"}, """
        open=gift.want gift.idea?80 travel=p look?50 para trouble=at gift.buy detail=way?45
        trouble=back:homeward para gift.done gift.react react=joy,proud?60 detail=supper?15
        end"""),
    "make": Arc("kid adult animal", "makes:", ("own", ""), {"make": "make in", "go": "out"}, """
        open=make.want make.ready?80 detail=home?40 trouble=go:make.out make.steps para
        trouble=make make.last?60 make.done react=proud,joy para make.share end""", parts=_ANYTIME),
    "learn": Arc("kid kid adult animal", "skills:", ("own", ""), {"learn": "learn"}, """
        open=learn.want place=p?80 look?50 learn.try?80 para trouble=learn detail=lunch?20
        para learn.done learn.react?80 react=proud,joy end"""),
    "rescue": Arc("kid kid adult", "creatures:", ("out", ""), {"go": "out"}, """
        open=rescue.find detail=way?45 rescue.state react=pity?70 rescue.first para
        trouble=go:rescue.out rescue.help?70 rescue.done react=relief,joy?60 rescue.after
        detail=supper?15 end"""),
    "quarrel": Arc("kid kid animal", "things:find", ("", ""), {"go": "out"}, """
        open=quarrel.cause react=angry,sad quarrel.fight para quarrel.alone detail=home?45
        quarrel.alone?40 react=lonely,shame quarrel.step para trouble=go:quarrel.out
        quarrel.sorry react=relief,joy quarrel.after end"""),
    "trip": Arc("kid kid adult animal", "none:", ("near", "far"), {
        "go": "out prep", "back": "out carry"}, """
        open=trip.want trip.pack?60 detail=way?60 para travel=q trip.see detail=way?60
        trip.see?60 react=joy,surprise para trouble=back:homeward trip.home?70
        detail=supper?20 end"""),
    "grow": Arc("kid kid adult", "plants:", ("own", ""), {"grow": "grow"}, """
        open=grow.want grow.plant grow.talk?60 grown detail=way?40 para trouble=grow
        grow.talk?30 grown?40 para grow.done react=proud,joy detail=supper?15 end""",
        seasons="spring spring summer"),
    "show": Arc("kid kid adult", "skills:show", ("show", ""), {"show": "show"}, """
        open=show.want show.ready show.ready?30 detail=home?45 react=nervous?50 para
        place=p?0 show.go look?50 trouble=show show.done react=proud,joy,relief?70 para
        show.after end"""),
    "deliver": Arc("kid adult animal", "things:deliver", ("", ""), {"go": "out carry thing"}, """
        open=deliver.want deliver.carry?70 detail=way?50 para travel=q look?40 deliver.done
        react=proud,relief?50 deliver.react deliver.react?40 end"""),
    "fix": Arc("kid adult animal", "things:fix", ("own", ""), {"go": "out"}, """
        open=fix.want react=sad?40 detail=home?40 fix.try fix.try?50 para fix.snag
        react=worry,tired?40 trouble=go:fix.out fix.turn para fix.done react=proud,joy
        fix.after?70 end""", parts=_ANYTIME),
    "mystery": Arc("kid kid adult", "mysteries:", ("own", ""), {"go": "out"}, """
        open=mystery.want mystery.guess react=fear,curious?60 detail=home?40 para
        mystery.plan?70 trouble=go:mystery.out mystery.act mystery.wait?60
        react=fear,nervous?40 para mystery.done react=surprise,relief mystery.after end""",
        parts="evening night"),
    "friend": Arc("kid kid animal", "things:gift", ("near", ""), {"go": "out"}, """
        open=friend.want friend.shy react=lonely,nervous?30 para trouble=go:friend.out
        friend.chance friend.talk friend.play?80 detail=way?50 react=joy para friend.after
        end""", alone=True),
    "memory": Arc("kid", "things:find", ("home", ""), {}, """
        open=memory.want look?60 memory.find detail=home?60 react=curious?40 para memory.ask
        memory.tell react=thanks,surprise para memory.after detail=supper?20 end""",
        parts=_ANYTIME),
    "work": Arc("adult", "jobs:", ("own", ""), {}, """
        open=work.want work.day?70 look?60 detail=lunch?40 para work.trouble
        react=worry,tired?70 work.turn detail=home?45 work.done para work.praise
        react=proud,thanks end""", me=False),
    "feast": Arc("animal", "food:", ("", ""), {}, """
        open=feast.want detail=home?45 feast.ask feast.refuse para feast.turn
        react=lonely,shame,sad?70 para feast.done react=joy,thanks detail=supper?30 end""",
        me=False),
}  # fmt: skip
