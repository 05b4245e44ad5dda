"""Near copies and repeated passages in a corpus: the funnel, the examples, the two sides."""

import io
import json

import pytest
import zstandard
from datatrove.data import Document
from dedup_text import article

from yaongi.core.config import parse
from yaongi.core.errors import ConfigError, WorkerError
from yaongi.core.seeds import Seed
from yaongi.data.corpus import CorpusConfig, build_corpus, read_corpus
from yaongi.data.dedup import stage
from yaongi.data.sources import Source
from yaongi.data.sources.files import FilesSource

QUOTED = article("quoted", 9)
BOTH = {"near": {}, "substring": {}}


def write(path, texts):
    rows = ({"text": text} if isinstance(text, str) else text for text in texts)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def copy(i):
    return article(i, 30).replace("발표했다", "말했다").replace(" ", "") + " 홍길동 기자"


@pytest.fixture
def folder(tmp_path):
    """40 articles; copies of four, one of them exact; two with the same quotation."""
    write(tmp_path / "a.jsonl", [article(i, 30) for i in range(40)])
    more = [copy(0), copy(1), copy(2), article(3, 30), f"{article('x')}\n{QUOTED}"]
    more += [f"{article('y')}\n{QUOTED}", f"퍼옴\n{QUOTED}"]
    chat = {"question": copy(5), "answer": QUOTED}
    write(tmp_path / "b.jsonl", [*more, chat])
    return tmp_path


def build(folder, out="corpus", **settings):
    cfg = parse(
        CorpusConfig,
        {"root": str(folder), "sources": ["a.jsonl", "b.jsonl"], "val_fraction": 0, **settings},
    )
    return build_corpus(cfg, folder / out, Seed(0))


def texts(corpus, split="train"):
    return [d.text for d in read_corpus(corpus, split)]


def steps(corpus):
    return {step["step"]: step for step in corpus.manifest.counts["steps"]}


def test_the_funnel_the_texts_and_the_counts_agree(folder):
    corpus = build(folder, dedup=BOTH)
    found = steps(corpus)
    assert list(found) == ["read", "duplicates", "near duplicates", "repeated passages", "split"]
    assert [step["documents"] for step in found.values()] == [48, 47, 44, 43, 43]
    assert found["duplicates"]["dropped"] == {"copy": 1}
    assert found["near duplicates"]["dropped"] == {"near copy": 3}
    assert found["repeated passages"]["dropped"] == {"repeated elsewhere": 1}
    assert found["repeated passages"]["changed"] == {"repeated sentence": 9}
    written = texts(corpus)
    assert len(written) == 43
    assert sum(len(text.encode()) for text in written) == found["split"]["bytes"]
    assert article("y") in written
    assert f"{article('x')}\n{QUOTED}" in written
    assert f"{copy(5)}\n\n{QUOTED}" in written  # conversations are left alone
    assert corpus.manifest.counts["duplicates"] == 5
    for i, step in enumerate(found.values()):
        parts = [source["steps"][i] for source in corpus.manifest.counts["sources"].values()]
        assert sum(part["documents"] for part in parts) == step["documents"]
        assert sum(part["bytes"] for part in parts) == step["bytes"]


class HeldOut(Source):
    """Says of its documents that they are held out."""

    kind: str = "held-out"

    def read(self, reading):
        for i, text in enumerate([*map(copy, range(3)), f"{article('v')}\n{QUOTED}"]):
            yield Document(text=text, id=str(i), metadata={"split": "val"})


def test_nothing_like_a_held_out_document_is_left_in_train(folder):
    write(folder / "b.jsonl", [f"{article('t')}\n{QUOTED}"])
    files = [FilesSource(path=f"{name}.jsonl", domain="text") for name in "ab"]
    settings = {"sources": [*files, HeldOut(domain="text")], "dedup": BOTH, "val_fraction": 0}
    cfg = CorpusConfig.model_validate({"root": str(folder), **settings})
    corpus = build_corpus(cfg, folder / "corpus", Seed(0))
    assert texts(corpus, "val") == [*map(copy, range(3)), f"{article('v')}\n{QUOTED}"]
    assert texts(corpus) == [*(article(i, 30) for i in range(3, 40)), article("t")]
    assert steps(corpus)["near duplicates"]["dropped"] == {"near copy of a held-out one": 3}


def test_examples_show_pairs_and_what_was_taken_out(folder):
    corpus = build(folder, dedup=BOTH, keep_rejected=True)
    rows = [json.loads(x) for x in (corpus.path / "examples.jsonl").read_text("utf-8").splitlines()]
    near = {row["text"]: row["like"] for row in rows if row["step"] == "near duplicates"}
    assert near == {copy(i)[:600]: article(i, 30)[:600] for i in range(3)}
    cut = [row for row in rows if row["step"] == "repeated passages"]
    assert {row["reason"] for row in cut} == {"repeated sentence", "repeated elsewhere"}
    assert all(row["text"].split() == QUOTED.split() for row in cut)
    stream = io.BytesIO((corpus.path / "rejected.jsonl.zst").read_bytes())
    lines = zstandard.ZstdDecompressor().stream_reader(stream).readall().splitlines()
    dropped = [(row["step"], row["reason"], row["line"]) for row in map(json.loads, lines)]
    assert dropped == [
        *(("near duplicates", "near copy", line) for line in (1, 2, 3)),
        ("duplicates", "copy", 4),
        ("repeated passages", "repeated elsewhere", 7),
    ]


def test_workers_make_no_difference_and_neither_does_an_interruption(folder, monkeypatch):
    expected = build(folder, dedup=BOTH)
    one = build(folder, "two", dedup=BOTH, executor={"kind": "local", "workers": 2})
    assert one.manifest.counts == expected.manifest.counts
    assert texts(one) == texts(expected)

    def killed(*_):
        raise WorkerError("killed")

    with monkeypatch.context() as patch, pytest.raises(WorkerError):
        patch.setattr(stage._Remove, "run", killed)
        build(folder, "three", dedup=BOTH)
    again = build(folder, "three", dedup=BOTH)
    assert again.manifest.counts == expected.manifest.counts
    assert texts(again) == texts(expected)


@pytest.mark.parametrize("only", ["near", "substring"])
def test_each_alone(folder, only):
    found = steps(build(folder, dedup={only: {}}))
    assert set(found) - {"read", "duplicates", "split"} == {
        {"near": "near duplicates", "substring": "repeated passages"}[only]
    }
    assert found["split"]["documents"] == {"near": 44, "substring": 46}[only]


def test_without_settings_only_copies_go_and_wrong_ones_are_named(folder):
    assert list(steps(build(folder))) == ["read", "duplicates", "split"]
    with pytest.raises(ConfigError, match="similarity"):
        build(folder, "x", dedup={"near": {"similarty": 0.5}})


def test_conversations_alone_are_no_reason_to_search(folder):
    write(folder / "a.jsonl", [{"question": "응?", "answer": "네."}])
    write(folder / "b.jsonl", [{"question": "왜?", "answer": "그냥."}])
    counts = steps(build(folder, dedup=BOTH))
    assert counts["repeated passages"]["documents"] == 2


def test_a_source_of_which_nothing_is_left_is_no_obstacle(folder):
    write(folder / "0.jsonl", ["짧은 글"])
    long_ones = [{"kind": "shape", "min_chars": 100}]
    sources = ["0.jsonl", "a.jsonl", "b.jsonl"]
    with_it = build(folder, "with", dedup=BOTH, filters=long_ones, sources=sources)
    assert texts(with_it) == texts(build(folder, "without", dedup=BOTH, filters=long_ones))
