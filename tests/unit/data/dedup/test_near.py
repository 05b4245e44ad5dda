import random
import re
import tracemalloc

import dedup_pairs
import numpy as np
import pytest
from dedup_text import article, near_copies, sentence
from pydantic import ValidationError

from yaongi.data.dedup import near, runs
from yaongi.data.dedup.near import Near
from yaongi.data.dedup.shingles import jaccard, syllables
from yaongi.data.sources import Reading
from yaongi.data.sources.files import FilesSource


def edited(text, seed, times=1):
    rng = random.Random(seed)
    parts = text.split(". ")
    for _ in range(times):
        parts[rng.randrange(len(parts))] = sentence(rng).rstrip(".")
    return ". ".join(parts)


def test_planted_copies_go_and_nothing_else(tmp_path):
    texts = [article(i) for i in range(60)]
    copies = {}
    for i in range(0, 20, 2):
        copies[len(texts)] = i
        texts.append(
            [edited(texts[i], i), texts[i].replace(" ", ""), texts[i] + "\n홍길동 기자"][i % 3]
        )
    found = near_copies(tmp_path, texts)
    assert {i: original for i, original in enumerate(found) if original >= 0} == copies


def test_the_first_stays_and_only_what_resembles_a_kept_one_goes(tmp_path):
    """A chain whose ends differ: b goes for a, but c only resembles b, and stays."""
    rng = random.Random(0)
    sentences = [sentence(rng) for _ in range(20)]
    a, b, c = (" ".join(sentences[i : i + 16]) for i in (0, 2, 4))
    j = [jaccard(syllables(x), syllables(y)) for x, y in ((a, b), (b, c), (a, c))]
    assert min(j[:2]) > 0.75
    assert j[2] < 0.65
    assert near_copies(tmp_path / "1", [a, b, c]) == [-1, 0, -1]
    assert near_copies(tmp_path / "2", [b, a, c]) == [-1, 0, 0]


def test_nothing_like_a_held_out_document_stays_in_train(tmp_path):
    a = article("a", 30)
    texts = [a, article("b"), edited(a, 1), edited(a, 2)]
    assert near_copies(tmp_path / "none", texts) == [-1, -1, 0, 0]
    assert near_copies(tmp_path / "last", texts, held={3}) == [3, -1, 3, -1]
    assert near_copies(tmp_path / "two", texts, held={2, 3}) == [2, -1, -1, 2]


@pytest.mark.parametrize("shards", [2, 5, 14])
def test_shards_and_blocks_make_no_difference(tmp_path, monkeypatch, shards):
    texts = [edited(article(i % 9, 30), i, i % 3) for i in range(40)]
    expected = near_copies(tmp_path / "one", texts, held={30})
    assert sum(i >= 0 for i in expected) > 20
    assert near_copies(tmp_path / "shards", texts, held={30}, shards=shards) == expected
    monkeypatch.setattr(runs, "RUN_RECORDS", 100)
    monkeypatch.setattr(runs, "BLOCK_RECORDS", 50)
    assert near_copies(tmp_path / "blocks", texts, held={30}, shards=shards) == expected


def test_a_shard_signed_again_changes_nothing(tmp_path):
    texts = [article(0), edited(article(0), 1)]
    assert near_copies(tmp_path, texts) == near_copies(tmp_path, texts) == [-1, 0]


def test_code_needs_more_than_prose(tmp_path):
    body = "\n".join(f"    assert sorted_{i}([{i}, 2, 1]) == [1, 2, {i}]" for i in range(40))
    codes = [f"def test_{name}():\n    {name} = make()\n{body}" for name in ("comb", "cycle")]
    codes[1] = codes[1].replace("sorted_1", "cyclesort")
    similarity = jaccard(*map(syllables, codes))
    assert 0.7 < similarity < 0.85
    assert near_copies(tmp_path / "code", codes) == [-1, -1]
    assert near_copies(tmp_path / "less", codes, Near(code_similarity=0.7)) == [-1, 0]


def test_short_documents_are_not_judged_and_empty_ones_do_no_harm(tmp_path):
    texts = ["", "감사합니다", "감사합니다.", "…", article(0), article(0)]
    assert near_copies(tmp_path / "a", texts) == [-1] * 5 + [4]
    assert near_copies(tmp_path / "b", texts, Near(min_shingles=1)) == [-1, -1, 1, -1, -1, 4]
    assert near_copies(tmp_path / "c", []) == []


def test_eojeol_see_what_spacing_hides(tmp_path):
    text = article(0)
    texts = [text, re.sub(r"(\S+ \S+ \S+) ", r"\1", text)]
    assert near_copies(tmp_path / "s", texts) == [-1, 0]
    assert near_copies(tmp_path / "e", texts, Near(shingles="eojeol")) == [-1, -1]


@pytest.mark.parametrize("similarity", [0.5, 0.7, 0.8, 0.95])
def test_buckets_find_98_percent_at_the_limit(similarity):
    rows = Near(similarity=similarity).rows
    assert 1 - (1 - similarity**rows) ** 32 >= 0.98
    assert rows == 8 or 1 - (1 - similarity ** (rows + 1)) ** 32 < 0.98


def test_settings_that_make_no_sense_are_refused():
    for wrong in ({"similarity": 0.0}, {"similarity": 1.1}, {"shingles": "words"}, {"n": 1}):
        with pytest.raises(ValidationError):
            Near.model_validate(wrong)


@pytest.mark.serial
def test_memory_does_not_grow_with_the_corpus(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "RUN_RECORDS", 2000)
    monkeypatch.setattr(runs, "BLOCK_RECORDS", 2000)
    monkeypatch.setattr(near, "_DOCUMENTS_AT_ONCE", 16)
    peaks = []
    for run, documents in enumerate((300, 1800, 1800)):  # twice: what others import counts too
        texts = [article(i % (documents // 2), 3) for i in range(documents)]
        tracemalloc.start()
        found = near_copies(tmp_path / str(run), texts)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert np.count_nonzero(np.array(found) >= 0) == documents // 2
    assert min(peaks[1:]) < peaks[0] * 1.5 + 1800 * 40  # the answer itself is some bytes a document


def test_copies_of_real_text_are_found_and_originals_stay(yaongi_data, tmp_path):
    reading = Reading(yaongi_data / "train")
    source = FilesSource(path="ko_news_sentences.jsonl.zst")
    texts = [document.text for document in source.read(reading)][:150]
    changes = [dedup_pairs.spacing, dedup_pairs.marks, dedup_pairs.frame, dedup_pairs.cut]
    rng = random.Random(0)
    copies = [changes[i % 4](text, rng) for i, text in enumerate(texts)]
    found = near_copies(tmp_path, texts + copies)
    assert found[:150] == [-1] * 150
    right = sum(copy == original for original, copy in enumerate(found[150:]))
    assert right >= 145
    assert sum(copy >= 0 for copy in found[150:]) == right
