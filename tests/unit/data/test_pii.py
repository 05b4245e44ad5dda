"""Personal data is found, what looks like it is left alone, and offsets are those of the text."""

import re
import time
import unicodedata
from random import Random

import pii_cases
import pytest
from pii_disguises import DISGUISES

from yaongi.data.pii import KINDS, check, find, scrub

FOUND = [
    ("주민번호 901231-1234567 입니다", "주민번호 [RRN] 입니다"),  # named: no check digit asked
    ("홍길동 850126-6401473", "홍길동 [RRN]"),  # a foreigner's, with a right check digit
    ("홍길동 901231-1******", "홍길동 [RRN]"),
    ("아기 201105-3123456", "아기 [RRN]"),  # born when numbers were random
    ("연락처: 010-1234-5678", "연락처: [PHONE]"),
    ("０１０－１２３４－５６７８로 전화", "[PHONE]로 전화"),
    ("010ㅡ1234ㅡ5678 톡 주세요", "[PHONE] 톡 주세요"),
    ("+82 (0)10-1234-5678", "[PHONE]"),
    ("전화 (02)123-4567", "전화 [PHONE]"),
    ("1588-1234", "[PHONE]"),
    ("사업자등록번호 116-82-00276", "사업자등록번호 [BUSINESS_NO]"),
    ("법인등록번호 110111-0085450", "법인등록번호 [CORPORATE_NO]"),
    ("여권번호 M12345678, M123A4567", "여권번호 [PASSPORT], [PASSPORT]"),
    ("면허 서울 12-345678-90", "면허 [DRIVER_LICENSE]"),
    ("면허 11-12-345678-90", "면허 [DRIVER_LICENSE]"),
    ("4111 1111 1111 1111", "[CARD]"),
    ("신한 110-123-456789 예금주 홍길동", "신한 [ACCOUNT] 예금주 홍길동"),
    ("메일은 gildong.h@naver.com으로", "메일은 [EMAIL]으로"),
    ("gildong골뱅이naver.com", "[EMAIL]"),
    ("접속 211.234.12.99:8080", "접속 [IP]:8080"),
    ("2404:6800:4004:80a::200e 에서", "[IP] 에서"),
    ("카톡 아이디: luna_07", "카톡 아이디: [MESSENGER]"),
    ("텔레그램 @lunamoon", "텔레그램 @[MESSENGER]"),
    ("서울 강남구 테헤란로 152, 101동 1203호에 산다", "[ADDRESS]에 산다"),
    ("강남구 역삼동 736-1번지", "[ADDRESS]"),
]
UNUSUAL = [
    ("공일공 일이삼사 오육칠팔 이쪽으로", "[PHONE] 이쪽으로"),
    ("010/1234/5678 상담", "[PHONE] 상담"),
    ("TEL:OlO-l234-5678", "TEL:[PHONE]"),
    ("0082-(0)10-1234-5678", "[PHONE]"),
    ("한옥마을 736-1\n053-123-4567", "한옥마을 736-1\n[PHONE]"),  # behind a digit and a line break
    ("주민번호 9 0 1 2 3 1 - 1 2 3 4 5 6 7 로", "주민번호 [RRN] 로"),
    ("주민번호 901231~1234567", "주민번호 [RRN]"),
    ("주민번호: 901231-\n1234567", "주민번호: [RRN]"),
    ("홍길동(9012311●●●●●●)", "홍길동([RRN])"),
    ("사업자번호 1168200276 대표자", "사업자번호 [BUSINESS_NO] 대표자"),
    ("사 업 자 번 호 1 1 6 - 8 2 - 0 0 2 7 6", "사 업 자 번 호 [BUSINESS_NO]"),
    ("법인번호 130111_0006246", "법인번호 [CORPORATE_NO]"),
    ("여권번호 M-12345678", "여권번호 [PASSPORT]"),
    ("제 거 M12345678 로 넣으면 되죠? 여권번호요", "제 거 [PASSPORT] 로 넣으면 되죠? 여권번호요"),
    ("면허번호 대구4120843198", "면허번호 [DRIVER_LICENSE]"),
    ("카드번호 사일일일-1111-1111-1111", "카드번호 [CARD]"),
    ("김,4111 1111 1111 1111,신한", "김,[CARD],신한"),
    ("acct_no=110123456789&bank=1", "acct_no=[ACCOUNT]&bank=1"),
    ("<td>신한</td><td>110-123-456789</td>", "<td>신한</td><td>[ACCOUNT]</td>"),
    ("luna(at)naver(dot)com", "[EMAIL]"),
    ("luna골벵이네이버 닷컴", "[EMAIL]"),
    ("user=luna%40naver.com", "user=[EMAIL]"),
    ("악성 IP 211[.]234[.]12[.]99", "악성 IP [IP]"),
    ("server_name 211.234.12.99;", "server_name [IP];"),
    ("카톡 아이디 dreamstyle", "카톡 아이디 [MESSENGER]"),
    ("luna_07 카톡 주세요", "[MESSENGER] 카톡 주세요"),
    ("디코 luna_07", "디코 [MESSENGER]"),
    ('{"kakao_id":"luna07"}', '{"kakao_id":"[MESSENGER]"}'),
    ("주소 경기도파주시교하로866-27", "주소 [ADDRESS]"),
    ("강남구 테헤란로 152, 101동 1203호 (한마음아파트)", "[ADDRESS]"),
]
LEFT_ALONE = [
    *("2024-05-16 10:20:30", "2019.01.01-2020.12.31", "1,234,567,890원", "1592-1598년"),
    *("제12조의3 제2항", "주문번호 010-1234-5678", "송장 1234-5678-9012", "M12345678 모델"),
    *("버전 1.2.3.4", "version 211.234.12.99", "127.0.0.1 192.168.0.1", "예: user@example.com"),
    *("8801062636419", "978-89-1234-567-8", "37.566535, 126.977969", "x@w.transpose()", "a::b::c"),
    *(
        "da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "1600-1360=240",
        "icon@2x.png",
        "850126-6401474x",
    ),
    *(
        "서울특별시 강남구",
        "강남대로 10차선",
        "서울시 강남구에 30대",
        "라인 12를 보라",
        "line = luna_07",
    ),
    *(
        "901332-1234567",
        "주민번호 901331-1234567",
        "9 0 1 2 3 1 - 1 2 3 4 5 6 7",  # a row of digits, without a name
        "0 1 0 1 1 0 1 0 0 1 1",
        "입금\n150000\n200000",
        "회비 2021·2022·2023",
        "통장에 1234567890 원이 있다",
        "매월 1일 이 일이 사라진다",
        "tickets @ theatre.com",
        "post.created_at_day.to_s",
        "available at github.com",
        "Message-ID: <199702251904.LAA28261@wall.org>",
        "Telegram is e2e",
        "kakao_id = user_1",
        "디스코드 v14 출시",
        "스레드 @MainActor",
        "경기 중에 친구로 3명을 뽑았다",
        "사업자번호 116-82-00277",
        "여권 수수료 53000원",
    ),
]


@pytest.mark.parametrize(("text", "expected"), FOUND + UNUSUAL)
def test_is_replaced(text, expected):
    assert scrub(text) == expected


@pytest.mark.parametrize("text", LEFT_ALONE)
def test_is_left_alone(text):
    assert find(text) == []


@pytest.mark.parametrize(("text", "expected"), FOUND)
def test_decomposed_text_has_its_own_offsets(text, expected):
    decomposed = unicodedata.normalize("NFD", text)
    assert unicodedata.normalize("NFC", scrub(decomposed)) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_scrubbing_twice_changes_nothing_more(kind):
    """Pieces of sentences in random order, so that placeholders stand beside other values."""
    words = [word for case in pii_cases.cases("tune", kind, 60) for word in case.text.split(" ")]
    rng = Random(kind)
    for _ in range(20):
        once = scrub(" ".join(rng.choices(words, k=30)))
        assert scrub(once) == once
        assert find(once) == []


def test_hidden_characters_do_not_hide_a_number():
    text = "가\u0301 010\u200b-1234-\u00ad5678 끝"
    (found,) = find(text)
    assert text[found.start : found.end] == "010\u200b-1234-\u00ad5678"


def test_known_check_digits():
    assert check.rrn_checks("9710139019902")
    assert check.rrn_checks("8501266401473")
    assert check.business_checks("1168200276")
    assert check.corporate_checks("1301110006246")
    assert check.card_checks("4111111111111111")
    assert not check.card_checks("4111111111111112")


@pytest.mark.parametrize("kind", KINDS)
def test_nearly_all_of_a_kind_in_the_tuning_sentences(kind):
    cases = list(pii_cases.cases("tune", kind, 100))
    labels = {(i, *label) for i, case in enumerate(cases) for label in case.labels}
    found = {(i, *finding) for i, case in enumerate(cases) for finding in find(case.text)}
    assert len(labels & found) > 0.95 * len(labels | found)


def test_tuning_and_test_sentences_are_disjoint():
    tune, test = (pii_cases.read_templates(name) for name in ("tune", "test"))
    for kind in (*KINDS, "none"):
        assert not set(tune.lines[kind]) & set(test.lines[kind])
    assert not set(tune.places) & set(test.places)


def test_held_out_sentences_are_many_and_cover_every_disguise():
    lines = pii_cases.read_templates("test").lines
    assert min(len(lines[kind]) for kind in KINDS) >= 40
    assert len(lines["none"]) >= 150
    slots = {
        slot
        for of_kind in lines.values()
        for line in of_kind
        for slot in pii_cases.SLOT.findall(line)
    }
    assert {disguise for _, disguise in slots} == {"", "official", *DISGUISES}


@pytest.mark.parametrize(
    ("slot", "disguise", "plain"),
    [
        ("phone", "spoken", r"[공일이삼사오육칠팔구 .+-]+"),
        ("card", "wrapped", r"[\d ‐-]+\n[\d ‐-]+"),
        ("rrn", "masked", r"\d{6}[ -]*[1-4]\D{6}"),
        ("email", "encoded", r"[\w.-]+(%40|&#64;|&commat;|\\u0040)[\w.]+"),
        ("address", "official", r".+ \d+, \d+동 \d+호 \(.+\)"),
    ],
)
def test_a_disguise_is_labelled_as_a_whole(slot, disguise, plain):
    places = pii_cases.read_templates("test").places
    for seed in range(50):
        case = pii_cases.fill(f"앞 {{{slot}:{disguise}}} 뒤", places, Random(seed))
        ((kind, start, end),) = case.labels
        assert kind == slot
        assert case.text[:start] == "앞 "
        assert case.text[end:] == " 뒤"
        value = unicodedata.normalize("NFKC", re.sub("[–—]", "-", case.text[start:end]))
        assert re.fullmatch(plain, value)


ADVERSARIAL = [
    *("1", "1 ", "1-", "1.", "- ", "4444 ", "123456-*", "a", "a.", "a@", "@", "2001:", "2.2.2."),
    *(
        "가",
        "로3",
        "강남구 강남로 3가",
        "카톡 :",
        "계좌 1",
        "010-1234-5678 ",
        "\u1100\u1161",
        "1\u200b",
        "공 ",
        "l ",
        "1 1\n",
        "1[.]",
        "x 카톡 주세요 ",
        "경기도파주시",
        "M 1 2 3 ",
    ),
]


@pytest.mark.serial
@pytest.mark.parametrize("unit", ADVERSARIAL)
def test_time_grows_linearly(unit):
    """Eight times the text takes about eight times as long; quadratic time would take 64.

    A machine does other things too, so the fastest of three tries counts.
    """

    def took(size):
        text = (unit * size)[:size]
        start = time.process_time()
        find(text)
        return time.process_time() - start

    few, many = (min(took(size) for _ in range(3)) for size in (25_000, 200_000))
    assert many < 24 * max(few, 0.01)
