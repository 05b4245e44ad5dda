"""What the report counts, on tokenizers whose tokens can be counted by hand."""

from pathlib import Path

import foreign_tokenizers
import pytest
from text_sample import TEXTS, tokenizer

from yaongi.core.errors import DataError
from yaongi.text.foreign import load_tokenizer
from yaongi.text.report import korean_lines, measure, report
from yaongi.text.seeds import SEEDED_FROM
from yaongi.text.tokenizer import Tokenizer

BYTES = Tokenizer.train([], 330)  # every byte a token


def test_bytes_only_is_counted_by_hand():
    found = measure(BYTES, ["가나 ab 다", "x\ny"], "all")
    assert (found.documents, found.bytes, found.tokens) == (2, 16, 16)
    assert found.bytes_per_token == 1.0
    assert found.tokens_per_syllable == pytest.approx(13 / 3, abs=1e-4)
    assert found.tokens_per_eojeol == pytest.approx(13 / 3, abs=1e-4)
    assert found.partial_utf8 == pytest.approx(9 / 16, abs=1e-6)
    assert found.nfd_blowup == 1.0  # composed inside


def test_text_without_korean_has_no_korean_numbers():
    found = measure(BYTES, ["only English", "漢字 ㅋㅋㅋ"], "en")
    assert (found.tokens_per_syllable, found.tokens_per_eojeol, found.nfd_blowup) == (None,) * 3


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("가\nab\n가 a", ["가", "가 a"]),
        ("", []),
        ("\u1100\u1161\u11a8", ["각"]),
        ("ㅋㅋㅋ 漢字 👍", []),
        ("for i in x: # 주석", []),
        ("주석: i", ["주석: i"]),
    ],
)
def test_korean_lines_are_half_hangul(text, lines):
    assert korean_lines(text) == lines


def test_the_whole_report():
    tok = tokenizer()
    found = report(tok, {"ko": TEXTS, "en": ["The lazy dog"]})
    assert found.vocab_size == 500
    used = {i for text in [*TEXTS, "The lazy dog"] for i in tok.encode(text)}
    assert found.never_used == 500 - len(used) - 74
    whole = [s for c in range(0xAC00, 0xD7A4) if len(tok.encode(s := chr(c))) == 1]
    assert found.all_syllables == len(whole) > 10
    assert found.ks_x_1001 <= found.all_syllables
    assert found.as_json()["domains"]["en"]["tokens_per_syllable"] is None


def test_a_seeded_vocabulary_has_all_2350():
    found = report(Tokenizer.train(TEXTS, SEEDED_FROM, allow_smaller=True), {"ko": TEXTS})
    assert (found.ks_x_1001, found.all_syllables) == (2350, 2350)


def test_nothing_to_read_is_said():
    for texts in ([], [""]):
        with pytest.raises(DataError, match="no text in news"):
            report(tokenizer(), {"news": texts})


def test_foreign_tokenizers_are_measured_too(tmp_path: Path):
    foreign_tokenizers.make(tmp_path / "gpt", None)
    foreign_tokenizers.make_sentencepiece(tmp_path / "sp")
    foreign_tokenizers.make_sentencepiece(tmp_path / "words", fallback=False)
    gpt, sp, words = (
        report(load_tokenizer(tmp_path / name), {"ko": ["고양이가 야옹"]})
        for name in ("gpt", "sp", "words")
    )
    assert gpt.domains["ko"].nfd_blowup > 1, "nobody composes there"
    assert sp.domains["ko"].tokens == 8  # ▁ 고 양 이 가 ▁ 야 옹
    assert sp.all_syllables == len(set("안녕하세요고양이가야옹울었어"))
    assert sp.domains["ko"].partial_utf8 == 0
    assert words.domains["ko"].partial_utf8 is None, "its tokens stand for no bytes"
