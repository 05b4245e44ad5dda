import time

import pytest

from yaongi.data.filters.encoding import Encoding

pytest.importorskip("ftfy")

KOREAN = "나는 어제 서울에서 친구를 만났다. 날씨가 맑아 한강 공원까지 걸었다."


def clean(text):
    return Encoding().clean(text)


@pytest.mark.parametrize("shown_as", ["latin-1", "cp1252"])
def test_korean_in_cp949_shown_as_western_is_read_again(shown_as):
    broken = KOREAN.encode("cp949").decode(shown_as)
    result = clean(broken)
    assert result.text == KOREAN
    assert result.changed == {"mojibake of cp949": 1}


def test_syllables_only_cp949_has_are_read_again_too():
    text = "똠방각하를 펲시라고 썼다"
    assert clean(text.encode("cp949").decode("sloppy-windows-1252")).text == text


def test_utf8_shown_as_western_is_read_again():
    assert clean(KOREAN.encode().decode("latin-1")).text == KOREAN
    assert (
        clean("카페는 café다. í•œê¸€ í…ŒìŠ¤íŠ¸ìž…ë‹ˆë‹¤").text == "카페는 café다. 한글 테스트입니다"
    )


def test_only_the_broken_part_of_a_line_changes():
    assert clean(f"제목: ÇÑ±Û 문서 café\n{KOREAN}").text == f"제목: 한글 문서 café\n{KOREAN}"


@pytest.mark.parametrize(
    "text",
    [
        "Der Fluß fließt über Öl, déjà vu, señor ¿qué? ÀÉÎÕÜ",
        "·.¸¸.·´¯`·.¸¸.·´¯ 25°C ±3 ½ ²³ «guillemets»",
        "¸¸¸¸¸¸ ········ °°°°",
        "ㅋㅋㅋ ㅠㅠ ㅇㅇ 뷁 大韓民國 日本語 😀👨‍👩‍👧 ①②③ ａｂｃ Ⅳ",
        'if (a < b && c > d) { return "&amp;"; }',
        "占쟁이도 나오지 않는 占術 이야기, R&D; AT&T",
        "국·과장급 회의에서 “이제 그만…”이라고 말했다 – 1,000원",
    ],
)
def test_what_is_not_broken_stays(text):
    result = clean(text)
    assert result.text is text or result.text == text
    assert not result.drop
    assert not result.changed


def test_lost_text_is_marked_and_too_much_of_it_dropped():
    assert clean(KOREAN * 10 + "占쏙옙").text == KOREAN * 10 + "\ufffd"
    assert clean("占쏙옙占쏙옙 占쌔댐옙 내용").drop == "unreadable"
    assert clean("ï¿½ï¿½ï¿½ 내용").drop == "unreadable"
    read_as_cp949 = (KOREAN * 3).encode().decode("cp949", "replace")
    assert clean(read_as_cp949).drop == "unreadable"
    assert clean(read_as_cp949.replace("\ufffd", "?")).drop == "unreadable"


def test_slang_with_rare_syllables_is_readable():
    assert not clean("아 뷁 왤케 웃김 ㅋㅋ 됬다 봣음").drop


def test_invisible_characters_go_and_spaces_become_spaces():
    text = "\ufeff가\u200b나\u00ad다\u00a0라\u3000마\u2060\r\n바\u2028사\x00"
    assert clean(text).text == "가나다 라 마\n바\n사"
    assert clean("_\bN persons, b\bbold").text == "N persons, bold"
    family = "👨\u200d👩\u200d👧"
    assert clean(family).text == family


def test_jamo_are_composed_or_become_compatibility_jamo():
    half_width = "\uffbe\uffc2\uffa4\uffa1\uffda\uffa9"  # ㅎㅏㄴㄱㅡㄹ
    assert clean(half_width).text == "한글"
    assert clean("웃겨 \uffbb\uffbb\uffbb").text == "웃겨 ㅋㅋㅋ"
    assert clean("\u1112\u1161\u11ab글").text == "한글"
    assert clean("웃겨 \u110f\u110f \u1172\u1172").text == "웃겨 ㅋㅋ ㅠㅠ"


def test_old_hangul_stays_and_is_counted():
    old = "나랏 말\u110a\u119e미"
    result = clean(old)
    assert result.text == old
    assert result.changed == {"jamo left apart": 1}


def test_entities_are_read_however_often_they_were_escaped():
    assert clean("A &amp; B &#44032; &quot;말&quot;").text == 'A & B 가 "말"'
    assert clean("A &amp;amp; B").text == "A & B"
    assert clean("?a=1&copy=2&lt=3").text == "?a=1&copy=2&lt=3"


def test_half_surrogates_do_not_survive():
    assert clean("\ud83d\ude00" + KOREAN * 5 + "\ud800").text == "😀" + KOREAN * 5 + "\ufffd"


@pytest.mark.parametrize(
    "unit", ["é", "ÇÑ", "Ã©", "&amp;", "&", "\u1100", "占", "\uffa1", "가", "\ufffd"]
)
def test_time_grows_with_length_only(unit):
    start = time.process_time()
    clean(unit * 20_000)
    assert time.process_time() - start < 5
