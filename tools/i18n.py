"""Collects every message of the source, updates the Korean catalogue, and compiles it.

``make i18n`` runs it; then translate what it lists in the .po file and run it again. Messages are
the first arguments of the error classes, ``translate`` and ``_`` (see yaongi.core.errors).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from yaongi.core.errors import YaongiError
from yaongi.core.i18n import LOCALE_DIR

SOURCE = Path(__file__).parents[1] / "src" / "yaongi"
PO = LOCALE_DIR / "ko" / "LC_MESSAGES" / "yaongi.po"
CLICK = PO.with_name("click.po")
"""Words of the library that reads the command line; written by hand, only those people meet."""
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)  # constant, so that only texts change the file
METHODS = [("**.py", "python"), ("**.jinja", "jinja2")]
OPTIONS = {"**.jinja": {"silent": "false"}}  # else a template with an error has no messages
# ``error`` is a class handed in as a parameter
FUNCTIONS = ("translate", "_", "notice", "import_extra", "error", "refuse")


def error_names(cls: type[YaongiError] = YaongiError) -> list[str]:
    """The names of all error classes."""
    return [cls.__name__, *(name for sub in cls.__subclasses__() for name in error_names(sub))]


def messages() -> Iterator[tuple[str, str]]:
    """(file, message) of everything the source can say."""
    keywords = dict.fromkeys((*error_names(), *FUNCTIONS))
    found = extract_from_dir(SOURCE, METHODS, OPTIONS, keywords)
    for file, _line, message, _comments, _context in found:
        text = message if isinstance(message, str) else message[0]
        if text:
            yield file, text


def catalogue(path: Path = PO) -> Catalog:
    """The Korean catalogue as it is on disk."""
    if not path.is_file():
        return Catalog(
            locale="ko",
            project="yaongi",
            version="0",
            header_comment="# Korean messages of yaongi.",
            msgid_bugs_address="none",
            last_translator="the yaongi authors",
            language_team="ko",
            revision_date=EPOCH,
            creation_date=EPOCH,
            fuzzy=False,
        )
    with path.open("rb") as stream:
        return read_po(stream, locale="ko")


def untranslated(ko: Catalog) -> list[Message]:
    """Messages without a Korean text, or with one that was only guessed."""
    return [m for m in ko if m.id and (not m.string or m.fuzzy)]


def update() -> Catalog:
    """The catalogue with exactly the messages of the source, translations kept."""
    template = Catalog(locale="ko")
    for file, text in messages():
        template.add(text, locations=[(file, None)])  # pyright: ignore[reportArgumentType]
    ko = catalogue()
    ko.update(template, no_fuzzy_matching=True, update_creation_date=False)
    ko.obsolete.clear()
    return ko


def main() -> int:
    """Update, compile, and list what is left to translate."""
    PO.parent.mkdir(parents=True, exist_ok=True)
    ko = update()
    with PO.open("wb") as stream:
        write_po(stream, ko, width=100, sort_by_file=True, ignore_obsolete=True)
    for path in (PO, CLICK):
        with path.with_suffix(".mo").open("wb") as stream:
            write_mo(stream, catalogue(path))
    left = untranslated(ko)
    for message in left:
        print(f"not translated: {message.id!r}")
    print(f"{len(ko) - len(left)} of {len(ko)} messages are in {PO}")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
