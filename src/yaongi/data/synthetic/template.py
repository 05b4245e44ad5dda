"""A small language for Korean sentences whose 조사, 활용 and speech level are decided late.

Like Tracery (Compton et al. 2015) a pool holds alternatives that name other pools; unlike it,
words meet their particles and endings only when told, so one line serves every register.

    {a은} (조용히|) {x을} [찾다:아서] <place> [가다]

- ``{a은}`` a slot with its particle · ``~이`` a particle after whatever came before it
- ``[가다]`` a predicate in the narrator's ending · ``[찾다:아서]`` with this ending ·
  ``[쉬다@e]`` honorific if slot e is honoured · ``[뛰다|걷다]`` one of these · ``[v]`` a predicate
  held by a slot · ``[봄=]`` and ``~=`` 이다 after a noun
- ``(x|y|)`` a choice · ``<pool>`` a line of another pool
- ``「b→a ask: ...」`` b says this to a; inside, ``{요}`` and ``{응/네}`` follow the speech level
- ``{+tag}`` makes ``tag`` hold from here on
- at the start of a line, ``tag !tag: `` says what must and must not hold
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from yaongi.data.synthetic.conjugation import conjugate, copula
from yaongi.text.hangul import josa

PLAIN, FORMAL, POLITE, CASUAL, AND, SINCE, WHILE, BUT = range(8)
"""How a clause ends: the four registers of a narrator, then what joins it to the next clause."""

_JOINED = ("았고", "아서", "았는데", "았지만")
_ENDINGS = {
    "": ("았다", "았습니다", "았어요", "았어", *_JOINED),
    "현": ("는다", "습니다", "아요", "아", "고", "아서", "는데", "지만"),
}
_PARTICLES = (
    "은", "이", "을", "과", "아", "이랑", "이나", "이라", "이며", "이고", "이네", "이니", "이지",
    "이야", "이에요", "이구나", "이라는", "이라고", "이라도", "이라면", "이라고만", "이란다",
    "으로", "으로는", "과는", "이었다", "이었어", "이었구나", "이었는데",
)  # fmt: skip
_IRREGULAR = {"은": "는", "이": "가", "을": "를", "과": "와", "아": "야", "과는": "와는"}


def _pair(particle: str) -> str:
    opened = _IRREGULAR.get(particle, particle[1:])
    if particle.startswith("이었"):
        opened = "였" + particle[2:]
    elif particle == "이에요":
        opened = "예요"
    return f"{particle}/{opened}"


_PAIRED = {particle: _pair(particle) for particle in _PARTICLES}


def attach(noun: str, particle: str) -> str:
    """``noun`` with ``particle``, given as after a consonant (은, 을, 으로) or as it is."""
    pair = _PAIRED.get(particle)
    return noun + particle if pair is None else josa(noun, pair)


class Word:
    """A noun; ``word["을"]`` is the noun with that particle, made once."""

    honoured = False

    def __init__(self, text: str) -> None:
        self.text = text
        self._forms = {"": text}

    def __getitem__(self, particle: str) -> str:
        found = self._forms.get(particle)
        if found is None:
            found = self._forms[particle] = self.form(particle)
        return found

    def __str__(self) -> str:
        return self.text

    def form(self, particle: str) -> str:
        """The noun with ``particle``; people and pronouns have their own ways."""
        return attach(self.text, particle)


@dataclass
class Scene:
    """What a sentence may depend on: chance, the cast, what holds now, who tells and to whom."""

    rng: random.Random
    pools: dict[str, Pool]
    register: int = PLAIN
    slots: dict[str, Word] = field(default_factory=dict)
    verbs: dict[str, str] = field(default_factory=dict)
    tags: set[str] = field(default_factory=set)
    alias: dict[str, str] = field(default_factory=dict)
    used: set[tuple[str, int]] = field(default_factory=set)
    topic: Word | None = None
    polite: bool = False
    speech: Callable[[Scene, str, str], bool] = lambda scene, speaker, listener: False
    named: Word | None = None  # the narrator's own name, which others use when he is "나"
    tail: Callable[[int], str] | None = None

    def line(self, pool: str) -> str:
        """A line of ``pool`` as text."""
        return " ".join(self.pools[pool].pick(self).node(self).split())


Node = Callable[[Scene], str]


@dataclass(frozen=True, slots=True)
class Line:
    """One alternative: what must hold, what must not, and how it is told.

    Attributes:
        node: the whole line, ended in the scene's register.
        open: the line without its last predicate, which is left in ``scene.tail``, so that the
            teller may end the sentence there or join the next one to it.
        leads: begins with the hero as topic, so a time or place may be put before it.
    """

    needs: frozenset[str]
    refuses: frozenset[str]
    node: Node
    open: Node
    leads: bool

    def fits(self, tags: set[str]) -> bool:
        """Whether this line can be told when ``tags`` hold."""
        return self.needs <= tags and self.refuses.isdisjoint(tags)


class Pool:
    """The alternatives of one name."""

    def __init__(self, name: str, lines: list[Line]) -> None:
        self.name = name
        self.lines = lines

    def pick(self, scene: Scene) -> Line:
        """A fitting line not yet used in this scene; a used one when all are.

        Raises:
            LookupError: no line fits what holds now.
        """
        lines, used, tags, name = self.lines, scene.used, scene.tags, self.name
        count = len(lines)
        for _ in range(6):
            i = int(scene.rng.random() * count)
            if (name, i) not in used and lines[i].fits(tags):
                break
        else:
            i = self._search(scene)
        used.add((name, i))
        return lines[i]

    def _search(self, scene: Scene) -> int:
        fits = [i for i, line in enumerate(self.lines) if line.fits(scene.tags)]
        if not fits:
            raise LookupError(f"no line of {self.name!r} fits {sorted(scene.tags)}")
        fresh = [i for i in fits if (self.name, i) not in scene.used]
        return scene.rng.choice(fresh or fits)


def read_pools(rows: Iterable[str], synonyms: Synonyms | None = None) -> dict[str, Pool]:
    """Pools from text: ``== name`` opens one, every further line is an alternative, # comments."""
    found: dict[str, list[Line]] = {}
    name = ""
    for raw in rows:
        row = raw.strip()
        if row.startswith("=="):
            name = row[2:].strip()
        elif row and not row.startswith("#"):
            for line in _split(row):
                text = synonyms.widen(line) if synonyms else line
                found.setdefault(name, []).append(read_line(text))
    return {name: Pool(name, lines) for name, lines in found.items()}


def _split(row: str) -> list[str]:
    """``tag: (a|b|c)`` as three lines, so that one story does not use the same one twice."""
    match = re.fullmatch(r"((?:[a-z!_ ]+: )?)\(([^()<>\[\]]*)\)", row)
    return [match[1] + branch for branch in match[2].split("|")] if match else [row]


class Synonyms:
    """Words that may stand for each other; ``widen`` turns each occurrence into a choice."""

    def __init__(self, rows: Iterable[str]) -> None:
        self.words: dict[str, str] = {}
        self.predicates: dict[str, str] = {}
        for row in rows:
            first, *others = (cell.strip() for cell in row.split("|"))
            if first[0] == "[":
                self.predicates[first] = f"[{'|'.join([first[1:-1], *others])}]"
            else:
                self.words[first] = f"({'|'.join([first, *others])})"
        words = "|".join(sorted(map(re.escape, self.words), key=len, reverse=True))
        self.word = re.compile(rf"(?<![^ (|])(?:{words})(?![^ )|,])")

    def widen(self, row: str) -> str:
        """``row`` with choices for the words it knows."""
        parts = re.split(r"(\[[^\[\]]*\])", row)
        for i, part in enumerate(parts):
            if i % 2:
                parts[i] = self.predicates.get(part, part)
            else:
                parts[i] = self.word.sub(lambda match: self.words[match[0]], part)
        return "".join(parts)


_CONDITION = re.compile(r"((?:!?[a-z][a-z0-9_]* ?)+): ")


def read_line(row: str) -> Line:
    """One alternative, with its condition if it has one."""
    condition = _CONDITION.match(row)
    tags = condition[1].split() if condition else []
    text = row[condition.end() :] if condition else row
    return Line(
        frozenset(t for t in tags if t[0] != "!"),
        frozenset(t[1:] for t in tags if t[0] == "!"),
        compile_text(text),
        compile_text(text, tail=True),
        leads=text.startswith("{a은}"),
    )


_TOKEN = re.compile(
    r"\{[^{}]*\}|\[[^\[\]]*\]|<[^<>]*>|「\w+→\w+ \w+: |[()|」]|~(?:=|으로|이라고|은|이|을|과)"
    r"|[^{}\[\]<>()|「」~]+"
)

Tree = str | tuple[str, list[list["Tree"]]]
"""A token, or what opened a group ("(" or a speech header) with its branches."""


def compile_text(text: str, *, tail: bool = False) -> Node:
    """``text`` as a function of the scene; with ``tail``, open at the end (see ``Line.open``).

    Raises:
        ValueError: brackets that do not match, a slot or ending that cannot be read.
    """
    tokens = _TOKEN.findall(text)
    if "".join(tokens) != text:
        raise ValueError(f"stray bracket in {text!r}")
    branches, used = _parse([*tokens, ""], 0, "")
    if used != len(tokens) + 1:
        raise ValueError(f"unbalanced brackets in {text!r}")
    return _branches(branches, tail)


def _parse(tokens: list[str], start: int, closing: str) -> tuple[list[list[Tree]], int]:
    """Read ``a|b|c`` up to ``closing``; the branches and the index after it."""
    branches: list[list[Tree]] = [[]]
    i = start
    while tokens[i] != closing:
        token = tokens[i]
        i += 1
        if token == "(" or token[:1] == "「":
            inner, i = _parse(tokens, i, ")" if token == "(" else "」")
            branches[-1].append((token, inner))
        elif token == "|":
            branches.append([])
        elif token in ("", ")", "」"):
            raise ValueError(f"unbalanced brackets in {''.join(tokens)!r}")
        else:
            branches[-1].append(token)
    return branches, i + 1


def _branches(branches: list[list[Tree]], tail: bool) -> Node:
    nodes = [_sequence(branch, tail) for branch in branches]
    if len(nodes) == 1:
        return nodes[0]
    count = len(nodes)
    return lambda scene: nodes[int(scene.rng.random() * count)](scene)


def _sequence(branch: list[Tree], tail: bool) -> Node:
    parts: list[Node | str] = []
    for i, tree in enumerate(branch):
        part = _part(tree, opening=i == 0, tail=tail and i == len(branch) - 1)
        if isinstance(part, str) and parts and isinstance(parts[-1], str) and part[0] != "~":
            parts[-1] += part
        else:
            parts.append(part)
    if any(isinstance(part, str) and part[0] == "~" for part in parts):
        return _particled(parts)
    nodes = tuple(_constant(part) if isinstance(part, str) else part for part in parts)
    if len(nodes) == 1:
        return nodes[0]
    return lambda scene: "".join([node(scene) for node in nodes])


def _part(tree: Tree, opening: bool, tail: bool) -> Node | str:
    if isinstance(tree, tuple):
        header, branches = tree
        return _branches(branches, tail) if header == "(" else _speech(header, branches)
    if tree[0] == "{":
        return _slot(tree[1:-1], opening)
    if tree[0] == "[":
        return _predicate(tree[1:-1], tail)
    if tree[0] == "<":
        return _pool(tree[1:-1], tail)
    return tree


def _pool(name: str, tail: bool) -> Node:
    if tail:
        return lambda scene: scene.pools[scene.alias.get(name, name)].pick(scene).open(scene)
    return lambda scene: scene.pools[scene.alias.get(name, name)].pick(scene).node(scene)


_PARTICLE = re.compile(r"~(=|으로|이라고|은|이|을|과)(.*)", re.DOTALL)


def _particled(parts: list[Node | str]) -> Node:
    """A sequence with a particle that looks back at the text before it."""
    steps: list[tuple[str, Node | str]] = []
    for part in parts:
        match = _PARTICLE.fullmatch(part) if isinstance(part, str) else None
        steps += [(match[1], match[2])] if match else [("", part)]

    def tell(scene: Scene) -> str:
        text = ""
        for particle, part in steps:
            if particle == "=":
                text = copula(text, _ENDINGS[""][scene.register])
            elif particle:
                text = attach(text, particle)
            text += part if isinstance(part, str) else part(scene)
        return text

    return tell


def _constant(text: str) -> Node:
    return lambda scene: text


_SLOT = re.compile(r"([a-z]+)([가-힣]*)")
DROP_TOPIC = 0.7  # how often a sentence leaves out a topic the last one already had


def _slot(body: str, opening: bool) -> Node:
    if body == "요":
        return lambda scene: "요" if scene.polite else ""
    if body[0] == "+":
        return lambda scene: scene.tags.add(body[1:]) or ""
    if "/" in body:
        casual, polite = body.split("/")
        return lambda scene: polite if scene.polite else casual
    if body[-1] == "=":
        name = body[:-1]
        return lambda scene: copula(scene.slots[name].text, _ENDINGS[""][scene.register])
    match = _SLOT.fullmatch(body)
    if not match:
        raise ValueError(f"{{{body}}} is not a slot")
    name, particle = match[1], match[2]
    if opening and particle == "은":
        return lambda scene: _topic(scene, name)
    if opening and particle in ("이", "의", "에게"):
        return lambda scene: _subject(scene, name, particle)
    return lambda scene: scene.slots[name][particle]


def _topic(scene: Scene, name: str) -> str:
    """The topic of a sentence, left out now and then when it is still the same."""
    word = scene.slots[name]
    if word is scene.topic and scene.rng.random() < DROP_TOPIC:
        return ""
    scene.topic = word
    return word["은"]


def _subject(scene: Scene, name: str, particle: str) -> str:
    scene.topic = scene.slots[name]
    return scene.topic[particle]


def _predicate(body: str, tail: bool) -> Node:
    if "|" in body:
        nodes = [_predicate(each, tail) for each in body.split("|")]
        return lambda scene: nodes[int(scene.rng.random() * len(nodes))](scene)
    body, _, ending = body.partition(":")
    body, _, subject = body.partition("@")
    endings = _ENDINGS.get(ending) or (ending,) * 8
    if body.isascii():
        return _slot_predicate(body, endings, tail)
    if body[-1] == "=":
        plain = raised = tuple(copula(body[:-1], e) for e in endings)
    else:
        plain, raised = (
            tuple(conjugate(body, e, honorific) for e in endings) for honorific in (False, True)
        )

    def forms(scene: Scene) -> tuple[str, ...]:
        return raised if subject and scene.slots[subject].honoured else plain

    if tail:
        return lambda scene: _leave(scene, forms(scene).__getitem__)
    if not subject:
        return lambda scene: plain[scene.register]
    return lambda scene: forms(scene)[scene.register]


def _slot_predicate(name: str, endings: tuple[str, ...], tail: bool) -> Node:
    if not tail:
        return lambda scene: conjugate(scene.verbs[name], endings[scene.register])

    def leave(scene: Scene) -> str:
        verb = scene.verbs[name]
        return _leave(scene, lambda how: conjugate(verb, endings[how]))

    return leave


def _leave(scene: Scene, forms: Callable[[int], str]) -> str:
    scene.tail = forms
    return ""


_SPEECH = re.compile(r"「(\w+)→(\w+) (\w+): ")


def _speech(header: str, branches: list[list[Tree]]) -> Node:
    """Quoted words, with who says them and how before, after, or left to the reader.

    How is a pool ``said.how``; ``q`` is a bare quotation whose frame the line itself provides.
    """
    match = _SPEECH.fullmatch(header)
    if not match:
        raise ValueError(f"{header!r} does not open a speech")
    speaker, listener, how = match.groups()
    words = _branches(branches, tail=False)

    def tell(scene: Scene) -> str:
        slots = scene.slots
        quoted = '"' + _spoken(scene, words, speaker, listener) + '"'
        slots["who"] = slots[speaker]
        scene.topic = None
        chance = scene.rng.random()
        if how == "q" or (chance < 0.2 and how != "mutter"):
            return quoted
        said = scene.pools[f"said.{how}"].pick(scene).node(scene)
        return f"{said}. {quoted}" if chance < 0.5 else f"{quoted} {said}."

    return tell


def _spoken(scene: Scene, words: Node, speaker: str, listener: str) -> str:
    """The words themselves: speech level set, and a narrator "나" called by name."""
    slots = scene.slots
    scene.polite = scene.speech(scene, speaker, listener)
    hero = slots.get("a")
    if scene.named is not None:
        slots["a"] = scene.named
    text = " ".join(words(scene).split())
    if hero is not None:
        slots["a"] = hero
    text = text.replace("이야요", "이에요").replace("야요", "예요")  # 거야 + 요 is 거예요
    return text if text[-1] in ".?!" else text + "."
