"""The share of questions a model answers exactly, greedily decoded: any file of items.

The metric is SQuAD's exact match (Rajpurkar et al. 2016, arXiv:1606.05250, section 6.1) with a
normalisation that suits Korean: NFC, spaces, and the final full stop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from yaongi.core.config import data_root
from yaongi.core.errors import DataError
from yaongi.core.intervals import wilson
from yaongi.core.units import Count
from yaongi.data.recognise import BrokenRow
from yaongi.data.sources.formats import Opened, reader_of
from yaongi.evals.task import Score, Subject, Task, chance, majority
from yaongi.infer.generate import generate_greedy
from yaongi.text.chat import Message, validate
from yaongi.text.foreign import AnyTokenizer
from yaongi.text.normalize import nfc

SAMPLES = 3

Extract = Callable[[str], str | None]
"""The answer in what a model said; None where there is none."""


@dataclass(frozen=True)
class Item:
    """A question with its answers.

    Attributes:
        prompt: a text to continue, or the messages of a conversation to answer.
        answers: all that count as right; the first is the gold answer.
    """

    prompt: str | Sequence[Message]
    answers: tuple[str, ...]

    def ids(self, tokenizer: AnyTokenizer) -> list[int]:
        """What the model reads, as ``generate`` and ``chat`` would give it."""
        if isinstance(self.prompt, str):
            return tokenizer.text_ids(self.prompt)
        return tokenizer.chat_ids(self.prompt)

    @property
    def question(self) -> str:
        """The text to show in a report."""
        return self.prompt if isinstance(self.prompt, str) else str(self.prompt[-1]["content"])


class ExactMatch(Task):
    """Settings of ``exact_match``.

    Attributes:
        path: a file (.jsonl, .csv, .parquet, also compressed) of rows with ``prompt`` or
            ``messages``, and ``answer``, a text or a list of texts; below ``data.root``
            unless absolute.
        name: what the score is called; default the file's name.
        max_items: only the first so many.
        max_tokens: longest answer.
    """

    kind: str = "exact_match"
    path: str
    name: str | None = None
    max_items: Count | None = Field(default=None, ge=1)
    max_tokens: Count = Field(default=64, ge=1)

    def run(self, subject: Subject) -> list[Score]:
        path = data_root() / self.path
        items = read_items(path, self.max_items)
        name = self.name or path.name.partition(".")[0]
        return [ask(subject, name, items, max_tokens=self.max_tokens)]


def ask(
    subject: Subject,
    name: str,
    items: Sequence[Item],
    *,
    max_tokens: int,
    extract: Extract = str,
    majority_answer: str | None = None,
) -> Score:
    """Let the model answer every item and score it; see ``grade``."""
    prompts = [item.ids(subject.tokenizer) for item in items]
    said = generate_greedy(subject.model, subject.tokenizer, prompts, max_tokens=max_tokens)
    texts = [subject.tokenizer.decode(ids) for ids in said]
    return grade(name, items, texts, extract=extract, majority_answer=majority_answer)


def grade(
    name: str,
    items: Sequence[Item],
    said: Sequence[str],
    *,
    extract: Extract = str,
    majority_answer: str | None = None,
) -> Score:
    """Score what was said to ``items``, beside the majority answer and guessing.

    Args:
        extract: takes the answer out of what was said.
        majority_answer: the most frequent answer in training; None takes that of the items.
    """
    right = [_right(item, extract(text)) for item, text in zip(items, said, strict=True)]
    golds = [normalise(item.answers[0]) for item in items]
    usual = majority(golds) if majority_answer is None else normalise(majority_answer)
    low, high = wilson(sum(right), len(items))
    return Score(
        name=name,
        value=sum(right) / len(items),
        unit="exact match",
        better="higher",
        n=len(items),
        counted="items",
        low=low,
        high=high,
        chance=chance(golds),
        baseline=sum(_right(item, usual) for item in items) / len(items),
        baseline_name="majority answer",
        samples=tuple(
            {"question": i.question, "expected": i.answers[0], "said": s, "right": r}
            for i, s, r in list(zip(items, said, right, strict=True))[:SAMPLES]
        ),
    )


def _right(item: Item, answer: str | None) -> bool:
    return answer is not None and normalise(answer) in map(normalise, item.answers)


def normalise(text: str) -> str:
    """NFC, single spaces, no space around, no final full stop."""
    return " ".join(nfc(text).split()).removesuffix(".")


def read_items(path: Path, max_items: int | None = None) -> list[Item]:
    """The items of a file; unlike training data, a broken row ends the reading.

    Raises:
        DataError: no such file, nothing in it, or a row that is no item, naming its line.
    """
    reader = reader_of(path)
    if not path.is_file() or reader is None:
        raise DataError(
            "There are no items at {path}: expected a .jsonl, .csv or .parquet file.", path=path
        )
    items: list[Item] = []
    with Opened(path) as opened:
        for line, row in reader(opened):
            if max_items is not None and len(items) == max_items:
                break
            items.append(_item(row, path, line))
    if not items:
        raise DataError("{path} has no rows.", path=path)
    return items


def _item(row: Mapping[str, Any] | BrokenRow, path: Path, line: int) -> Item:
    try:
        if isinstance(row, BrokenRow):
            raise DataError("{reason}", reason=row.reason)
        prompt = row.get("prompt") or row.get("messages")
        if isinstance(prompt, list):
            validate(prompt, generation_prompt=True)
        elif not isinstance(prompt, str):
            raise DataError("it needs 'prompt' (text) or 'messages' (a list).")
        return Item(prompt, tuple(_answers(row.get("answer"))))
    except DataError as error:
        raise DataError(
            "{path}, line {line} is not an item: {reason}", path=path, line=line, reason=error
        ) from error


def _answers(value: Any) -> Iterator[str]:
    found = value if isinstance(value, list) else [value]
    if not found or not all(isinstance(a, str | int | float) and a != "" for a in found):
        raise DataError("it needs 'answer': a text, a number, or a list of them.")
    yield from map(str, found)
