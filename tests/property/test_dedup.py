"""Promises of deduplication about every corpus: what goes has a reason that stays."""

import tempfile
from pathlib import Path

from dedup_text import article, near_copies, stripped
from hypothesis import given, settings
from hypothesis import strategies as st

from yaongi.data.dedup.near import Near
from yaongi.data.dedup.passages import split
from yaongi.data.dedup.shingles import jaccard, syllables
from yaongi.data.dedup.substring import Substring
from yaongi.text.normalize import nfc

PARTS = [article(i, 3) for i in range(6)] + ["", "짧은 문장이다.", "제목", "e\u0301 \ud800", "ㅋㅋ"]


def corpora(text, gaps):
    parts = st.lists(st.sampled_from(PARTS) | text, max_size=5)
    gap = st.sampled_from(gaps)
    document = st.builds(lambda gap, parts: gap.join(parts), gap, parts)
    return st.lists(document, max_size=7)


CORPUS = corpora(st.text(max_size=20), ["\n", " ", "\n\n"])
HELD = st.sets(st.integers(0, 6))
SHARDS = st.integers(1, 4)


def contents(text):
    found = split(text)
    return ["".join(nfc(text[a:b]).split()) for a, b in zip(found.starts, found.ends, strict=True)]


@settings(max_examples=60)
@given(CORPUS, HELD, SHARDS)
def test_a_near_copy_goes_for_a_kept_document_that_comes_before_it(texts, held, shards):
    cfg = Near(min_shingles=8)
    with tempfile.TemporaryDirectory() as folder:
        originals = near_copies(Path(folder), texts, cfg, held=held, shards=shards)
    for copy, original in enumerate(originals):
        if original >= 0:
            assert originals[original] == -1
            assert (original not in held, original) < (copy not in held, copy)
            assert jaccard(syllables(texts[copy]), syllables(texts[original])) > 0.5


@settings(max_examples=60)
@given(CORPUS, HELD, SHARDS)
def test_no_sentence_is_lost_and_none_is_made(texts, held, shards):
    cfg = Substring(min_bytes=200, min_left_bytes=0)
    with tempfile.TemporaryDirectory() as folder:
        results = stripped(Path(folder), texts, cfg, held=held, shards=shards)
    before = [contents(text) for text in texts]
    after = [contents(result.cleaned.text) for result in results]
    assert {s for text in after for s in text} == {s for text in before for s in text}
    for text, result, old, new in zip(texts, results, before, after, strict=True):
        gone = ["".join(nfc(text[a:b]).split()) for a, b in result.gone]
        assert sorted(new + gone) == sorted(old)
        assert result.cleaned.text == text or gone
        assert bool(gone) == (result.owner >= 0)


@settings(max_examples=40)
@given(corpora(st.text("가나다 ", max_size=20), ["\n", "\n\n"]), HELD)
def test_no_passage_is_left_in_two_documents_or_on_both_sides(texts, held):
    cfg = Substring(min_bytes=200, min_left_bytes=0)
    with tempfile.TemporaryDirectory() as folder:
        results = stripped(Path(folder), texts, cfg, held=held)
    for part in PARTS[:6]:
        holders = [i for i, r in enumerate(results) if part in r.cleaned.text]
        before = [i for i, text in enumerate(texts) if part in text]
        assert holders == [min(before, key=lambda i: (i not in held, i))] if before else not holders
