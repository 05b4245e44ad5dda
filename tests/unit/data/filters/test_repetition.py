import pytest

from yaongi.data.filters.repetition import Repetition

PROSE = """나는 어제 서울에서 친구를 만나 저녁을 먹고 영화를 보았다. 오는 길에 비가 내려서 젖었다.
아침에 일어나니 하늘이 맑게 개어 있었다. 창문을 열자 시원한 바람이 방 안으로 들어왔다.
커피를 한 잔 마시고 신문을 읽은 뒤에 회사로 출발했다. 버스는 가득 차 있어서 겨우 탔다.
점심에는 동료들과 새로 생긴 식당에 갔는데 국수가 맛있었다. 다음에도 또 가기로 약속했다."""
REFRAIN = "동해물과 백두산이 마르고 닳도록 하느님이 보우하사 우리나라 만세 무궁화 삼천리 화려강산"


def drop(text, **settings):
    return Repetition(**settings).clean(text).drop


def test_prose_stays():
    assert not drop(PROSE)


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        ("repeated lines", "\n".join([*PROSE.split("\n")[:2]] * 4)),
        ("one 2-gram", "강력 추천 " * 60),
        ("one 3-gram", PROSE + " 정말 좋은 제품입니다" * 20),
        ("5-grams", PROSE + " " + PROSE.replace("\n", " ")),
    ],
)
def test_repetition_is_dropped_by_name(reason, text):
    assert drop(text) == reason


def test_repeated_paragraphs_are_told_from_lines():
    paragraphs = [PROSE.replace("\n", " "), REFRAIN, PROSE.replace("\n", " ")]
    assert drop("\n\n".join(paragraphs), max_lines=1.0) == "repeated paragraphs"


def test_a_refrain_and_short_texts_stay():
    assert not drop(f"{PROSE}\n{REFRAIN}\n{PROSE[:20]}")
    assert not drop("좋아요 좋아요 좋아요")


def test_code_repeats_by_its_nature():
    assert not drop("assert add(1, 2) == 3; assert add(2, 1) == 3\n" * 40)


def test_worked_sums_repeat_by_their_nature():
    steps = "Then find how thick the blanket will be after {} foldings: {} inches * 2 = {} inches"
    sums = "\n".join(steps.format(n, 3 * 2**n, 6 * 2**n) for n in range(1, 9))
    assert not drop(sums)
    assert drop("".join(c for c in sums if not c.isdigit()))  # it is the numbers that save it


def test_once_is_no_repetition():
    assert not drop(" ".join(f"낱말{i}" for i in range(60)))


def test_the_limits_of_ngrams_can_be_scaled():
    text = PROSE + " " + PROSE.split("\n")[0]
    assert drop(text, ngram_scale=0.5, min_words=50)
    assert not drop(text, ngram_scale=3.0, min_words=50)
