"""Laws of finding personal data that hold for every text."""

import re

from hypothesis import example, given
from hypothesis import strategies as st

from yaongi.data.pii import KINDS, find, scrub

PIECES = st.sampled_from(
    [
        *("010-1234-5678", "02)345-6789", "901231-1******", "850126-6401473", "116-82-00276"),
        *(
            "110-123-456789",
            "4111 1111 1111 1111",
            "여권 M12345678",
            "a.b@naver.com",
            "카톡 luna_07",
        ),
        *(
            "211.234.12.99",
            "서울 강남구 테헤란로 152",
            "계좌 ",
            "주문번호 ",
            "송장 ",
            "버전 ",
            "신한 ",
        ),
        *(
            "[ACCOUNT]",
            "[CARD] ",
            "[IP] ",
            "０１０",
            "－",
            "\u200b",
            "\u0301",
            "\u1112\u1161\u11ab",
        ),
        *("-", " ", ".", "1", "0", "가", "로 3", "@", "\n", "한"),
    ]
)
TEXTS = st.one_of(st.text(), st.lists(PIECES, max_size=12).map("".join))


@given(TEXTS)
def test_findings_are_sorted_disjoint_and_inside(text):
    done = 0
    for kind, start, end in find(text):
        assert kind in KINDS
        assert done <= start < end <= len(text)
        done = end


@given(TEXTS)
def test_scrubbing_twice_changes_nothing(text):
    once = scrub(text)
    assert scrub(once) == once
    assert find(once) == []


@given(TEXTS)
def test_text_without_findings_is_unchanged(text):
    assert find(text) or scrub(text) == text


@given(TEXTS)
@example("서울가구 가로0서울가구 가로0")  # the first is seen when the second has gone
def test_all_between_findings_stays(text):
    rest, done = scrub(text), 0
    for part in re.split(rf"\[(?:{'|'.join(KINDS)})\]", rest, flags=re.I):
        at = text.find(part, done)
        assert at >= 0
        done = at + len(part)
