"""Drops documents that hold items of evaluation sets, so that a score measures no memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from yaongi.core.errors import DataError
from yaongi.core.files import sha256_file
from yaongi.data.contamination import Contamination, Limits
from yaongi.data.filters import Cleaned, Conversations, Filter
from yaongi.data.recognise import BrokenRow
from yaongi.data.sources import locate
from yaongi.data.sources.files import FilesSource
from yaongi.data.sources.formats import Opened, is_text, reader_of


class Decontaminate(Filter):
    """Tags ``contamination`` with the set and row of what was found: ``gsm8k_test:12``.

    Args:
        against: evaluation sets: files, folders or globs of JSON lines, CSV, parquet or text, as
            of a source. Every string of a row counts, and every line of a text file.
        words: n of the word n-grams compared.
        letters: n of the n-grams of Hangul and Han letters compared, whatever their spacing.
        overlap: share of a text's n-grams in a document from which on it is dropped; 0 is one.
        exact: size from which a text is also looked for as a whole; a letter of Hangul or Han
            counts three, any other one.
    """

    conversations: ClassVar[Conversations] = Conversations.WHOLE
    kind: str = "decontaminate"
    against: tuple[str, ...] = Field(min_length=1)
    words: int = Field(default=Limits().words, ge=2)
    letters: int = Field(default=Limits().letters, ge=2)
    overlap: float = Field(default=Limits().overlap, ge=0.0, le=1.0)
    exact: int = Field(default=Limits().exact, ge=15)

    def clean(self, text: str) -> Cleaned:
        found = _index(self.against, self._limits()).find(text)
        if found is None:
            return Cleaned(text)
        reason = "evaluation item" if found.whole else "evaluation n-grams"
        return Cleaned(text, reason, tags={"contamination": found.where})

    def at(self, root: Path) -> Filter:
        places = tuple(str(locate(path, root).absolute()) for path in self.against)
        return self.model_copy(update={"against": places})

    def fingerprint(self) -> str:
        contents = [sha256_file(file) for file in evaluation_files(self.against)]
        return hashlib.sha256(" ".join(contents).encode()).hexdigest()

    def _limits(self) -> Limits:
        return Limits(self.words, self.letters, self.overlap, self.exact)


def evaluation_files(against: tuple[str, ...]) -> list[Path]:
    """The files of evaluation sets. Raises DataError when one is missing or of no known kind."""
    return [file for path in against for file in FilesSource(path=path).files(Path())[0]]


def evaluation_rows(files: list[Path]) -> Iterator[tuple[str, int, Any]]:
    """(set, row number, row), the set named as its file.

    Raises:
        DataError: a row cannot be read: what it holds would not be looked for.
    """
    for file in files:
        name = file.name.partition(".")[0]
        lines = is_text(file)
        read = reader_of(file)
        assert read is not None  # FilesSource gives no other files
        with Opened(file) as opened:
            for number, row in read(opened):
                if isinstance(row, BrokenRow):
                    raise DataError(
                        "{path}: row {number} cannot be read ({reason}), so it would not be "
                        "found in the data. Repair or remove it.",
                        path=file,
                        number=number,
                        reason=row.reason,
                    )
                yield name, number, row["text"].split("\n") if lines else row


@lru_cache(maxsize=2)  # one per process is the rule; the index is large
def _index(against: tuple[str, ...], limits: Limits) -> Contamination:
    return Contamination(evaluation_rows(evaluation_files(against)), limits)
