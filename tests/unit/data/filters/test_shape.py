import pytest

from yaongi.data.filters.shape import Shape

KO = (
    "나는 어제 서울에서 친구를 만나 저녁을 먹고 영화를 보았다. "
    "집에 오는 길에 비가 내려서 조금 젖었지만 즐거웠다. "
)
CODE = (
    "def mean(values):\n    total = 0\n    for v in values:\n        total += v\n    return total\n"
)
LAW = (
    "제1조(목적) 이 영은 「개인정보 보호법」에서 위임된 사항과 "
    "그 시행에 필요한 사항을 규정함을 목적으로 한다. "
)
EN = "a long enough sentence in English, nothing odd about its shape."


DENSE = "bool valid(char *s) { for (int i = 0; s[i]; i++) { if (s[i] == '(') n++; } return !n; }"


@pytest.mark.parametrize("text", [KO, CODE, LAW, EN, DENSE])
def test_text_and_code_stay(text):
    assert not Shape().clean(text).drop


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        ("too short", "네 알겠습니다"),
        ("too long", KO * 100),
        ("symbols", "=-=-=-=-=- ★☆★☆ !!! $$$ ### ~~~ ((())) *** 안녕 *** ((())) ~~~ ### $$$"),
        ("no spaces", KO.replace(" ", "")),
        ("spread out", " ".join(KO.replace(" ", "").replace(".", ""))),
    ],
)
def test_odd_shapes_are_dropped_by_name(reason, text):
    assert Shape(max_chars=3000).clean(text).drop == reason


def test_a_share_of_hangul_can_be_asked_for():
    assert Shape(min_hangul=0.25).clean(CODE).drop == "little hangul"
    assert not Shape(min_hangul=0.25).clean(KO).drop
    assert not Shape(min_hangul=0.25).clean(CODE + KO * 2).drop


def test_long_compounds_and_counting_by_syllables_are_not_odd():
    assert not Shape().clean("한국정보통신기술협회표준화위원회에서 회의가 열렸다. " + KO).drop
    assert not Shape().clean("한 번 더 그 집 앞 길 위 두 손 안 새 꿈 " + KO).drop
