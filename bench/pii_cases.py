"""Made-up sentences with labelled personal data, for the tests and for ``bench/pii.py``.

Templates stand in ``pii_templates/tune.txt`` (rules may be changed by looking at these) and
``test.txt`` (only measured); values come from ``pii_values.py``.
"""

from __future__ import annotations

import re
import unicodedata
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

import pii_values as values
from pii_disguises import DISGUISES

TEMPLATES = Path(__file__).parent / "pii_templates"
SLOT = re.compile(r"\{(\w+)(?::(\w+))?\}|[◇◆]")  # {kind:disguise}; a digit
KINDS = (
    *("rrn", "phone", "business_no", "corporate_no", "passport", "driver_license"),
    *("card", "account", "email", "ip", "messenger", "address"),
)
Label = tuple[str, int, int]  # kind, start, end


class Case(NamedTuple):
    """A sentence, what is personal in it, and the line it was made from."""

    text: str
    labels: list[Label]
    template: str


class Templates(NamedTuple):
    """A template file: sentences by section, and the places that addresses are made of."""

    lines: dict[str, list[str]]
    places: list[values.Place]


def read_templates(name: str) -> Templates:
    """``tune`` or ``test``."""
    lines: dict[str, list[str]] = {}
    section: list[str] = []
    for line in (TEMPLATES / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        if head := re.fullmatch(r"\[(\w+)\]", line):
            section = lines.setdefault(head[1], [])
        elif line and not line.startswith(";"):
            section.append(line)
    places = [values.Place(*re.split(r" \| ", line)) for line in lines.pop("places")]
    return Templates(lines, places)


def cases(name: str, kind: str, count: int, seed: int = 0) -> Iterator[Case]:
    """``count`` sentences of a section (a kind, or ``none``), its templates in turn."""
    templates = read_templates(name)
    rng = Random(f"{name} {kind} {seed}")
    lines = templates.lines[kind]
    for i in range(count):
        yield fill(lines[i % len(lines)], templates.places, rng)


def fill(template: str, places: Sequence[values.Place], rng: Random) -> Case:
    """A template with values in its slots."""
    text, done = "", 0
    labels: list[Label] = []
    bank, number = values.account(rng)  # one pair a sentence: the number has the form of the bank
    fixed = {"bank": bank, "account": number}
    for found in SLOT.finditer(template):
        text, done = text + template[done : found.start()], found.end()
        slot, disguise = found[1] or found[0], found[2]
        if slot == "address":
            write = values.official_address if disguise == "official" else values.address
            value = write(rng, places)
        else:
            value = fixed.get(slot) or (VALUES[slot](rng) if slot in VALUES else found[0])
        if disguise and disguise != "official":
            value = DISGUISES[disguise](rng, unicodedata.normalize("NFKC", value))
        if slot in KINDS:
            labels.append((slot, len(text), len(text) + len(value)))
        text += value
    return Case(text + template[done:], labels, template)


# --- what stands in slots; the name of a bank and its account are drawn together ----------------

VALUES: dict[str, Callable[[Random], str]] = {
    "rrn": values.rrn,
    "phone": values.phone,
    "business_no": values.business_no,
    "corporate_no": values.corporate_no,
    "passport": values.passport,
    "driver_license": values.driver_license,
    "card": values.card,
    "email": values.email,
    "ip": values.ip,
    "messenger": values.messenger,
    "name": lambda rng: values.pick(rng, values.NAMES),
    "company": lambda rng: values.pick(rng, values.COMPANIES),
    "date": values.any_date,
    "time": lambda rng: f"{rng.randrange(24):02}:{rng.randrange(60):02}",
    "price": lambda rng: f"{rng.randrange(1000, 9999999):,}원",
    "int": lambda rng: str(rng.randrange(1, 1000000)),
    "isbn": values.isbn,
    "ean": values.ean,
    "hash": lambda rng: f"{rng.getrandbits(160):040x}",
    "uuid": lambda rng: str(uuid.UUID(int=rng.getrandbits(128))),
    "ms": lambda rng: str(rng.randrange(1500000000000, 1800000000000)),
    "latlon": lambda rng: f"{rng.uniform(33, 39):.6f}, {rng.uniform(125, 130):.6f}",
    "nl": lambda rng: "\n",
    "tab": lambda rng: "\t",
    "◇": lambda rng: values.digits(rng, 1),
    "◆": lambda rng: rng.choice("123456789"),
}
