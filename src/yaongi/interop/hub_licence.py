"""What an artifact was made from, under which licences, and whether it may be shown to everybody.

A reader of names, no lawyer: what it does not know it does not let through. docs/licences.md tells
what the licences ask.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from yaongi.core.artifact import Ancestor, Artifact
from yaongi.core.i18n import translate
from yaongi.core.licences import UNSTATED, is_known, is_permissive, terms
from yaongi.data.licences import against, judge


@dataclass(frozen=True)
class Origin:
    """Something that others made and an artifact holds or learnt from: the end of its ancestry.

    Attributes:
        role: ``data``, ``model`` or ``tokenizer``.
        name: as the manifest names it; a folder of this machine by its last name only.
        uri: where it was downloaded from, with the commit.
    """

    role: str
    name: str
    licences: tuple[str, ...]
    uri: str | None

    @property
    def hub_id(self) -> str | None:
        """``owner/name`` where it came from the Hub."""
        place = self.uri or (self.name if self.name.startswith("hf:") else "")
        found = re.match(r"hf:(?://)?(?:datasets/)?([\w-][\w.-]*/[\w.-]+)", place)
        return found[1] if found else None


def origins(artifact: Artifact) -> list[Origin]:
    """The ends of the ancestry, each once, in the order a trace shows them."""
    found: dict[tuple[str, str], Origin] = {}
    for node in artifact.as_ancestor().walk():
        if not node.parents:
            found.setdefault(node.identity, _origin(node))
    return list(found.values())


def _origin(node: Ancestor) -> Origin:
    role = "data" if node.kind in _DATA else "tokenizer" if node.kind == "tokenizer" else "model"
    if (node.origin or "").startswith("hf://datasets/"):
        role = "data"
    name = node.path if node.kind == "source" else Path(node.path).name
    if Path(name).is_absolute():
        name = Path(name).name
    return Origin(role, name, tuple(node.licences), node.origin)


_DATA = ("source", "corpus", "shards", "pairs", "answers")


def objections(found: Sequence[Origin], licence: str | None) -> list[str]:
    """Why what was made from ``found`` may not be public under ``licence``, a line per origin.

    Args:
        licence: what people may use the result under; None for a data set, which keeps its own.
    """
    lines = []
    for origin in found:
        stated = origin.licences or (UNSTATED,)
        reasons = [
            f"[{name}] {reason}"
            for name in stated
            if (reason := _objection(origin.role, name, licence))
        ]
        if reasons:
            lines.append(f"{origin.uri or origin.name}: {' '.join(reasons)}")
    return lines


def _objection(role: str, stated: str, licence: str | None) -> str | None:
    same = (licence or "").lower() == stated.lower()
    if role == "model" and is_known(stated):
        if re.search(r"-nd\b", stated.lower()):
            return " ".join(terms(stated))
        if is_permissive(stated) or same:
            return None
        return translate(
            "{terms} Only --licence {name} keeps to that.",
            terms=" ".join(terms(stated)),
            name=stated,
        )
    things = [
        thing for thing in against(stated) if not (thing == "non-commercial" and _nc(licence))
    ]
    return judge(stated).reason if things else None


def _nc(licence: str | None) -> bool:
    return bool(re.search(r"-nc\b|non-?commercial", (licence or "").lower()))


def base_licence(found: Sequence[Origin]) -> str | None:
    """The licence that the one model under it has, which what is made from it keeps by itself."""
    models = {name for origin in found if origin.role == "model" for name in origin.licences}
    models.discard(UNSTATED)
    return models.pop().lower() if len(models) == 1 else None


def hub_names(licences: Sequence[str]) -> list[str]:
    """Licences as the metadata of a data set names them; ``other`` for what it has no name for."""
    found = list(dict.fromkeys(name for licence in licences for name in _hub_names(licence)))
    return sorted(found, key=lambda name: name == "other")


def _hub_names(licence: str) -> Iterator[str]:
    text = re.sub(r"[\s_]+", "-", licence.lower())
    names = [
        (name + (f"-{match[1]}" if match.groups() else ""))
        for pattern, name in _NAMES
        if (match := re.search(pattern, text))
    ]
    yield from names or ["other"]


_VERSION = r"-?v?([1-4]\.\d)"
_NAMES = [
    (r"cc-?0|cc-zero", "cc0-1.0"),
    (rf"by-sa{_VERSION}", "cc-by-sa"),
    (rf"by-nc-sa{_VERSION}", "cc-by-nc-sa"),
    (rf"by-nc{_VERSION}", "cc-by-nc"),
    (rf"by-nd{_VERSION}", "cc-by-nd"),
    (rf"(?<!odc-)(?<!-sa-)\bby{_VERSION}", "cc-by"),
    (r"\bby-sa\b(?!-?v?[1-4]\.)", "cc"),  # a version nobody wrote
    (r"\bapache-?(?:license-?)?2", "apache-2.0"),
    (r"\bmit\b", "mit"),
    (r"\bbsd-3", "bsd-3-clause"),
    (r"\bbsd-2", "bsd-2-clause"),
    (r"\bmpl-2", "mpl-2.0"),
    (r"(?<![al])gpl-?v?3", "gpl-3.0"),
    (r"(?<![al])gpl-?v?2", "gpl-2.0"),
    (r"\bgfdl", "gfdl"),
    (r"\bodc-?by", "odc-by"),
    (r"\bodbl", "odbl"),
    (r"\bpddl", "pddl"),
]
"""How people write it -> the Hub's name; a group is the version."""
