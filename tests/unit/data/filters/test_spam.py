import pytest

from yaongi.data.filters.spam import Spam

NEWS = "한국은행이 기준금리를 올리면서 은행의 대출 금리도 오를 것으로 보인다고 전문가들은 말했다."


def clean(text):
    return Spam().clean(text)


@pytest.mark.parametrize(
    "line",
    [
        "토토사이트 추천 안전놀이터 메이저사이트 먹튀검증 가입코드 BEST",
        "온라인카지노 바카라사이트 첫충 30% 매충 10% 페이백 이벤트 진행중",
        "무직자대출 당일대출 소액 급전 무방문 누구나 가능 24시간 상담 문의",
        "강남 출장안마 출장마사지 후불제 20대 관리사 24시 예약 문의 환영",
        "휴대폰 성지 좌표 공짜폰 갤럭시 아이폰 최저가 현금 지원금 당일 지급",
        "소액결제 현금화 상품권현금화 최고 시세 즉시 입금 연중무휴 상담",
        "비아그라 구매 시알리스 구입 정력제 최저가 카톡 문의",
    ],
)
def test_advertising_goes_by_the_line_or_the_document(line):
    assert clean(line).drop == "spam"
    result = clean(f"{NEWS}\n{NEWS}\n{line}\n{NEWS}")
    assert (result.text, result.changed) == (f"{NEWS}\n{NEWS}\n{NEWS}", {"spam line": 1})


@pytest.mark.parametrize(
    "text",
    [
        NEWS,
        "경찰은 불법 도박 사이트를 운영한 혐의로 일당 12명을 구속했다. 이들은 해외에 서버를 두고 "
        "토토와 바카라 등 도박판을 벌여 3년 동안 200억 원을 챙긴 것으로 드러났다. 경찰은 모집에 "
        "텔레그램을 썼다고 설명했다.",
        "주택담보대출을 받으려면 소득 증빙 서류가 필요하다. 신용대출보다 금리가 낮지만, "
        "집값의 70%까지만 빌릴 수 있다. 은행 상담 창구에서 한도를 미리 알아보는 것이 좋다.",
        "이번 출장은 부산으로 간다. 숙소는 역 근처로 예약했고, 저녁에는 마사지를 받을 생각이다.",
        "메카는 이슬람교의 성지이다. 해마다 수많은 순례자가 찾는다.",
        "새 휴대폰을 살까 고민이다. 갤럭시와 아이폰 가운데 무엇이 나을까? "
        "번호 이동이 쌀까, 기기 변경이 쌀까?",
        "아이들이 놀이터에서 논다. 근처 카지노 호텔에서는 무료 공연이 열린다.",
        "급전이 필요한 서민을 노린 불법 사채가 늘고 있다. 금융감독원은 무직자 대출, 당일 대출 같은 "
        "광고에 속지 말고 피해를 보면 즉시 신고해 달라고 당부했다. 상담은 무료이다.",
    ],
)
def test_texts_about_such_things_stay(text):
    result = clean(text)
    assert (result.text, result.drop) == (text, "")


def test_a_page_of_single_words_is_spam_as_a_whole():
    words = [
        "출장안마",
        "강남",
        "출장샵",
        "후불제",
        "홈타이",
        "예약 문의",
        "콜걸",
        "서초",
        "건마",
        "24시",
    ]
    assert clean("\n".join(words)).drop == "spam"
