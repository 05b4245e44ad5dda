"""Conversations with 야옹이: small talk, stories on request, sums, functions, story questions."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

from yaongi.data.synthetic import story_qa
from yaongi.data.synthetic.arithmetic import sum_item
from yaongi.data.synthetic.functions import function_item
from yaongi.data.synthetic.item import Item, Message, turn
from yaongi.data.synthetic.plots import draw_plot, pick
from yaongi.data.synthetic.splits import Key, Split, draw, split_of
from yaongi.data.synthetic.stories import Story, tell
from yaongi.data.synthetic.template import FORMAL
from yaongi.data.synthetic.wordfiles import rows, sections


class Talk(NamedTuple):
    """A conversation, what it is mostly about, and the keys of everything in it."""

    task: str
    messages: list[Message]
    keys: tuple[Key, ...]


def conversation(rng: random.Random, split: Split) -> Talk:
    """One conversation; all it contains is of ``split``."""
    chance = rng.random()
    if chance < 0.3:
        return small_talk(rng, split)
    if chance < 0.6:
        return story_request(rng, split)
    if chance < 0.8:
        return several(rng, split)
    if chance < 0.9:
        return story_questions(rng, split)
    return greeted(rng, split)


def small_talk(rng: random.Random, split: Split) -> Talk:
    """One to three turns of greetings, thanks, what 야옹이 can and cannot do."""
    first = pick(rng, [intent for intent in _talk() if _exchanges(split, intent)])
    intents = [first, "thanks", "bye"][: 1 + int(rng.random() * 3)]
    return _talk_of("talk", [line for intent in intents for line in _line(rng, split, intent)])


def story_request(rng: random.Random, split: Split) -> Talk:
    """A story told as asked for."""
    plot = draw(draw_plot, lambda p: p.key, rng, split)
    story = tell(plot, rng, length=0.35)
    request = pick(rng, _requests(story))
    reply = story.text.replace("\n", " ") if rng.random() < 0.5 else story.text
    return Talk("story", [turn("user", request), turn("assistant", reply)], (plot.key,))


def several(rng: random.Random, split: Split) -> Talk:
    """Two or three exercises, one after another."""
    items = [pick(rng, _EXERCISES)(rng, split) for _ in range(2 + int(rng.random() * 2))]
    return _talk_of("several", items)


def story_questions(rng: random.Random, split: Split) -> Talk:
    """A story and up to three questions about it."""
    return _talk_of("story_qa", story_qa.story_items(rng, split))


def greeted(rng: random.Random, split: Split) -> Talk:
    """A greeting, an exercise, thanks."""
    item = pick(rng, _EXERCISES)(rng, split)
    hello, thanks = _line(rng, split, "hello"), _line(rng, split, "thanks")
    return _talk_of(item.task, [*hello, item, *thanks])


def _talk_of(task: str, items: Sequence[Item]) -> Talk:
    return Talk(task, [m for item in items for m in item.messages], tuple(i.key for i in items))


def _line(rng: random.Random, split: Split, intent: str) -> list[Item]:
    """One exchange of this intent; none where this split has none."""
    exchanges = _exchanges(split, intent)
    return [pick(rng, exchanges)] if exchanges else []


_EXERCISES: tuple[Callable[[random.Random, Split], Item], ...] = (
    sum_item, function_item, story_qa.story_item,
)  # fmt: skip


# --- small talk ------------------------------------------------------------------------------


@functools.cache
def _talk() -> dict[str, tuple[list[str], list[str]]]:
    """intent -> what users say, what may be answered."""
    found: dict[str, tuple[list[str], list[str]]] = {}
    said: tuple[list[str], list[str]] = ([], [])
    for row in rows("talk.txt"):
        if row.startswith("=="):
            said = found.setdefault(row[2:].strip(), ([], []))
        else:
            said[row[0] == "<"].append(row[1:].strip())
    return found


@functools.cache
def _exchanges(split: Split, intent: str) -> tuple[Item, ...]:
    """What may be said and answered; which pairs are held out depends on both."""
    said, answers = _talk()[intent]
    keys = [("talk", ask, reply) for ask in said for reply in answers]
    return tuple(Item("talk", k[1], k[2], k[2], k) for k in keys if split_of(k) == split)


# --- asking for a story ----------------------------------------------------------------------

_ASKED = sections("requests.txt")
_AT_FIRST_PLACE = ("find", "learn", "rescue", "grow", "mystery", "friend", "memory", "work")


def _requests(story: Story) -> list[str]:
    """Ways to ask for just this story."""
    plot = story.plot
    about = _ASKED[plot.arc][0].format(x=plot.item, q=plot.second.word)
    hero = story.cast.named or story.cast.hero
    form = "편지로 쓴 " if plot.letter else "일기로 쓴 " if plot.me else ""
    tone = "존댓말로 된 " if plot.register == FORMAL else ""
    starring = f"{hero['이']} 나오는"
    wanted = [about, f"{form or tone}{about}"]
    if not plot.me or plot.letter:  # a diary does not name its writer
        wanted += [starring, f"{starring}, {about}"]
    if not plot.me and plot.arc in _AT_FIRST_PLACE:
        wanted.append(f"{plot.first.word}에서 생긴")
    return [ask.format(want) for want in wanted for ask in _ASKED["ask"]]
