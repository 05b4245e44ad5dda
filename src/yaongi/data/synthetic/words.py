"""The lexicon: places, things, recipes, trades and troubles, read from the text files of words/.

Each row of a table is one entry, its columns separated by ``|`` and its lists by ``;``. The files
are the part of the embedded corpus a Korean speaker can extend without reading any code.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from yaongi.data.synthetic.template import (
    Node,
    Pool,
    Synonyms,
    Word,
    compile_text,
    read_pools,
)
from yaongi.data.synthetic.wordfiles import cells, listed, rows, sections


@dataclass(frozen=True)
class Place:
    """Somewhere to be: ``tags`` say who goes there and what it is like."""

    word: Word
    tags: frozenset[str]
    looks: tuple[Word, ...]
    spots: tuple[Word, ...]
    scenes: tuple[str, ...]


@dataclass(frozen=True)
class Thing:
    """Something to own, lose, mend or give."""

    word: Word
    tags: frozenset[str]
    looks: tuple[Word, ...]
    worn: tuple[Word, ...]  # looks that nobody would give away or buy
    why: Word


@dataclass(frozen=True)
class Make:
    """Something to make: what it takes, the steps in order, what goes wrong, how it turns out."""

    word: Word
    tags: frozenset[str]
    needs: tuple[Word, ...]
    steps: tuple[str, ...]
    wrongs: tuple[str, ...]
    results: tuple[str, ...]


@dataclass(frozen=True)
class Skill:
    """Something to learn."""

    word: Word
    tags: frozenset[str]
    places: tuple[str, ...]
    act: str
    wrongs: tuple[str, ...]
    advice: tuple[Word, ...]
    successes: tuple[str, ...]


@dataclass(frozen=True)
class Job:
    """A trade and a day of it."""

    word: Word
    place: str
    daily: tuple[str, ...]
    tools: tuple[Word, ...]
    wrongs: tuple[str, ...]
    praise: tuple[Word, ...]


@dataclass(frozen=True)
class Creature:
    """A small animal in need; ``plights[i]`` is answered by ``remedies[i]``."""

    word: Word
    cry: Word
    tags: frozenset[str]
    plights: tuple[str, ...]
    remedies: tuple[str, ...]
    thanks: tuple[str, ...]


@dataclass(frozen=True)
class Plant:
    """Something to grow; ``wrongs[i]`` is answered by ``remedies[i]``."""

    word: Word
    places: tuple[str, ...]
    planting: str
    growth: tuple[str, ...]
    wrongs: tuple[str, ...]
    remedies: tuple[str, ...]
    harvest: str


@dataclass(frozen=True)
class Mystery:
    """Something strange, what people think it is, and what it is."""

    strange: str
    places: tuple[str, ...]
    guesses: tuple[Word, ...]
    findouts: tuple[str, ...]
    truths: tuple[str, ...]


@dataclass(frozen=True)
class Trouble:
    """What gets in the way: when it can, how it feels and the ways it may turn out."""

    name: str
    needs: frozenset[str]
    refuses: frozenset[str]
    causes: tuple[Node, ...]
    feelings: tuple[str, ...]
    turns: dict[str, Pool]

    def fits(self, tags: set[str]) -> bool:
        """Whether it can come when ``tags`` hold."""
        return self.needs <= tags and self.refuses.isdisjoint(tags)

    def turns_for(self, tags: set[str]) -> list[str]:
        """The turns that can be told when ``tags`` hold."""
        return [key for key, pool in self.turns.items() if any(x.fits(tags) for x in pool.lines)]


@dataclass(frozen=True)
class Animal:
    """An animal that can be somebody in a tale."""

    name: str
    food: Word


@dataclass(frozen=True)
class Lexicon:
    """All tables, and the pools of lines."""

    places: dict[str, Place]
    things: tuple[Thing, ...]
    makes: tuple[Make, ...]
    skills: tuple[Skill, ...]
    jobs: tuple[Job, ...]
    creatures: tuple[Creature, ...]
    plants: tuple[Plant, ...]
    mysteries: tuple[Mystery, ...]
    troubles: dict[str, Trouble]
    animals: tuple[Animal, ...]
    kids: tuple[str, ...]
    women: tuple[str, ...]
    men: tuple[str, ...]
    pools: dict[str, Pool]


@functools.cache
def lexicon() -> Lexicon:
    """Read once per process (a fraction of a second)."""
    names = sections("names.txt")
    synonyms = Synonyms(rows("synonyms.txt"))
    troubles, trouble_pools = _troubles(synonyms)
    files = ("common", "arcs", "mood", "details")
    pools = read_pools((row for name in files for row in rows(f"{name}.txt")), synonyms)
    return Lexicon(
        places={r[0]: _place(r) for r in _table("places.txt", 5)},
        things=tuple(_thing(r) for r in _table("objects.txt", 5)),
        makes=tuple(_make(r) for r in _table("makes.txt", 6)),
        skills=tuple(_skill(r) for r in _table("skills.txt", 7)),
        jobs=tuple(_job(r) for r in _table("jobs.txt", 6)),
        creatures=tuple(_creature(r) for r in _table("animals.txt", 6)),
        plants=tuple(_plant(r) for r in _table("plants.txt", 7)),
        mysteries=tuple(_mystery(r) for r in _table("mysteries.txt", 5)),
        troubles=troubles,
        animals=tuple(_animal(row) for row in names["animal"]),
        kids=_names(names["kid"]),
        women=_names(names["women"]),
        men=_names(names["men"]),
        pools={**pools, **trouble_pools},
    )


def _table(file: str, columns: int) -> list[list[str]]:
    table = [cells(row) for row in rows(file)]
    for row in table:
        if len(row) != columns:
            raise ValueError(f"{file}: {row[0]} has {len(row)} columns, not {columns}")
    return table


def _names(lines: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(" ".join(lines).split()))


def _words(cell: str) -> tuple[Word, ...]:
    return tuple(Word(part) for part in listed(cell))


def _tags(cell: str) -> frozenset[str]:
    return frozenset(cell.split())


def _place(r: list[str]) -> Place:
    looks = tuple(Word(f"{look} {r[0]}") for look in listed(r[2]))
    return Place(Word(r[0]), _tags(r[1]), looks, _words(r[3]), listed(r[4]))


def _thing(r: list[str]) -> Thing:
    looks = [look for look in listed(r[2]) if look[0] != "-"]
    worn = [look[1:] for look in listed(r[2]) if look[0] == "-"]
    fresh, used = (tuple(Word(f"{x} {r[0]}") for x in part) for part in (looks, worn))
    return Thing(Word(r[0]), _tags(r[1]), fresh, used, Word(r[4]))


def _make(r: list[str]) -> Make:
    return Make(Word(r[0]), _tags(r[1]), _words(r[2]), listed(r[3]), listed(r[4]), listed(r[5]))


def _skill(r: list[str]) -> Skill:
    return Skill(
        Word(r[0]), _tags(r[1]), listed(r[2]), r[3], listed(r[4]), _words(r[5]), listed(r[6])
    )


def _job(r: list[str]) -> Job:
    return Job(Word(r[0]), r[1], listed(r[2]), _words(r[3]), listed(r[4]), _words(r[5]))


def _creature(r: list[str]) -> Creature:
    return Creature(Word(r[0]), Word(r[1]), _tags(r[2]), listed(r[3]), listed(r[4]), listed(r[5]))


def _plant(r: list[str]) -> Plant:
    return Plant(Word(r[0]), listed(r[1]), r[2], listed(r[3]), listed(r[4]), listed(r[5]), r[6])


def _mystery(r: list[str]) -> Mystery:
    return Mystery(r[0], listed(r[1]), _words(r[2]), listed(r[3]), listed(r[4]))


def _animal(row: str) -> Animal:
    name, food = cells(row)
    return Animal(name, Word(food))


def _troubles(synonyms: Synonyms) -> tuple[dict[str, Trouble], dict[str, Pool]]:
    troubles: dict[str, Trouble] = {}
    pools: dict[str, Pool] = {}
    for block in "\n".join(rows("troubles.txt")).split("## ")[1:]:
        head, *lines = block.splitlines()
        name, needs, causes, feelings = cells(head)
        found = read_pools(lines, synonyms)
        troubles[name] = Trouble(
            name,
            frozenset(t for t in needs.split() if t[0] != "!"),
            frozenset(t[1:] for t in needs.split() if t[0] == "!"),
            tuple(compile_text(cause) for cause in listed(causes)),
            tuple(feelings.split()),
            {key: pool for key, pool in found.items() if key != "event"},
        )
        pools |= {f"{name}.{key}": Pool(f"{name}.{key}", p.lines) for key, p in found.items()}
    return troubles, pools
