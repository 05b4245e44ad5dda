"""Conversations as files: a line of JSON each, with ``messages``, as ``yaongi data`` reads them."""

from __future__ import annotations

import json
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from yaongi.core.errors import DataError, YaongiError, os_reason
from yaongi.core.files import write_bytes
from yaongi.core.i18n import translate as _
from yaongi.data.turns import BrokenRow, Turn, check, turns

MAX_BYTES = 64 << 20  # of a file that is read whole; a long conversation has thousandths of it


def save(path: Path, messages: Sequence[dict[str, Any]], *, replace: bool = False) -> None:
    """Write one conversation.

    Raises:
        DataError: there is nothing to save, or ``path`` cannot be written.
        StorageError: the disk refused; what was there before is intact.
    """
    if not any(message["role"] == "assistant" for message in messages):
        raise DataError("There is no answer yet, so nothing to save.")
    line = json.dumps({"messages": list(messages)}, ensure_ascii=False)
    try:
        if path.exists() and not replace:
            raise DataError(
                "{path} exists already. Choose another name, or replace it: /save {path} --force",
                path=path,
            )
        write_bytes(path, (line + "\n").encode("utf-8", "replace"))
    except (OSError, ValueError) as error:
        raise _unusable(path, error) from error


def place(name: str) -> Path:
    """The path a user means. Raises DataError for the home of somebody who has none."""
    try:
        return Path(name).expanduser()
    except RuntimeError as error:
        raise _unusable(Path(name), error) from error


def load(path: Path, number: int | None = None) -> tuple[list[Turn], int, int]:
    """One conversation of a file: its messages, its number, and how many there are.

    Args:
        number: which, from 1; None takes the last.
    Raises:
        DataError: no such file or conversation, or a row that is none; the message says which.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode) and not path.is_dir():  # reading might never end
            raise DataError("{path} is no ordinary file.", path=path)
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise DataError(
                "{path} has more than {most} MB, the most of a file of conversations to load.",
                path=path,
                most=MAX_BYTES >> 20,
            )
        rows = [row for row in content.decode("utf-8").split("\n") if row.strip()]
    except (OSError, ValueError) as error:
        raise _unusable(path, error) from error
    at = len(rows) if number is None else number
    if not 1 <= at <= len(rows):
        raise DataError(
            "{path} has {found} conversations; there is no number {number}.",
            path=path,
            found=len(rows),
            number=at,
        )
    return _messages(rows[at - 1], path, at), at, len(rows)


def _messages(row: str, path: Path, place: int) -> list[Turn]:
    try:
        found = json.loads(row)
        messages = turns(found.get("messages") if isinstance(found, dict) else None, "messages")
        check(messages, generation_prompt=messages[-1]["role"] != "assistant")
        json.dumps(messages, ensure_ascii=False).encode()  # half of a surrogate pair is no text
    except RecursionError as error:
        raise _broken(path, place, _("it is nested too deeply")) from error
    except UnicodeError as error:
        raise _broken(path, place, _("it has half of a character")) from error
    except ValueError as error:
        raise _broken(path, place, _("it is no JSON")) from error
    except BrokenRow as error:
        raise _broken(path, place, error.reason) from error
    return messages


def _broken(path: Path, place: int, reason: str) -> DataError:
    return DataError(
        "Line {place} of {path} is no conversation: {reason}. Expected a line of JSON like "
        '{{"messages": [{{"role": "user", "content": "..."}}, ...]}}.',
        place=place,
        path=path,
        reason=reason,
    )


def _unusable(path: Path, error: Exception) -> YaongiError:
    reason = os_reason(error) if isinstance(error, OSError) else error
    return DataError("{path} cannot be used: {reason}", path=path, reason=reason)
