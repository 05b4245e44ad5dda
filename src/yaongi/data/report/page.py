"""A report as one HTML page; ``page.html.jinja`` is the page, ``page.css`` its looks.

Texts of a corpus come from anybody. Everything the template prints is escaped and made visible,
no part of it is marked safe by hand, and the page's own policy forbids scripts and any loading.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from yaongi.core.i18n import language, translate
from yaongi.core.units import human_bytes
from yaongi.data.report import Report
from yaongi.data.report.charts import HEIGHT, WIDTH, histograms, stacked
from yaongi.data.report.texts import UNJUDGED
from yaongi.data.report.wording import language_name, script_name, step_note

EXAMPLES = "examples.jsonl"
_OTHER_SCRIPT = "other"


def page(report: Report) -> str:
    """The page, in the user's language. The same corpus gives the same page."""
    measured = report.measured
    spoken = {name: of.languages for name, of in measured.items() if of.languages}
    written = {name: of.scripts for name, of in measured.items()}
    return _environment().get_template("page.html.jinja").render(
        report=report,
        about=report.corpus.manifest,
        language=language(),
        histograms=histograms({name: of.lengths for name, of in measured.items()}),
        spoken=stacked(spoken, [UNJUDGED]),
        written=stacked(written, [_OTHER_SCRIPT]),
        examples=read_examples(report),
    )  # fmt: skip


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=_printable,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        _=translate,
        step_note=step_note,
        language_name=language_name,
        script_name=script_name,
        WIDTH=WIDTH,
        HEIGHT=HEIGHT,
    )
    environment.filters.update(
        size=human_bytes,
        percent=percent,
        count=lambda n: f"{n:,}",
        short=short_count,
        json=lambda value: json.dumps(value, ensure_ascii=False, indent=2),
    )
    return environment


def percent(share: float) -> str:
    """``0.1234`` -> ``12.3%``; what is not nothing is never shown as nothing."""
    if 0 < share < 0.001:
        return "<0.1%"
    if 0.999 < share < 1:
        return ">99.9%"
    return f"{share:.1%}"


def short_count(n: float) -> str:
    """``12000`` -> ``12K``, for the marks of an axis."""
    for unit, size in (("M", 10**6), ("K", 10**3)):
        if n >= size:
            return f"{n / size:g}{unit}"
    return f"{n:g}"


# --- texts of anybody ------------------------------------------------------------------------


def _printable(value: Any) -> Any:
    """What every ``{{ }}`` of the template goes through, before it is escaped (macros are not)."""
    return visible(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def visible(text: str) -> str:
    """``text`` with a sign for each character that HTML forbids or that reorders its neighbours."""
    return _HIDDEN.sub(lambda match: _sign(ord(match[0])), text)


def _sign(point: int) -> str:
    if point < 0x20:
        return chr(0x2400 + point)  # Control Pictures
    return "␡" if point == 0x7F else f"⟨U+{point:04X}⟩"


_NONCHARACTERS = "".join(chr(plane << 16 | low) for plane in range(17) for low in (0xFFFE, 0xFFFF))
_HIDDEN = re.compile(
    f"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufdd0-\ufdef{_NONCHARACTERS}]"
)


# --- examples --------------------------------------------------------------------------------


class Example(NamedTuple):
    """A document as the build noted it; ``chars`` it had, of which ``text`` is the beginning."""

    source: str
    chars: int
    text: str


class Group(NamedTuple):
    """Examples of one reason, or of one domain of what is kept; ``of`` so many documents."""

    name: str
    of: int
    examples: list[Example]


class Examples(NamedTuple):
    """What to show: by step and reason, and by domain."""

    dropped: dict[str, list[Group]]
    kept: list[Group]


def read_examples(report: Report) -> Examples | None:
    """The examples of a corpus, in the order of its steps, frequent reasons first.

    None when it was built before any were kept.
    """
    file = report.corpus.path / EXAMPLES
    if not file.is_file():
        return None
    found: dict[tuple[bool, str, str], list[Example]] = {}
    with file.open(encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            about = row["domain"] if row["kept"] else row["reason"]
            kind = found.setdefault((row["kept"], row["step"], about), [])
            kind.append(Example(row["source"], row["chars"], row["text"]))
    dropped = {
        step.step: [
            Group(reason, times, found[False, step.step, reason])
            for reason, times in sorted(
                {**step.dropped, **step.changed}.items(), key=lambda item: -item[1]
            )
            if (False, step.step, reason) in found
        ]
        for step in report.steps or []
    }
    kept = [
        Group(domain.name, sum(domain.documents.values()), found[True, "", domain.name])
        for domain in report.domains
        if (True, "", domain.name) in found
    ]
    return Examples({step: groups for step, groups in dropped.items() if groups}, kept)
