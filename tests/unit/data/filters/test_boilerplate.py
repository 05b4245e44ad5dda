import pytest

from yaongi.data.filters.boilerplate import Boilerplate

NEWS = "정부는 내년부터 전기요금을 단계적으로 올리기로 했다고 12일 밝혔다."


def clean(text):
    return Boilerplate().clean(text)


@pytest.mark.parametrize(
    "line",
    [
        "(서울=연합뉴스) 홍길동 기자 = {}",
        "(세종=연합뉴스) 홍길동 김영희 기자 = {}",
        "[서울=뉴시스] 홍길동 기자 = {}",
        "[서울=뉴시스]홍길동 기자 = {}",
        "【서울=뉴시스】 {}",
        "[헤럴드경제=홍길동 기자] {}",
        "[아시아경제 홍길동 기자] {}",
        "홍길동 기자 = {}",
        "{} 홍길동 기자",
        "{} hong@yna.co.kr",
        "{} 홍길동 기자 hong.gd@hani.co.kr",
        "{} /홍길동 기자 hong@donga.com",
        "{} <저작권자 ⓒ 연합뉴스, 무단 전재-재배포 금지>",
        "{} ⓒ 한국경제 & hankyung.com, 무단전재 및 재배포 금지",
    ],
)
def test_bylines_are_cut_off_and_the_sentence_stays(line):
    result = clean(line.format(NEWS))
    assert result.text == NEWS
    assert result.changed == {"byline": result.changed["byline"]}


@pytest.mark.parametrize(
    ("reason", "line"),
    [
        ("byline", "홍길동 기자 hong@hani.co.kr"),
        ("byline", "홍길동 선임기자 hong@hani.co.kr"),
        ("byline", "입력 2023-05-12 14:30 수정 2023.05.12 오후 3:10"),
        ("byline", "제보는 카카오톡 okjebo"),
        ("byline", "[제보하기] ▷ 카카오톡 : 'YTN' 검색해 채널 추가"),
        ("copyright", "<저작권자(c) 연합뉴스, 무단 전재-재배포 금지>"),
        ("copyright", "Copyright ⓒ 조선일보 & Chosun.com All rights reserved."),
        ("copyright", "무단전재 및 재배포 금지"),
        ("copyright", "* 무단전재 및 재배포 금지"),
        ("copyright", "ⓒ 한겨레신문사, 무단전재·재배포, AI 학습 및 활용 금지"),
        ("share bar", "페이스북 트위터 카카오톡 URL복사"),
        ("share bar", "공유하기 | 글자크기 조절 | 인쇄하기"),
        ("share bar", "이전글 다음글 목록보기"),
        ("subscribe", "구독과 좋아요, 알림설정까지 부탁드립니다!"),
        ("footer", "상호: 야옹상사 | 대표: 홍길동 | 사업자등록번호: 123-45-67890"),
        ("footer", "통신판매업신고번호 제2020-서울강남-01234호 | 대표전화 02-123-4567"),
        ("footer", "사업자등록번호 123-45-67890"),
        ("footer", "이용약관 | 개인정보처리방침 | 청소년보호정책 | 고객센터"),
        ("footer", "등록번호: 서울 아01234 | 등록일자: 2010년 3월 2일 | 발행인·편집인: 홍길동"),
        ("cookies", "이 사이트는 쿠키를 사용합니다. 쿠키 설정 | 모두 동의"),
        ("cookies", "계속 이용하시면 쿠키 사용에 동의하게 됩니다."),
    ],
)
def test_lines_of_nothing_but_known_phrases_go(reason, line):
    result = clean(f"{NEWS}\n\n{line}\n\n{NEWS}")
    assert result.text == f"{NEWS}\n\n{NEWS}"
    assert result.changed == {reason: 1}


@pytest.mark.parametrize(
    "text",
    [
        "기사를 무단전재하거나 재배포를 금지하는 조항이 있는지 확인해야 한다고 변호사는 말했다.",
        "저작권자의 허락 없이 이 그림을 쓰면 저작권법 위반이 될 수 있다.",
        "페이스북이 트위터와 경쟁하려고 새 서비스를 내놓았다고 한다.",
        "카카오톡으로 사진을 보내 달라고 친구에게 부탁했다.",
        "사업자등록번호는 10자리이며 마지막 자리는 검증 번호이다.",
        "그는 기자 출신으로 10년 동안 정치부에서 일했다.",
        "기자 = 신문, 잡지, 방송 등에 실을 기사를 취재하여 쓰는 사람",
        "오늘 만난 사람은 김철수 기자였다.",
        "이 노래 정말 좋아요. 매일 들어요.",
        "쿠키를 구울 때는 오븐을 미리 180도로 데워 두세요.",
        "로그인 화면에서 회원가입 버튼을 누르면 새 창이 열린다.",
        "문의 사항은 help@example.com 으로 보내면 이틀 안에 답을 준다.",
        "처음으로 돌아가서 다시 생각해 보자.",
        "[서울=1992] 이라는 제목의 사진이 걸려 있다.",
        "좋아요",
        "잘 부탁드립니다.",
        "로그인",
        "## 개인정보 처리방침",
        "# Copyright 2021 The TensorFlow Authors.",
        "Copyright (C) 2006 Free Software Foundation, Inc.",
        "이메일 주소: 개인 데이터",
        "목록 보기",
        "사업자등록번호",
        "좋아요엄청 좋아요짱짱",
        "- 더 보기 좋은 떡이 먹기도 좋다",
    ],
)
def test_sentences_that_mention_such_things_stay(text):
    assert clean(text).text == text
    assert clean(f"{NEWS}\n{text}\n{NEWS}").text == f"{NEWS}\n{text}\n{NEWS}"
    assert not clean(text).changed


def test_bylines_without_end_do_no_harm():
    text = "홍길동 기자 = " * 5000 + NEWS
    assert clean(text).text == text


def test_a_document_of_nothing_else_is_dropped():
    assert clean("공유하기\n\n무단전재 및 재배포 금지").drop == "nothing left"
