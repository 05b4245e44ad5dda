"""Cleaning one document at a time: one file per step, chosen by ``kind:`` in a recipe.

A step answers every text with a ``Cleaned``: the text, changed or not, or the reason why the
document is dropped, and counts of what it changed. The idea and the contract, "every drop has a
reason", are datatrove's; ``Filter.step()`` is the same thing as a step of its pipelines. To add a
kind, derive a ``Filter`` with its settings and a ``clean``, and name it in ``FILTERS``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import BeforeValidator

from yaongi.core.config import Config, Registry
from yaongi.core.install import import_extra

if TYPE_CHECKING:  # datatrove imports all of its filters at once, which takes a second
    from yaongi.data.filters.step import FilterStep


@dataclass
class Cleaned:
    """What became of a text.

    Args:
        text: as it is after the step; of a dropped document, as far as the step got.
        drop: why the document is dropped, a constant phrase to count by; "" when it is kept.
        changed: what was changed, and how often.
        tags: facts about the document for its metadata.
    """

    text: str
    drop: str = ""
    changed: Counter[str] = field(default_factory=Counter)
    tags: dict[str, Any] = field(default_factory=dict)


class Conversations(StrEnum):
    """What a step does with a conversation, whose limits are not those of a page of text."""

    PASS = "pass"
    """Nothing."""
    EACH = "each"
    """Cleans every message by itself; a message it drops takes the conversation with it."""
    WHOLE = "whole"
    """Judges all messages as one text, and changes none."""


class Filter(Config):
    """Settings of a cleaning step, which does its work in ``clean``."""

    conversations: ClassVar[Conversations] = Conversations.PASS
    kind: str

    def clean(self, text: str) -> Cleaned:
        """What becomes of ``text``, any string. The same text always gets the same answer."""
        raise NotImplementedError

    def at(self, root: Path) -> Filter:
        """This filter with its relative paths below ``root``, the folder of the recipe's data."""
        return self

    def fingerprint(self) -> str:
        """Changes when the files it reads change; "" when it reads none.

        Raises:
            DataError: one of them is missing.
        """
        return ""

    def step(self, **options: Any) -> FilterStep:
        """This filter in a datatrove pipeline; ``options`` are those of its ``BaseFilter``."""
        from yaongi.data.filters.step import FilterStep

        return FilterStep(self, **options)


FILTERS = Registry(
    "filter",
    Filter,
    {
        "encoding": "yaongi.data.filters.encoding:Encoding",
        "html": "yaongi.data.filters.html:HTML",
        "boilerplate": "yaongi.data.filters.boilerplate:Boilerplate",
        "spam": "yaongi.data.filters.spam:Spam",
        "language": "yaongi.data.filters.language:Language",
        "shape": "yaongi.data.filters.shape:Shape",
        "repetition": "yaongi.data.filters.repetition:Repetition",
        "pii": "yaongi.data.filters.pii:PII",
        "profanity": "yaongi.data.filters.profanity:Profanity",
        "emoticons": "yaongi.data.filters.emoticons:Emoticons",
        "quality": "yaongi.data.filters.quality:Quality",
        "decontaminate": "yaongi.data.filters.decontaminate:Decontaminate",
    },
)
"""In the order in which they make sense: each expects what the ones before it have repaired."""

FilterChoice = Annotated[Filter, FILTERS.field()]

DEFAULT = "default"
DEFAULT_CHAIN = (
    *("encoding", "html", "boilerplate", "spam", "language", "shape", "repetition"),
    *("pii", "profanity"),
)
"""What ``filters: default`` stands for. Personal data goes late: bylines and spam are told by it,
and what is dropped needs no placeholders."""


def _spelled_out(value: Any) -> Any:
    """``default``, alone or in a list, as the steps it stands for."""
    value = [value] if isinstance(value, str) else value
    if not isinstance(value, list):
        return value
    return [kind for one in value for kind in (DEFAULT_CHAIN if one == DEFAULT else [one])]


FilterChain = Annotated[list[FilterChoice], BeforeValidator(_spelled_out)]
"""Steps in order: kinds or settings, and ``default`` for the recommended ones."""


def clean(text: str, filters: Iterable[Filter]) -> Cleaned:
    """All steps in order, up to the first that drops; reasons are written ``kind: reason``."""
    result = Cleaned(text)
    for step in filters:
        one = step.clean(result.text)
        result.text = one.text
        result.tags |= one.tags
        for reason, times in one.changed.items():
            result.changed[f"{step.kind}: {reason}"] += times
        if one.drop:
            result.drop = f"{step.kind}: {one.drop}"
            break
    return result


# --- what several steps share ----------------------------------------------------------------

PROSE_SYMBOLS = 0.10
"""A larger ``symbol_share`` is code, tables or formulas: of 19 of 20 texts right (docs/results)."""


def symbol_share(text: str) -> float:
    """The share of characters that are neither letters, digits nor spaces."""
    bare = "".join(text.split())
    return len(_NOT_SYMBOLS.sub("", bare)) / max(1, len(bare))


def count_letters(text: str) -> int:
    """Letters of any script."""
    return len(_NOT_LETTERS.sub("", text))


def hangul_runs(text: str) -> list[int]:
    """The lengths of the stretches of Hangul syllables."""
    return [len(run) for run in _HANGUL.findall(text)]


_NOT_SYMBOLS = re.compile(r"\w+")
_NOT_LETTERS = re.compile(r"[\W\d_]+")
_HANGUL = re.compile("[가-힣]+")


def settle(text: str, change: Callable[[str], str], rounds: int = 8) -> str | None:
    """``change`` applied until nothing changes, so that cleaning twice is cleaning once.

    None when it does not come to rest, which only texts made for it manage.
    """
    for _ in range(rounds):
        changed = change(text)
        if changed == text:
            return text
        text = changed
    return None


def drop_lines(text: str, judge: Callable[[str], str]) -> Cleaned:
    """``text`` without the lines for which ``judge`` gives a reason.

    A blank line that only separated a dropped line goes with it. Without dropped lines the text
    is the same object; when none is left the document is dropped.
    """
    kept: list[str] = []
    changed: Counter[str] = Counter()
    after_drop = False
    for line in text.split("\n"):
        if reason := judge(line) if line.strip() else "":
            changed[reason] += 1
        elif line.strip() or not after_drop or (kept and kept[-1].strip()):
            kept.append(line)
        after_drop = bool(reason) or (after_drop and not line.strip())
    if not changed:
        return Cleaned(text)
    rest = "\n".join(kept).strip("\n")
    return Cleaned(rest, "" if rest.strip() else "nothing left", changed)


def optional_module(name: str) -> Any:
    """A module of the extra ``data``. Raises CapabilityError with the command that installs it."""
    return import_extra("This cleaning step needs the package '{package}': {command}", name, "data")
