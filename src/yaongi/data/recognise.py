"""What a row is, told by its columns: text, conversation or preference.

``layouts.FORMS`` is the whole knowledge. A row that fits no form or is damaged is a ``BrokenRow``
with a reason, never an end of the run.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from datatrove.data import Document

from yaongi.core.errors import DataError
from yaongi.core.i18n import translate
from yaongi.data.layouts import CHAT, COLUMNS, FORMS, PREFERENCE, TEXT, asked, spoken
from yaongi.data.turns import BrokenRow

__all__ = ["CHAT", "COLUMNS", "PREFERENCE", "TEXT", "BrokenRow", "Parsed", "asked", "documents",
           "recognise", "spoken"]  # fmt: skip

UNKNOWN_COLUMNS = "unknown columns"
_ROWS_TO_JUDGE = 100  # none of so many first rows understood: the layout is unknown, not the rows


class Parsed(NamedTuple):
    """What a file gives before recognition: its line and the row, or why there is none."""

    line: int
    row: Mapping[str, Any] | BrokenRow


def recognise(
    row: Mapping[str, Any], fields: Mapping[str, str] | None = None
) -> tuple[str, dict[str, Any]]:
    """The text of a row, and its metadata: ``form`` and, unless it is text, what it is made of.

    Args:
        fields: our column name -> theirs. A form without one of these columns is not considered.
    Raises:
        BrokenRow: no form fits, or the row is damaged.
    """
    fields = fields or {}
    row = _renamed(row, fields)
    forms = [f for f in FORMS if not fields or set(fields) & {*f.needs, *f.reads}]
    for form in forms:
        if all(row.get(column) is not None for column in form.needs):
            text, metadata = form.make(row)
            _check_unicode(text)
            return text, metadata
    for form in forms:
        if all(column in row for column in form.needs):
            raise BrokenRow(f"{'+'.join(form.needs)} is missing")
    raise BrokenRow(UNKNOWN_COLUMNS)


def _renamed(row: Mapping[str, Any], fields: Mapping[str, str]) -> dict[str, Any]:
    kept = {name: value for name, value in row.items() if name not in fields}
    return kept | {ours: row[theirs] for ours, theirs in fields.items() if theirs in row}


def documents(
    rows: Iterable[Parsed],
    fields: Mapping[str, str],
    *,
    where: str,
    reject: Callable[[str, int, BrokenRow], None],
) -> Iterator[Document]:
    """The documents of one file's rows; broken ones go to ``reject``.

    Args:
        where: the file, for ids (``file:line``) and messages.
    Raises:
        DataError: the file's columns fit no form.
    """
    layout = _Layout(where, fields)
    for line, row in rows:
        try:
            if isinstance(row, BrokenRow):
                raise row
            text, metadata = recognise(row, fields)
        except BrokenRow as error:
            layout.failed(error, row)
            error.row = error.row or _as_json(row)
            reject(where, line, error)
            continue
        layout.understood = True
        yield Document(text=text, id=f"{where}:{line}", metadata=metadata)
    layout.finished()


class _Layout:
    """Tells a file whose columns are unknown from a file with a few odd rows."""

    def __init__(self, where: str, fields: Mapping[str, str]) -> None:
        self.where, self.fields = where, fields
        self.understood = False
        self.unknown = 0
        self.columns: Counter[str] = Counter()
        self.letters: Counter[str] = Counter()

    def failed(self, error: BrokenRow, row: Mapping[str, Any] | BrokenRow) -> None:
        if self.understood or error.reason != UNKNOWN_COLUMNS or isinstance(row, BrokenRow):
            return
        self.unknown += 1
        for column, value in list(row.items())[:50]:
            self.columns[str(column)] += 1
            if isinstance(value, str):
                self.letters[str(column)] += len(_NO_LETTERS.sub("", value))
        if self.unknown == _ROWS_TO_JUDGE:
            self.finished()

    def finished(self) -> None:
        if self.understood or not self.unknown:
            return
        found = [column for column, _ in self.columns.most_common(20)]
        raise DataError(
            "{path}: cannot tell what its rows are. Columns found: {found}. Expected {known}; "
            "a recipe can name yours at the source, e.g. fields: {{{ours}: {theirs}}}.",
            path=self.where,
            found=", ".join(found) or "none",
            known=translate(" or ").join("+".join(form.needs) for form in FORMS),
            ours=next(iter(self.fields), TEXT),
            theirs=self._longest(),
        )

    def _longest(self) -> str:
        """The column that has most to say, which is no number and no key."""
        top = self.letters.most_common(1)
        return top[0][0] if top and top[0][1] else "body"


_NO_LETTERS = re.compile(r"[\W\d_]+")


def _check_unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:  # JSON can spell half of a surrogate pair
        raise BrokenRow("not Unicode text", ascii(text)) from error


def _as_json(row: object) -> str:
    """A row as a person can paste it back; a lone surrogate as its escape."""
    written = json.dumps(row, ensure_ascii=False, default=str)
    return written.encode(errors="backslashreplace").decode()
