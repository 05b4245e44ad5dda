"""A corpus from sources: what is kept, held out, counted and refused."""

import io
import json
import re

import numpy as np
import pytest
import zstandard
from datatrove.data import Document

from yaongi.core.artifact import open_artifact, trace
from yaongi.core.config import parse
from yaongi.core.errors import ArtifactError, ConfigError, DataError
from yaongi.core.seeds import Seed
from yaongi.data.corpus import (
    CorpusConfig,
    build_corpus,
    domains_of,
    read_corpus,
    sample_texts,
)
from yaongi.data.dedup.exact import DUPLICATE, TRAIN, VAL, Held, assign, digest
from yaongi.data.sources import Source
from yaongi.data.wording import said


def rows(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = ({"text": v} if isinstance(v, str) else v for v in values)
    path.write_text("".join(json.dumps(v) + "\n" for v in values), "utf-8")


def build(folder, sources, out="corpus", seed=0, **settings):
    cfg = parse(CorpusConfig, {"root": str(folder), "sources": sources, **settings})
    return build_corpus(cfg, folder / out, Seed(seed))


def texts(corpus, split, domain=None):
    return [d.text for d in read_corpus(corpus, split, domain)]


@pytest.fixture
def folder(tmp_path):
    rows(tmp_path / "ko.jsonl", [f"한국어 문서 {i}" for i in range(300)])
    rows(tmp_path / "en.jsonl", [f"English document {i}" for i in range(100)])
    return tmp_path


BOTH = [
    {"path": "ko.jsonl", "domain": "ko", "licence": "CC0-1.0"},
    {"path": "en.jsonl", "domain": "en", "licence": "MIT"},
]


def test_every_document_is_in_one_split_with_its_labels(folder):
    corpus = build(folder, BOTH, val_fraction=0.1)
    train, val = texts(corpus, "train"), texts(corpus, "val")
    everything = {f"한국어 문서 {i}" for i in range(300)}
    assert set(train) | set(val) == everything | {f"English document {i}" for i in range(100)}
    assert not set(train) & set(val) and len(train) + len(val) == 400
    assert 10 <= len(texts(corpus, "val", "ko")) <= 55
    document = next(read_corpus(corpus, "train", "en"))
    assert document.metadata == {
        "form": "text", "domain": "en", "source": "en.jsonl", "licence": "MIT",
    }  # fmt: skip
    assert document.id == "en.jsonl:1"


def test_licences_and_sources_are_in_the_ancestry(folder):
    corpus = build(folder, BOTH)
    assert corpus.manifest.licences == ["CC0-1.0", "MIT"]
    found = [(a.kind, a.path, a.licences) for _, a in trace(corpus.path)]
    assert ("source", "ko.jsonl", ["CC0-1.0"]) in found


def test_the_same_seed_gives_the_same_corpus(folder):
    first, second = build(folder, BOTH, "a"), build(folder, BOTH, "b")
    assert first.hash == second.hash
    other = build(folder, BOTH, "c", seed=1, val_fraction=0.1)
    assert texts(other, "val") != texts(build(folder, BOTH, "d", val_fraction=0.1), "val")


def test_an_unchanged_corpus_is_not_made_again(folder):
    corpus = build(folder, BOTH)
    made = corpus.manifest.created, (corpus.path / "manifest.json").stat().st_mtime_ns
    again = build(folder, BOTH)
    assert (again.manifest.created, (again.path / "manifest.json").stat().st_mtime_ns) == made
    with pytest.raises(ArtifactError, match="different settings"):
        build(folder, BOTH, min_chars=5)
    rows(folder / "ko.jsonl", ["바뀐 파일", "둘"])
    with pytest.raises(ArtifactError, match=r"ko\.jsonl has changed"):
        build(folder, BOTH)


def test_held_out_documents_stay_held_out_when_sources_grow(folder):
    before = set(texts(build(folder, BOTH, "a", val_fraction=0.1), "val"))
    rows(folder / "more.jsonl", [f"새 문서 {i}" for i in range(500)])
    more = [*BOTH, {"path": "more.jsonl", "domain": "ko"}]
    grown = build(folder, more, "b", val_fraction=0.1)
    assert before <= set(texts(grown, "val"))


def test_copies_are_dropped_whatever_their_spacing_and_composition(tmp_path):
    nfd = "\u1100\u1161\u11a8"  # 각, decomposed
    rows(tmp_path / "a.jsonl", ["각 나", "가나", f"{nfd}나", "가 나\n", "다", "라"])
    corpus = build(tmp_path, [{"path": "a.jsonl"}])
    kept = texts(corpus, "train") + texts(corpus, "val")
    assert sorted(kept) == sorted(["각 나", "가나", "다", "라"])
    assert corpus.manifest.counts["duplicates"] == 2
    assert corpus.manifest.counts["sources"]["a.jsonl"]["duplicates"] == 2


def test_held_out_text_is_nowhere_in_training(tmp_path):
    """The same contents as text, as conversation, and in another domain."""
    qa = [(f"{i}에 3을 더하면?", f"{i + 3}입니다.") for i in range(400)]
    rows(tmp_path / "text.jsonl", [f"{q}\n{a}" for q, a in qa])
    rows(tmp_path / "chat.jsonl", [{"question": q, "answer": a} for q, a in qa])
    rows(tmp_path / "few.jsonl", [f"{q} {a}" for q, a in qa[:50]] + ["홀로"])
    sources = [
        {"path": "text.jsonl", "domain": "ko"},
        {"path": "chat.jsonl", "domain": "chat-ko"},
        {"path": "few.jsonl", "domain": "math"},
    ]
    corpus = build(tmp_path, sources, val_fraction=0.2)
    counts = corpus.manifest.counts
    assert counts["duplicates"] == 50  # the same form again
    assert counts["domains"]["chat-ko"]["train"]["forms"] == {
        "chat": counts["domains"]["chat-ko"]["train"]["documents"]
    }
    train, val = ({"".join(t.split()) for t in texts(corpus, s)} for s in ("train", "val"))
    assert not train & val
    assert len(texts(corpus, "val", "ko")) == len(texts(corpus, "val", "chat-ko")) > 40


def test_a_small_domain_still_has_validation_and_a_large_one_is_capped(folder):
    corpus = build(folder, BOTH, val_fraction=0.001, val_docs=5)
    assert len(texts(corpus, "val", "en")) == 1
    assert len(texts(build(folder, BOTH, "b", val_fraction=0.2, val_docs=5), "val", "ko")) == 5
    nothing = build(folder, BOTH, "c", val_fraction=0)
    assert domains_of(nothing, "val") == []
    assert any("held out" in said(w) for w in nothing.manifest.counts["warnings"])
    with pytest.raises(DataError, match="no val documents of the domain 'ko'"):
        texts(nothing, "val", "ko")


def test_broken_rows_are_counted_and_kept(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "가나다"}\nbroken\n{"text": ""}\n{"text": "라"}\n{"text": "마바"}\n')
    corpus = build(tmp_path, [{"path": "a.jsonl", "licence": "MIT"}], min_chars=2)
    counts = corpus.manifest.counts
    assert counts["broken"] == {"not JSON": 1, "text is empty": 1, "too short": 1}
    source = counts["sources"]["a.jsonl"]
    assert source["rows"] == 5 and source["documents"] == {"text": 2}
    assert "3 of 5 rows" in said(counts["warnings"][0])
    data = (corpus.path / "rejected.jsonl.zst").read_bytes()
    kept = [
        json.loads(x)
        for x in zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)).readall().splitlines()
    ]
    assert [(r["source"], r["line"], r["reason"], r["row"]) for r in kept] == [
        ("a.jsonl", 2, "not JSON", "broken"),
        ("a.jsonl", 3, "text is empty", '{"text": ""}'),
        ("a.jsonl", 4, "too short", "라"),
    ]


def test_a_domain_is_named_after_what_the_rows_are(tmp_path):
    rows(tmp_path / "t.jsonl", ["글 하나", "글 둘"])
    rows(tmp_path / "c.jsonl", [{"question": f"{i}?", "answer": "네."} for i in range(3)])
    rows(
        tmp_path / "p.jsonl",
        [{"prompt": "?", "chosen": "네", "rejected": f"{i}"} for i in range(3)],
    )
    corpus = build(tmp_path, ["t.jsonl", "c.jsonl", "p.jsonl"])
    assert domains_of(corpus, "train") == ["chat", "preference", "text"]
    document = next(read_corpus(corpus, "train", "preference"))
    assert {"prompt", "chosen", "rejected"} <= set(document.metadata)
    mapped = build(tmp_path, [{"path": "p.jsonl", "domain": "pref-ko"}], "mapped")
    assert domains_of(mapped, "train") == ["pref-ko"]


@pytest.mark.parametrize(
    ("content", "message"),
    [("", r"a\.jsonl has no rows"), ("x\ny\n", r"No document of a\.jsonl.*2 not JSON")],
)
def test_nothing_usable_is_an_error_and_leaves_nothing(tmp_path, content, message):
    (tmp_path / "a.jsonl").write_text(content)
    with pytest.raises(DataError, match=message) as error:
        build(tmp_path, ["a.jsonl"])
    assert error.value.exit_code == 2
    assert [p.name for p in tmp_path.iterdir()] == ["a.jsonl"]


def test_settings_are_checked():
    for wrong in ({"sources": []}, {"sources": ["a"], "val_fraction": 0.9}):
        with pytest.raises(ConfigError):
            parse(CorpusConfig, wrong)


def test_a_source_that_is_there_twice_is_refused(folder):
    for twice in (["ko.jsonl", {"path": "ko.jsonl", "domain": "again"}], ["en.jsonl"] * 2):
        with pytest.raises(ConfigError, match=r"data|the source (ko|en)\.jsonl is there twice"):
            build(folder, twice)
    two_readings = [{"path": "ko.jsonl", "fields": {"text": "text"}}, "ko.jsonl"]
    assert build(folder, two_readings, "two").manifest.counts["duplicates"] == 300
    overlap = build(folder, ["ko.jsonl", "*.jsonl"], "overlap")
    assert [*map(said, overlap.manifest.counts["warnings"])] == [
        "ko.jsonl belongs to two sources: ko.jsonl and *.jsonl"
    ]


def test_an_open_corpus_admits_no_other_licences(folder):
    sources = [
        {"path": "missing.jsonl", "licence": "CC BY-NC 4.0"},
        {"path": "ko.jsonl"},
        {"path": "en.jsonl", "licence": "MIT"},
    ]
    with pytest.raises(ConfigError) as error:  # before anything is read: a file is missing
        build(folder, sources, open=True)
    lines = str(error.value).splitlines()
    assert [line.split(":")[0] for line in lines[1:]] == ["- missing.jsonl", "- ko.jsonl"]
    assert "ommercial" in lines[1] and "open: true" in lines[0]
    corpus = build(folder, sources[2:], open=True)
    assert corpus.manifest.config["open"] is True


def test_progress_only_moves_forward(folder, monkeypatch):
    for module in ("cleaning.read", "splitting"):
        monkeypatch.setattr(f"yaongi.data.{module}.NOTE_EVERY", 20)
    seen = []
    cfg = parse(CorpusConfig, {"root": str(folder), "sources": BOTH})
    build_corpus(
        cfg, folder / "corpus", Seed(0), on_progress=lambda f, note: seen.append((f, note))
    )
    fractions = [f for f, _ in seen]
    assert fractions == sorted(fractions) and 0.9 < fractions[-1] <= 1
    assert len(set(fractions)) > 10
    assert {"ko.jsonl", "en.jsonl"} <= {note for _, note in seen}


def test_a_sample_has_the_shares_asked_for_and_is_spread(folder):
    corpus = build(folder, BOTH)
    sample = list(sample_texts(corpus, {"ko": 0.5, "en": 0.5}, 1600))
    sizes = {"한": 0, "E": 0}
    for text in sample:
        sizes[text[0]] += len(text.encode())
    assert sizes["한"] == pytest.approx(800, abs=30) and sizes["E"] == pytest.approx(800, abs=30)
    numbers = [int(t.split()[-1]) for t in sample if t[0] == "한"]
    assert min(numbers) < 30 and max(numbers) > 270
    assert sum(t[0] == "E" for t in sample_texts(corpus, {"en": 1}, 10**9)) == len(
        texts(corpus, "train", "en")
    )


def test_assign_is_exact_on_a_known_case():
    same, seed = [digest(t, Seed(0)) for t in ("가 나", "가나", "다", "가나")], Seed(0)
    assert same[0] == same[1] != same[2] and digest("다", Seed(1)) != digest("다", seed)
    pairs = np.frombuffer(b"".join(same), "<u8").reshape(-1, 2)
    sides = assign(pairs, np.array([0, 0, 0, 1]), np.array([0, 0, 0, 1]), np.zeros(4), Held(0.5, 1))
    assert sides[1] == DUPLICATE and sides[0] == sides[3]
    assert sorted([sides[0], sides[2]]) == [TRAIN, VAL]


def test_real_files_have_the_duplicates_their_catalogue_says(yaongi_data, tmp_path):
    cfg = parse(
        CorpusConfig,
        {"root": str(yaongi_data), "sources": ["train/math_kor_mwp_train.jsonl.zst"]},
    )
    counts = build_corpus(cfg, tmp_path / "corpus", Seed(0)).manifest.counts
    assert (counts["documents"], counts["duplicates"], counts["broken"]) == (2892, 108, {})
    assert open_artifact(tmp_path / "corpus").manifest.kind == "corpus"


class Labelled(Source):
    """A source that says of each document which split it is for."""

    kind: str = "labelled"

    def read(self, reading):
        for i in range(30):
            split = "val" if i < 3 else "train"
            yield Document(text=f"글 {i}번", id=str(i), metadata={"split": split})


def test_a_source_may_say_what_is_held_out(tmp_path):
    cfg = CorpusConfig(sources=[Labelled()], val_fraction=0.4)
    corpus = build_corpus(cfg, tmp_path / "corpus", Seed(0))
    assert {d.text for d in read_corpus(corpus, "val")} == {"글 0번", "글 1번", "글 2번"}


def test_files_in_another_encoding_are_counted_and_how_to_convert_them_is_said(tmp_path):
    """As files: a long text is read in pieces, each of which is broken."""
    (tmp_path / "t").mkdir()
    long = "완성형 한글로 적은 긴 문서입니다.\n\n" * 5000
    (tmp_path / "t" / "long.txt").write_bytes(long.encode("cp949"))
    (tmp_path / "t" / "wide.txt").write_bytes("유니코드".encode("utf-16"))
    how = "2 files are not UTF-8, e.g. t/long.txt: convert them with iconv -f CP949 -t UTF-8"
    with pytest.raises(DataError, match=re.escape(how)) as caught:
        build(tmp_path, ["t"])
    assert "-f UTF-16" in str(caught.value) and ": 2 files" in str(caught.value)
    (tmp_path / "t" / "new.txt").write_text("새 문서", "utf-8")
    warnings = build(tmp_path, ["t"]).manifest.counts["warnings"]
    assert any(how in said(w) for w in warnings)
