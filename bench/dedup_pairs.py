"""Labelled pairs for bench/dedup.py: near duplicates made from real text, and look-alikes.

Every near duplicate is a document and a copy changed as copies on the web are; every look-alike
is two documents that only share a frame: the phrases of a template, a header, a long quotation.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

Rng = random.Random


class Pair(NamedTuple):
    """Two texts; ``same`` says whether one is a near copy of the other."""

    kind: str
    same: bool
    a: str
    b: str


_JOSA = {
    "은": "이", "는": "가", "이": "은", "가": "는", "을": "도", "를": "도", "에": "에서",
    "의": "", "로": "로써", "와": "하고", "과": "하고", "도": "까지", "에서": "에서는",
}  # fmt: skip
_WORD_END = re.compile(r"(?<=[가-힣]{2})(에서|[은는이가을를에의로와과도])(?=[ ,.\n])")


def josa(text: str, rng: Rng, share: float = 0.15) -> str:
    """Particles exchanged, as in paraphrase and proofreading."""
    return _WORD_END.sub(lambda m: _JOSA[m[1]] if rng.random() < share else m[1], text)


def spacing(text: str, rng: Rng, share: float = 0.15) -> str:
    """Spaces left out."""
    return re.sub(" ", lambda m: "" if rng.random() < share else " ", text)


def frame(text: str, rng: Rng, share: float = 0.12) -> str:
    """A byline before it and a footer behind it, ``share`` of its length."""
    name = rng.choice(["홍길동", "김영희", "이철수", "박민수"])
    head = f"[서울={rng.choice(['한국일보', '미래경제', '동방뉴스'])}] {name} 기자 = "
    tail = f"\n{name} 기자 {rng.randrange(10**6)}@example.com\n저작권자 ⓒ 무단전재 및 재배포 금지"
    more = "\n[관련기사] " + rng.choice(["날씨", "물가", "선거", "축구", "전시"]) + " 소식 더 보기"
    size = len(head + tail)
    while size < share * len(text):
        tail, size = tail + more, size + len(more)
        more = (
            f"\n- {rng.choice(['오늘의', '이번 주', '지난해'])} {rng.randrange(10**4)}번 기사 보기"
        )
    return head + text + tail


def reorder(text: str, rng: Rng) -> str:
    """One paragraph (or sentence) at another place."""
    mark = "\n\n" if text.count("\n\n") > 2 else "\n" if text.count("\n") > 2 else ". "
    parts = text.split(mark)
    if len(parts) < 3:
        return text
    part = parts.pop(rng.randrange(len(parts)))
    parts.insert(rng.randrange(len(parts) + 1), part)
    return mark.join(parts)


def edit(text: str, rng: Rng, other: str) -> str:
    """One sentence exchanged for one of another document."""
    parts, others = text.split(". "), [s for s in other.split(". ") if s]
    if len(parts) < 4 or not others:
        return text
    parts[rng.randrange(len(parts))] = rng.choice(others)
    return ". ".join(parts)


def cut(text: str, rng: Rng, share: float = 0.15) -> str:
    """The end left out, as a shortened agency report."""
    return text[: int(len(text) * (1 - share))]


def marks(text: str, rng: Rng) -> str:
    """Other quotation marks, dots and line breaks."""
    text = text.replace('"', "“").replace("'", "‘").replace("·", ", ").replace("\n", " ")
    return re.sub(r"\. ", lambda m: rng.choice([".\n", ". ", ".  "]), text)


def wire(text: str, rng: Rng) -> str:
    """A wire copy: shortened, framed, a few particles and spaces changed."""
    return frame(spacing(josa(cut(text, rng, 0.08), rng, 0.05), rng, 0.05), rng, 0.06)


_COPIES: dict[str, Callable[[str, Rng, str], str]] = {
    "josa": lambda t, r, o: josa(t, r),
    "spacing": lambda t, r, o: spacing(t, r),
    "byline and footer": lambda t, r, o: frame(t, r),
    "paragraph moved": lambda t, r, o: reorder(t, r),
    "sentence edited": lambda t, r, o: edit(t, r, o),
    "end cut": lambda t, r, o: cut(t, r),
    "marks and line breaks": lambda t, r, o: marks(t, r),
    "wire copy": lambda t, r, o: wire(t, r),
}


def pairs(texts: dict[str, list[str]], rng: Rng, each: int) -> Iterator[Pair]:
    """``each`` pairs of every kind; ``texts`` are documents by source."""
    prose = [name for name in texts if name in PROSE and len(texts[name]) > 1]
    for kind, change in _COPIES.items():
        for _ in range(each):
            a, other = rng.sample(texts[rng.choice(prose)], 2)
            changed = change(a, rng, other)
            if changed != a:
                yield Pair(kind, True, a, changed)
    for _ in range(each):
        a, b = rng.sample(texts[rng.choice(prose)], 2)
        yield Pair("unrelated", False, a, b)
        name = rng.choice([name for name in FRAMED if len(texts.get(name, [])) > 1])
        yield Pair("one template", False, *rng.sample(texts[name], 2))
        yield Pair("shared boilerplate", False, *_sharing(texts, prose, rng, 0.35))
        yield Pair("shared quotation", False, *_sharing(texts, prose, rng, 0.5))


def _sharing(texts: dict[str, list[str]], prose: list[str], rng: Rng, share: float) -> list[str]:
    """Two documents of which a third one makes up ``share``."""
    a, b = rng.sample(texts[rng.choice(prose)], 2)
    quoted = rng.choice(texts[rng.choice(prose)])
    size = int(min(len(a), len(b), len(quoted) * (1 - share) / share))
    part = quoted[: int(size * share / (1 - share))]
    return [a[:size] + "\n" + part, b[:size] + "\n" + part]


PROSE = ["ko_news_sentences", "ko_petitions", "ko_president_speeches", "chat_ko_rmjudge_reference"]
FRAMED = ["ko_laws", "ko_tldr_pages", "ko_msdocs_cpp", "ko_libreoffice_help", "math_kor_mwp_train"]
