"""Conversations as files: a line of JSON each, with ``messages``, as ``yaongi data`` reads them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from yaongi.core.errors import DataError, YaongiError
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
    if path.exists() and not replace:
        raise DataError(
            "{path} exists already. Choose another name, or replace it: /save {path} --force",
            path=path,
        )
    line = json.dumps({"messages": list(messages)}, ensure_ascii=False)
    try:
        write_bytes(path, (line + "\n").encode("utf-8", "replace"))
    except OSError as error:
        raise _unusable(path, error) from error


def load(path: Path, number: int | None = None) -> tuple[list[Turn], int, int]:
    """One conversation of a file: its messages, its number, and how many there are.

    Args:
        number: which, from 1; None takes the last.
    Raises:
        DataError: no such file or conversation, or a row that is none; the message says which.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(
                "{path} has {found} MB; a file of conversations to load has {most} at most.",
                path=path,
                found=path.stat().st_size >> 20,
                most=MAX_BYTES >> 20,
            )
        rows = [row for row in path.read_text(encoding="utf-8").split("\n") if row.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise _unusable(path, error) from error
    place = len(rows) if number is None else number
    if not 1 <= place <= len(rows):
        raise DataError(
            "{path} has {found} conversations; there is no number {number}.",
            path=path,
            found=len(rows),
            number=place,
        )
    return _messages(rows[place - 1], path, place), place, len(rows)


def _messages(row: str, path: Path, place: int) -> list[Turn]:
    try:
        found = json.loads(row)
        messages = turns(found.get("messages") if isinstance(found, dict) else None, "messages")
        check(messages, generation_prompt=messages[-1]["role"] != "assistant")
    except RecursionError as error:
        raise _broken(path, place, _("it is nested too deeply")) from error
    except ValueError as error:
        raise _broken(path, place, _("it is no JSON ({reason})", reason=error)) from error
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
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return DataError("{path} cannot be used: {reason}", path=path, reason=reason or error)
