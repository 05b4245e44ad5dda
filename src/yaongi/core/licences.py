"""What a model's licence asks of those who build on it, in a sentence or two to show a person.

A reminder, no legal advice: the texts named here are what counts. Shown where somebody takes a
foreign model in, extends it, or passes it on.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from yaongi.core.i18n import translate

UNSTATED = "not stated"
LEGAL = re.compile(r"(?i)(licen[cs]e|notice|use[_-]?policy|copying).*")
"""Files that a licence usually asks to pass on with the model."""


def terms(licence: str) -> list[str]:
    """The duties of a licence, by its name as model cards write it; empty for permissive ones."""
    name = licence.lower()
    found = [text for pattern, text in _known() if re.search(pattern, name)]
    if found or is_permissive(name):
        return found
    return [_unknown(licence)]


def is_known(licence: str) -> bool:
    """Whether ``terms`` knows what a model's licence of this name asks."""
    name = licence.lower()
    return is_permissive(name) or any(re.search(pattern, name) for pattern, _ in _known())


def is_permissive(licence: str) -> bool:
    """Whether what is made from the model may be under any licence."""
    return bool(re.search(_PERMISSIVE, licence.lower()))


_PERMISSIVE = r"^(apache-2\.0|mit|bsd.*|isc|unlicense|cc0.*|cc-by-[234]\.0|odc-by|zlib|bsl-1\.0)$"


def _unknown(licence: str) -> str:
    if licence == UNSTATED:
        return translate("Ask the model's authors before you pass it on.")
    return translate("Read its terms before you pass the model on.")


def _known() -> list[tuple[str, str]]:
    """(pattern of the name, what to tell); translated when asked, so in the language of then."""
    return [
        (
            r"llama",
            translate(
                "Llama licence: show “Built with Llama”, pass on the licence and its NOTICE, and "
                "keep to its acceptable use policy; above 700 million monthly users it needs "
                "Meta's consent."
            ),
        ),
        (
            r"llama[ -]?(3|4)",
            translate("Llama licence: a model made from it has a name that begins with “Llama”."),
        ),
        (
            r"gemma",
            translate(
                "Gemma terms: pass on the terms and the prohibited use policy, and say that you "
                "changed the files."
            ),
        ),
        (
            r"exaone",
            translate("EXAONE licence: a model made from it has a name that begins with “EXAONE”."),
        ),
        (
            r"-nc\b|non-?commercial|research|exaone|mnpl|\bmrl\b",
            translate("Not for commercial use: neither this model nor what is made from it."),
        ),
        (
            r"-nd\b",
            translate("No derivatives: what you make from it must not be passed on."),
        ),
        (
            r"-sa\b|^a?gpl|^lgpl",
            translate("Share alike: pass on what is made from it under the same licence only."),
        ),
    ]


def legal_files(folder: Path) -> list[Path]:
    """Licence, notice and use policy files of a folder."""
    return sorted(p for p in folder.iterdir() if p.is_file() and LEGAL.fullmatch(p.name))


def copy_legal(source: Path, out: Path) -> None:
    """Pass on the ``legal_files`` of a model with what is made from it."""
    for path in legal_files(source):
        shutil.copyfile(path, out / path.name)
