"""The embedded corpus: Korean stories, sums, functions, story questions and chats, from a seed.

Written by us and generated without end, so that the whole road can be walked and measured with
nothing downloaded. Document i of a domain and split depends on the seed and i alone; what is held
out is held out by what it is about (``splits``), in every kind of document.
"""

from __future__ import annotations

import functools
import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import resources
from itertools import count
from pathlib import Path
from typing import Any

from datatrove.data import Document

from yaongi.core.errors import ConfigError, nearest
from yaongi.core.seeds import Seed
from yaongi.core.units import ByteSize
from yaongi.data.sources import Reading, Source
from yaongi.data.synthetic.arithmetic import fact_item, sum_item
from yaongi.data.synthetic.chat import conversation, story_questions
from yaongi.data.synthetic.functions import function_item
from yaongi.data.synthetic.item import Item, Message, extract_answer
from yaongi.data.synthetic.plots import draw_plot
from yaongi.data.synthetic.splits import Key, Split, draw, split_of
from yaongi.data.synthetic.stories import tell
from yaongi.data.synthetic.story_qa import repeat_item, story_item

__all__ = [
    "DOMAINS", "TASKS", "EvalItem", "SyntheticSource", "documents", "eval_items", "extract_answer",
    "majority_answer", "split_of",
]  # fmt: skip

LICENCE = "Apache-2.0 (generated)"
FACTS = 0.12  # of the training sums are single-digit facts
REPEAT, ONE_QUESTION = 0.25, 0.3  # of the story questions; the rest asks about all three people


class SyntheticSource(Source):
    """The embedded corpus as a source: so many bytes of text per domain.

    Attributes:
        story: plain stories. math: sums. code: functions. qa: story questions. chat: conversations.
        held_out: bytes per domain whose plots, operands and facts never occur in the rest; they
            carry ``split: val`` in their metadata.
    """

    kind: str = "synthetic"
    licence: str = LICENCE
    story: ByteSize = 6_000_000
    math: ByteSize = 4_000_000
    code: ByteSize = 2_500_000
    qa: ByteSize = 3_000_000
    chat: ByteSize = 3_000_000
    held_out: ByteSize = 150_000

    def read(self, reading: Reading) -> Iterator[Document]:
        """Of each domain training documents, then held-out ones."""
        sizes = {domain: getattr(self, domain) for domain in DOMAINS}
        done = 0
        for domain, size in sizes.items():
            for document, told in _upto(documents(reading.seed, "train", domain), size):
                yield document
                reading.advance((done + told) / sum(sizes.values()))
            held = self.held_out if size else 0
            for document, _ in _upto(documents(reading.seed, "val", domain), held):
                yield document
            done += size

    def fingerprint(self, root: Path) -> str:
        """Changes when the words, the lines or the code do."""
        return _fingerprint()


def documents(
    seed: Seed, split: Split, domain: str, *, start: int = 0, step: int = 1
) -> Iterator[Document]:
    """Documents start, start + step, ... of a domain, without end.

    Metadata: ``domain``, ``form`` (text or chat), ``task``, ``split``, ``source``, ``licence``,
    ``keys`` (what decided the split, one list per exercise or plot), ``messages`` of chats.

    Raises:
        ConfigError: no such domain.
    """
    make = _maker(domain, _MAKERS, "domain")
    base = seed.split("synthetic", split, domain).int63
    rng = random.Random()
    for i in count(start, step):
        rng.seed(base + i)
        text, metadata = make(rng, split)
        yield Document(
            text=text,
            id=f"synthetic/{split}/{domain}/{i}",
            metadata={"domain": domain, "source": "synthetic", "licence": LICENCE, "split": split}
            | metadata,
        )


def _upto(found: Iterator[Document], size: int) -> Iterator[tuple[Document, int]]:
    """Documents of at least ``size`` bytes in all, each with the bytes so far."""
    told = 0
    while told < size:
        document = next(found)
        told += len(document.text.encode())
        yield document, told


@dataclass(frozen=True)
class EvalItem:
    """A held-out question.

    Attributes:
        messages: what the model is given; its reply should end in ``답: `` and ``answer``.
        reply: the reply as the corpus would write it.
    """

    task: str
    messages: list[Message]
    answer: str
    reply: str


def eval_items(seed: Seed, task: str, n: int, split: Split = "test") -> list[EvalItem]:
    """``n`` different questions of a task; ``extract_answer`` finds the answer in a reply.

    Raises:
        ConfigError: no such task.
    """
    make = _maker(task, TASKS, "task")
    rng = seed.split("synthetic", "eval", split, task).python()
    found: dict[str, EvalItem] = {}
    while len(found) < n:
        item = make(rng, split)
        messages = item.messages[:1]
        found[item.question] = EvalItem(task, messages, item.answer, item.reply)
    return list(found.values())


def majority_answer(seed: Seed, task: str, n: int = 5000) -> str:
    """The most frequent answer among ``n`` training items: what always saying it would score."""
    make = _maker(task, TASKS, "task")
    rng = seed.split("synthetic", "majority", task).python()
    return Counter(make(rng, "train").answer for _ in range(n)).most_common(1)[0][0]


def _maker(name: str, makers: dict[str, Any], what: str) -> Any:
    if name in makers:
        return makers[name]
    near = nearest(name, makers)
    raise ConfigError(
        "The embedded corpus has no {what} '{name}'. {help}",
        what=what,
        name=name,
        help=f"Did you mean '{near}'?" if near else f"There are: {', '.join(makers)}.",
    )


Made = tuple[str, dict[str, Any]]


def _story(rng: random.Random, split: Split) -> Made:
    plot = draw(draw_plot, lambda p: p.key, rng, split)
    text = tell(plot, rng).text
    return text, {"form": "text", "task": "story", "keys": [list(plot.key)]}


def _exercise(
    make: Callable[[random.Random, Split], Item],
) -> Callable[[random.Random, Split], Made]:
    def made(rng: random.Random, split: Split) -> Made:
        item = make(rng, split)
        return _chat(item.task, item.messages, (item.key,))

    return made


def _sum(rng: random.Random, split: Split) -> Item:
    return fact_item(rng) if split == "train" and rng.random() < FACTS else sum_item(rng, split)


def _questions(rng: random.Random, split: Split) -> Made:
    """A story to repeat, with one question, or with one about each of its people."""
    chance = rng.random()
    if chance < REPEAT + ONE_QUESTION:
        return _exercise(repeat_item if chance < REPEAT else story_item)(rng, split)
    return _chat(*story_questions(rng, split))


def _conversation(rng: random.Random, split: Split) -> Made:
    return _chat(*conversation(rng, split))


def _chat(task: str, messages: list[Message], keys: tuple[Key, ...]) -> Made:
    text = "\n\n".join(message["content"] for message in messages)
    return text, {
        "form": "chat", "task": task, "keys": [list(key) for key in keys], "messages": messages,
    }  # fmt: skip


_MAKERS: dict[str, Callable[[random.Random, Split], Made]] = {
    "story": _story,
    "math": _exercise(_sum),
    "code": _exercise(function_item),
    "qa": _questions,
    "chat": _conversation,
}
DOMAINS = tuple(_MAKERS)
TASKS: dict[str, Callable[[random.Random, Split], Item]] = {
    "add": functools.partial(sum_item, op="+"),
    "sub": functools.partial(sum_item, op="-"),
    "story_qa": story_item,
    "function": function_item,
}


@functools.cache
def _fingerprint() -> str:
    digest = hashlib.sha256()
    folder = resources.files("yaongi.data.synthetic")
    for part in (folder, folder / "words"):
        for file in sorted(part.iterdir(), key=lambda f: f.name):
            if file.name.endswith((".py", ".txt")):
                digest.update(file.read_bytes())
    return digest.hexdigest()
