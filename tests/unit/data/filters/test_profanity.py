import pytest

from yaongi.data.filters.profanity import Profanity


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("아 씨발 뭐야", 1),
        ("병신새끼야 꺼져", 3),
        ("존나 웃기네 ㅅㅂ", 2),
        ("이새끼 저새끼", 2),
        ("이 사건을 시발점으로 개혁이 시작됐다. 시발역에서 종착역까지", 0),
        ("병신년 팔등신 등신불 새끼 고양이 빠가사리 졸라매다", 0),
        ("우리 오빠가 전염병에 걸렸다. 2018년 아닥사스다 왕이 돌아가리로다", 0),
        ("제132조까지의 규정, 5개년 계획, 시련이 닥쳐오더라도", 0),
        ("제5차 5 개년 계획의 시발이 되었다. 어려움이 닥쳐 있는 사람", 0),
        ("불이 꺼져 있었다. 아저씨바지", 0),
        ("오늘은 날씨가 좋다", 0),
    ],
)
def test_swear_words_are_counted_and_the_text_stays(text, count):
    result = Profanity().clean(text)
    assert result.tags == {"profanity": count}
    assert result.text == text
    assert not result.drop
