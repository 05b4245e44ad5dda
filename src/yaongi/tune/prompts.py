"""What a model is asked in reinforcement learning: prompts with what is needed to judge answers.

From the conversations of a corpus, whose last answer is taken away and kept as ``reply``; or from a
file of rows with ``prompt`` (a text) or ``messages``, whose other columns go to the rewards.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from yaongi.core.artifact import Artifact
from yaongi.core.errors import DataError
from yaongi.core.seeds import Seed
from yaongi.data.corpus import read_corpus
from yaongi.data.recognise import BrokenRow
from yaongi.data.sources.files import FilesSource
from yaongi.data.sources.formats import Opened, reader_of
from yaongi.text.chat import Message, validate
from yaongi.text.foreign import AnyTokenizer


@dataclass(frozen=True)
class Prompt:
    """A conversation to answer.

    Attributes:
        id: where it comes from, for messages and logs.
        row: what rewards need: ``reply``, ``answer``, ``tests``...
        ids: as the model reads it; empty until ``fitting``.
    """

    id: str
    messages: Sequence[Message]
    row: Mapping[str, Any]
    ids: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Prompts:
    """All prompts of a run, and the artifact they are from."""

    rows: Sequence[Prompt]
    parent: Artifact

    def fitting(self, tokenizer: AnyTokenizer, most: int) -> Prompts:
        """Those of at most ``most`` tokens, encoded.

        Raises:
            DataError: there are none.
        """
        encoded = [
            Prompt(p.id, p.messages, p.row, tokenizer.chat_ids(p.messages)) for p in self.rows
        ]
        kept = [p for p in encoded if len(p.ids) <= most]
        if not kept:
            raise DataError(
                "No prompt of {path} leaves room for an answer: {n} there, the shortest has "
                "{shortest} tokens, and seq_len less max_tokens is {most}.",
                path=self.parent.path,
                n=len(encoded),
                shortest=min((len(p.ids) for p in encoded), default=0),
                most=most,
            )
        return Prompts(kept, self.parent)

    def at(self, place: int, seed: Seed) -> Prompt:
        """The prompt at ``place`` of an endless sequence, every pass in another order."""
        epoch, k = divmod(place, len(self.rows))
        return self.rows[int(_order(seed, epoch, len(self.rows))[k])]


@functools.lru_cache(maxsize=2)
def _order(seed: Seed, epoch: int, n: int) -> np.ndarray:
    keys = seed.split("order", epoch).numpy().bit_generator.random_raw(n)
    return np.argsort(keys, kind="stable")


def corpus_prompts(
    corpus: Artifact, domains: Sequence[str] | None = None, *, split: str = "train"
) -> Prompts:
    """The conversations of a corpus without their last answers.

    Raises:
        DataError: there are none.
    """
    names: Sequence[str | None] = domains or [None]
    found = [d for name in names for d in read_corpus(corpus, split, name)]
    rows = [
        prompt
        for d in found
        if d.metadata.get("form") == "chat" and (prompt := _asked(d.id, d.metadata)) is not None
    ]
    if not rows:
        raise DataError("{path} has no conversations to ask from.", path=corpus.path)
    return Prompts(rows, corpus)


def _asked(id: str, metadata: Mapping[str, Any]) -> Prompt | None:
    """Everything before the last answer; None where the conversation begins with it."""
    messages: list[Message] = list(metadata["messages"])
    last = max(i for i, message in enumerate(messages) if message["role"] == "assistant")
    if last == 0:
        return None
    columns = {k: v for k, v in metadata.items() if k != "messages"}
    return Prompt(id, messages[:last], {**columns, "reply": messages[last]["content"]})


def file_prompts(path: str, root: Path) -> Prompts:
    """The rows of a file (.jsonl, .csv or .parquet, also compressed) below ``root``.

    Raises:
        DataError: no such file, or a row that is no prompt, naming its line.
    """
    source = FilesSource(path=path)
    parent = source.as_parent(root)
    files, _ = source.files(root)
    rows = [prompt for file in files for prompt in _read(file)]
    if not rows:
        raise DataError("{path} has no rows.", path=path)
    return Prompts(rows, parent)


def _read(file: Path) -> Iterator[Prompt]:
    reader = reader_of(file)
    assert reader is not None
    with Opened(file) as opened:
        for line, row in reader(opened):
            try:
                yield _prompt(f"{file.name}:{line}", row)
            except DataError as error:
                raise DataError(
                    "{path}, line {line} is not a prompt: {reason}",
                    path=file,
                    line=line,
                    reason=error,
                ) from error


def _prompt(id: str, row: Mapping[str, Any] | BrokenRow) -> Prompt:
    if isinstance(row, BrokenRow):
        raise DataError("{reason}", reason=row.reason)
    asked: Any = row.get("messages") or row.get("prompt")
    if isinstance(asked, str):
        asked = [{"role": "user", "content": asked}]
    if not isinstance(asked, list):
        raise DataError("it needs 'prompt' (text) or 'messages' (a list).")
    validate(asked, generation_prompt=True)
    return Prompt(id, asked, {k: v for k, v in row.items() if k not in ("prompt", "messages")})
