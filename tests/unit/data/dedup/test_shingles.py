import unicodedata

import numpy as np
import pytest

from yaongi.data.dedup.shingles import eojeol, jaccard, sketch, syllables

KOREAN = "한국은행이 기준금리를 올리면서 은행의 대출 금리도 오를 것으로 보인다고 시장은 말한다."


def test_syllables_ignore_spaces_marks_case_and_form():
    other = unicodedata.normalize("NFD", KOREAN.replace(" ", "")).replace(".", " !\n")
    assert jaccard(syllables(KOREAN), syllables(other)) == 1
    assert (
        jaccard(syllables("The Quick-Brown fox jumps"), syllables("the quick brown FOX, jumps"))
        == 1
    )
    assert jaccard(eojeol(KOREAN), eojeol(KOREAN.replace(" ", "", 3))) < 0.7
    assert jaccard(eojeol("A b, c d e f"), eojeol("a b c d e F!")) == 1


@pytest.mark.parametrize(("kind", "n"), [(syllables, 8), (eojeol, 5)])
def test_a_text_of_n_units_is_one_shingle_and_of_more_one_more_each(kind, n):
    units = [chr(ord("가") + 28 * i) for i in range(n + 3)]
    assert [len(kind(" ".join(units[:k]))) for k in (0, 1, n, n + 1, n + 3)] == [0, 1, 1, 2, 4]
    assert len(set(kind(" ".join(units)).tolist())) == 4
    assert kind(" ".join(units[:n]))[0] == kind(" ".join(units))[0]
    assert kind(" ".join(units[n - 1 :: -1]))[0] != kind(" ".join(units[:n]))[0]


@pytest.mark.parametrize("text", ["", "!!! …", "ㅋㅋ", "가", "\ud800", "👍🏽", "漢字와 한글 ١٢"])
def test_any_text_has_shingles_unless_nothing_is_written(text):
    for kind in (syllables, eojeol):
        shingles = kind(text)
        assert shingles.dtype == np.uint64
        assert bool(len(shingles)) == any(c.isalnum() for c in text)
        if len(shingles):
            assert sketch(shingles, 256).shape == (256,)


@pytest.mark.parametrize("size", [4, 60, 256, 5000])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.9, 1.0])
def test_sketches_estimate_jaccard_without_bias(size, share):
    rng = np.random.default_rng(size)
    common = round(size * share)
    errors = []
    for _ in range(100):
        new = rng.integers(0, 2**64, 2 * size - common, dtype=np.uint64)
        a, b = new[:size], new[size - common :]
        truth = jaccard(a, b)
        errors.append((sketch(a, 256) == sketch(rng.permutation(b), 256)).mean() - truth)
    deviation = (truth * (1 - truth) / min(256, 4 * size)) ** 0.5
    assert abs(np.mean(errors)) < 4 * deviation / 10 + 1e-9
    assert np.std(errors) < 1.7 * deviation + 1e-9


def test_repeated_shingles_change_nothing():
    a = np.arange(10, dtype=np.uint64) * np.uint64(0x123456789ABCDEF)
    assert (sketch(a, 256) == sketch(np.tile(a, 3), 256)).all()
    assert jaccard(a, np.tile(a, 2)) == 1
    assert jaccard(a[:0], a[:0]) == 0
