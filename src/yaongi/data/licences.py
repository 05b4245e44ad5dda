"""Whether texts may go into an open model, from what a recipe or data card calls their licence.

People write ``CC-BY-SA-4.0``, ``MIT (repo); responses GPT-4``, ``공공누리 제1유형``. Names are
looked up in two tables: ``_AGAINST``, of which one entry decides, and ``_OPEN``. A reader of
names, no lawyer; docs/licences.md tells what the licences let one do.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from yaongi.core.errors import nearest
from yaongi.core.i18n import translate


class Verdict(NamedTuple):
    """May the texts go into a run declared open, and why.

    Args:
        open: anybody may use, change and pass them on, also for money (the Open Definition 2.1);
            duties like attribution and share-alike do not stand against it.
        reason: the licences found in it when open, else a sentence on each thing against it.
    """

    open: bool
    reason: str


def judge(licence: str) -> Verdict:
    """What ``licence`` allows.

    Parts stand between ``;``, `` / `` and line breaks, and the strictest one decides; of
    alternatives ("or", "또는") the freest. What stands in brackets counts only where it names a
    licence or something against it.
    """
    names, things, unknown = _weigh(licence)
    reasons = [_reason(thing) for thing in things] or [_no_licence(text) for text in unknown]
    return Verdict(not reasons, " ".join(reasons) or ", ".join(names))


def against(licence: str) -> list[str]:
    """What speaks against ``licence`` being open, as names in ``_AGAINST``, or ``unknown``."""
    _names, things, unknown = _weigh(licence)
    return things or ["unknown"] * bool(unknown)


def _weigh(licence: str) -> tuple[list[str], list[str], list[str]]:
    """The open licences in it, the things against it, and the parts nobody knows."""
    main, remarks = _brackets(_folded(licence))
    found = [_stated(_read(part)) for part in _PARTS.split(main) if part.strip(" .,")]
    found += [remark for remark in map(_read, remarks) if not remark.unknown]
    names = _unique(name for part in found for name in part.names)
    things = _unique(thing for part in found for thing in part.against)
    if _NOBODYS in names:  # a repository that states nothing cannot take it back
        things = [thing for thing in things if thing != _MISSING]
    elif not found:
        things = [_MISSING]
    return names, things, [part.text for part in found if part.unknown]


class _Found(NamedTuple):
    """The open licences named in a part, and what speaks against it."""

    text: str
    names: list[str]
    against: list[str]

    @property
    def unknown(self) -> bool:
        return not self.names and not self.against


def _read(part: str) -> _Found:
    choices = [_read_one(choice) for choice in _OR.split(part)]
    if free := [choice for choice in choices if choice.names and not choice.against]:
        return free[0]
    return _Found(
        " ".join(part.split()).strip(" .,"),
        [name for choice in choices for name in choice.names],
        [thing for choice in choices for thing in choice.against],
    )


def _read_one(text: str) -> _Found:
    return _Found(text, _matching(_OPEN, text), _matching(_AGAINST, text))


def _matching(table: Mapping[str, Iterable[str]], text: str) -> list[str]:
    return [name for name, ways in table.items() if any(re.search(way, text) for way in ways)]


def _stated(part: _Found) -> _Found:
    """``part``; one that only points somewhere else states nothing."""
    vague = part.unknown and re.fullmatch(_VAGUE, part.text)
    return part._replace(against=[_MISSING]) if vague else part


def _folded(text: str) -> str:
    """One spelling of dashes, spaces, full-width and circled characters; lower case."""
    text = unicodedata.normalize("NFKC", text.replace("©", "(c)")).lower()
    text = re.sub(r"\(c\)", "©", re.sub(r"[\u2010-\u2015\u2212_]", "-", text))
    text = re.sub(r"\(\s*((?:제|type|유형)?\s*[0-4]\s*(?:유형)?)\s*\)", r" \1 ", text)
    return re.sub(r"[^\S\n]+", " ", text)


def _brackets(text: str) -> tuple[str, list[str]]:
    """The text without its brackets, and what stood in them, innermost first."""
    remarks: list[str] = []
    innermost = re.compile(r"\(([^()]*)\)|\[([^\[\]]*)\]")
    while inner := innermost.search(text):
        remarks.append(inner[1] if inner[1] is not None else inner[2])
        text = text[: inner.start()] + " " + text[inner.end() :]
    return text, remarks


def _unique(things: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(things))


_PARTS = re.compile(r"\s*(?:;|\n| / )\s*")
_OR = re.compile(r"\s+(?:or|또는|혹은)\s+(?!later|newer|any later)")
_NOBODYS = "public domain"
_MISSING = "missing"

_KOGL = r"((공공누리|\bkogl)\W*(제|type|유형)?\W*{0}(?![.\d])|\b제? ?{0} ?유형|\btype[- ]?{0}\b)"
"""공공누리, the Korea Open Government License: 2 is non-commercial, 3 unchanged only, 4 both."""

_AGAINST = {
    "non-commercial": (
        r"\b(by-?)?nc(-?(nd|sa))?\b",
        r"non-? ?commercial|no commercial",
        r"\bresearch[ -]((use|purposes?)[ -])?only|research licen[cs]e|academic (use|licen[cs]e)",
        r"[비非] ?(영리|상업)|영리 ?(목적 ?)?(이용|사용)?을? ?(금지|불가)",
        r"상업[적용]? ?(목적|이용|사용|용도)?[은을의]? ?(이용|사용)?[은을]? ?(금지|불가|제한)",
        r"연구 ?목적|연구용",
        _KOGL.format("[24]"),
        r"나무 ?위키|namu ?(wiki|mark)",
    ),
    "no-derivatives": (
        r"\b(by-?)?(nc-?)?nd\b",
        r"no-? ?deriv",
        r"변경 ?금지|2차 ?적? ?저작물?.{0,6}금지",
        _KOGL.format("[34]"),
    ),
    "agreement": (
        r"\bai[- ]?hub|ai ?허브",
        r"모두의 ?말뭉치|\bmodu\b|\bnikl\b|corpus\.korean\.go\.kr",
        r"이용 ?(약정|협약|신청|허가)|약정서",
        r"data use agreement|\bdua\b|\bldc\b|on request|\bgated\b",
    ),
    "provider": (
        r"\bgpt-?[345](?!\d)|\bchat-?gpt|\bopen-?ai\b|davinci",
        r"\bclaude\b|anthropic|\bgemini\b|\bgrok\b",
    ),
    "reserved": (
        r"all rights reserved|their (respective )?(owner|author|publisher)|proprietary",
        r"\bunlicensed\b|무단 ?(전재|복제|배포)",
    ),
    _MISSING: (
        r"\bno\b.{0,12}\blicen[cs]e|licen[cs]e.{0,3}(missing|unknown|unclear)",
        r"\bstates? none|\bnone stated|\bnot (stated|specified)|\bunstated|\bunspecified",
        r"라이선스.{0,4}(없|미정|미상)|명시.{0,6}(않|안 ?함|없)|미 ?명시",
    ),
}
"""What speaks against it, and how people write that."""

_VAGUE = (
    r"none|unknown|other|n/a|null|no|-+|\?+|tbd|todo|없음|미상|불명|모름|기타"
    r"|((please )?(see|check|cf\.?)|per|as on|as in) .*|.*(참고|참조|문의)"
)
"""A part like this, without a name, states nothing."""

_OPEN = {
    _NOBODYS: (
        r"public[ -]?domain|\bcc-?pdm|not protected|copyright (has )?expired|\bart(icle|\.)? ?7\b",
        r"퍼블릭 ?도메인|비보호|저작권[이의]? ?(만료|소멸)|저작권법 ?제? ?7 ?조",
    ),
    "public works": (
        r"government works?|public (political )?(works?|speech(es)?)\b|\bart(icle|\.)? ?24\b",
        r"공공 ?저작물|정치적 연설",
    ),
    "CC0": (r"\bcc-?0|\bcc[ -]zero",),
    "CC BY-SA": (
        r"\b(cc[ -]?)?by[ -]?sa\b|\bcc[ -]sa\b|share-? ?alike",
        r"저작자 ?표시.{0,3}동일 ?조건",
    ),
    "CC BY": (
        r"\bcc[ -]?by\b(?!-[a-z]| (nc|nd|sa)\b)",
        r"commons attribution(?![ -]?(share|non|no))",
        r"저작자 ?표시(?!.{0,3}(동일|비영리|변경))",
    ),
    "공공누리 1": (_KOGL.format("[01]"), r"공공누리.{0,3}출처 ?표시"),
    "ODC-BY": (r"\bodc[ -]?by|open data commons attribution",),
    "ODbL": (r"\bodbl|open database licen[cs]e",),
    "PDDL": (r"\bpddl",),
    "CDLA": (r"\bcdla",),
    "OGL": (r"\bogl\b|(?<!korea )open government licen[cs]e",),
    "MIT": (r"\bmit\b",),
    "Apache": (r"(?<!solar-)\bapache\b",),  # Upstage's own text borrows the name
    "BSD": (r"\b0?bsd\b",),
    "ISC": (r"\bisc\b",),
    "zlib": (r"\bzlib\b",),
    "Boost": (r"\bbsl-1|\bboost\b",),
    "Unlicense": (r"\bunlicense\b",),
    "GPL": (r"\b[al]?gpl|general public licen[cs]e|\bcopyleft",),
    "GFDL": (r"\bg?fdl\b|free documentation licen[cs]e",),
    "MPL": (r"\bmpl\b|mozilla public",),
    "EPL": (r"\beu?pl\b|eclipse public|european union public",),
    "PSF": (r"\bpsf\b|python software foundation",),
    "OFL": (r"\bofl\b|open font licen[cs]e",),
    "Artistic": (r"\bartistic\b",),
}
"""Open licences, and how people write them."""

_WELL_WRITTEN = (
    *("CC0-1.0", "CC-BY-4.0", "CC-BY-SA-4.0", "CC-BY-NC-4.0", "CC-BY-ND-4.0", "ODC-By-1.0"),
    *("MIT", "Apache-2.0", "BSD-3-Clause", "GPL-3.0-or-later", "MPL-2.0", "PSF-2.0"),
    "공공누리 제1유형",
)
"""What a typing error is compared with."""


def _reason(thing: str) -> str:
    """Translated when asked, so in the language of then."""
    return {
        "non-commercial": translate("Not for commercial use."),
        "no-derivatives": translate("No derivatives: cleaned or mixed text is one."),
        "agreement": translate(
            "Bound by an agreement with whoever provides it: what each applicant may do with it "
            "stands there, and passing it on is not part of it."
        ),
        "provider": translate(
            "Written by a model whose provider's terms forbid training a competing model with it."
        ),
        "reserved": translate("Somebody holds the rights and has licensed nothing."),
        _MISSING: translate(
            "No licence is stated, so the right to use it stays with its authors. Look at where "
            "it comes from and write what is stated there, e.g. CC-BY-SA-4.0."
        ),
    }[thing]


def _no_licence(text: str) -> str:
    spelling = {name.lower(): name for name in _WELL_WRITTEN}
    near = nearest(text, spelling)
    return translate(
        "'{text}' is no licence known here. {help}",
        text=text,
        help=translate("Did you mean '{near}'?", near=spelling[near])
        if near
        else translate("Write its SPDX name, e.g. CC-BY-SA-4.0 (spdx.org/licenses)."),
    )
