"""A filter as a step of the cleaning pipeline: its counts noted, conversations treated its way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep

from yaongi.data.cleaning.notes import Notes
from yaongi.data.filters import Cleaned, Conversations, Filter
from yaongi.data.recognise import TEXT, spoken


class CleaningStep(PipelineStep):
    """Passes on what ``config`` keeps.

    Args:
        config: the filter.
        index: its place among the steps that ``notes`` counts.
    """

    type = "🔻 - FILTER"

    def __init__(self, config: Filter, index: int, notes: Notes) -> None:
        self.name = config.kind  # datatrove uses it already in its own __init__
        super().__init__()
        self.config, self.index, self.notes = config, index, notes

    def run(
        self, data: Iterable[Document], rank: int = 0, world_size: int = 1
    ) -> Iterator[Document]:
        """Clean each document as it comes."""
        for document in data:
            with self.track_time():
                result = self._clean(document)
            document.text = result.text
            document.metadata.update(result.tags)
            if result.drop:
                self.notes.dropped(self.index, result.drop, document)
                continue
            self.notes.left(self.index, document.text, result.changed.items())
            yield document

    def _clean(self, document: Document) -> Cleaned:
        policy = self.config.conversations
        if document.metadata["form"] == TEXT:
            return self.config.clean(document.text)
        if policy is Conversations.EACH:
            return _each_message(document, self.config.clean)
        if policy is Conversations.WHOLE:
            result = self.config.clean(document.text)
            result.text = document.text
            return result
        return Cleaned(document.text)


def _each_message(document: Document, clean: Callable[[str], Cleaned]) -> Cleaned:
    """Every text in a conversation or preference by itself; ``text`` is made of them anew."""
    changed: Counter[str] = Counter()
    drops: list[str] = []

    def one(text: str) -> str:
        result = clean(text)
        changed.update(result.changed)
        emptied = text.strip() and not result.text.strip()
        drops.extend(filter(None, [result.drop or ("empty message" if emptied else "")]))
        return result.text

    said = {name: _in_texts(document.metadata[name], one) for name in _SAID & {*document.metadata}}
    if all(said[name] == document.metadata[name] for name in said):
        return Cleaned(document.text, drops[0] if drops else "")
    document.metadata |= said
    return Cleaned(spoken(document.metadata), drops[0] if drops else "", changed)


_SAID = {"messages", "prompt", "chosen", "rejected"}
_NO_TEXT = {"role", "name"}  # of a message, and of the function it calls


def _in_texts(value: Any, change: Callable[[str], str]) -> Any:
    """``change`` applied to every string in nested lists and settings but roles and names."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_in_texts(item, change) for item in value]
    if isinstance(value, dict):
        return {k: v if k in _NO_TEXT else _in_texts(v, change) for k, v in value.items()}
    return value
