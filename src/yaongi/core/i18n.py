"""Korean or English: which catalogue speaks, chosen by ``YAONGI_LANG`` or the user's locale.

Catalogues are ordinary gettext files under ``yaongi/locale``; a message without a translation
appears in English.
"""

from __future__ import annotations

import functools
import gettext
import os
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

LOCALE_DIR = Path(__file__).parents[1] / "locale"


_SPOKEN: ContextVar[str | None] = ContextVar("spoken", default=None)


@contextmanager
def speaking(lang: str) -> Generator[None]:
    """Translate into ``lang`` inside the block, for a page that has both languages."""
    token = _SPOKEN.set(lang)
    try:
        yield
    finally:
        _SPOKEN.reset(token)


def language() -> str:
    """``"ko"`` or ``"en"``: YAONGI_LANG first, then the POSIX locale variables in their order."""
    if (spoken := _SPOKEN.get()) is not None:
        return spoken
    for variable in ("YAONGI_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        value = os.environ.get(variable, "")
        if value:
            return "ko" if value.lower().startswith("ko") else "en"
    return "en"


@functools.lru_cache(maxsize=4)
def _catalogue(lang: str) -> gettext.NullTranslations:
    return gettext.translation("yaongi", LOCALE_DIR, languages=[lang], fallback=True)


def translate_library(name: str) -> None:
    """Let a library that asks gettext by itself find its messages in our catalogue of its name."""
    os.environ["LANGUAGE"] = language()  # gettext knows nothing of YAONGI_LANG
    gettext.bindtextdomain(name, LOCALE_DIR)
    gettext.textdomain(name)


def translate(message: str, /, **fields: object) -> str:
    """``message`` in the user's language, its ``{name}`` fields filled in when any are given."""
    text = _catalogue(language()).gettext(message) if message else message
    return text.format(**fields) if fields else text
