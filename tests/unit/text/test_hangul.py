import pytest

from yaongi.text.hangul import (
    compose,
    decompose,
    final_sound,
    has_final,
    is_syllable,
    josa,
    pick_josa,
)


def test_all_syllables_decompose_and_compose():
    for code in range(0xAC00, 0xD7A4):
        assert compose(*decompose(chr(code))) == chr(code)
    assert decompose("각") == ("ㄱ", "ㅏ", "ㄱ")
    assert decompose("뷁") == ("ㅂ", "ㅞ", "ㄺ")
    assert decompose("가") == ("ㄱ", "ㅏ", "")


@pytest.mark.parametrize("bad", ["", "ㄱ", "가나", "A", "\u1100"])
def test_only_one_precomposed_syllable_is_a_syllable(bad):
    assert not is_syllable(bad)
    with pytest.raises(ValueError):
        decompose(bad)


@pytest.mark.parametrize(
    "word, pair, expected",
    [
        ("사과", "은/는", "사과는"),
        ("감", "은/는", "감은"),
        ("감", "는/은", "감은"),
        ("민수", "이/가", "민수가"),
        ("영철", "이/가", "영철이"),
        ("책", "을/를", "책을"),
        ("나무", "를/을", "나무를"),
        ("밥", "와/과", "밥과"),
        ("고양이", "과/와", "고양이와"),
        ("서울", "으로/로", "서울로"),
        ("부산", "으로/로", "부산으로"),
        ("제주", "로/으로", "제주로"),
        ("칼", "으로써/로써", "칼로써"),
        ("민준", "아/야", "민준아"),
        ("지수", "아/야", "지수야"),
        ("학생", "이에요/예요", "학생이에요"),
        ("가수", "이에요/예요", "가수예요"),
        ("학생", "이었다/였다", "학생이었다"),
        ("가수", "이었다/였다", "가수였다"),
        ("철민", "이라/라", "철민이라"),
        ("누나", "이라고/라고", "누나라고"),
        ("떡", "이나/나", "떡이나"),
        ("누나", "이랑/랑", "누나랑"),
        ("곰", "이었는데/였는데", "곰이었는데"),
        ("2", "은/는", "2는"),
        ("3", "은/는", "3은"),
        ("7", "으로/로", "7로"),
        ("6", "으로/로", "6으로"),
        ("10", "을/를", "10을"),
        ("1,000", "이/가", "1,000이"),
        ("20000", "으로/로", "20000으로"),
        ("1000000000000", "을/를", "1000000000000를"),
        ("0.5", "은/는", "0.5는"),
        ("3.10", "은/는", "3.10은"),
        ("50%", "을/를", "50%를"),
        ("GPU", "을/를", "GPU를"),
        ("LLM", "은/는", "LLM은"),
        ("URL", "으로/로", "URL로"),
        ("Python", "을/를", "Python을"),
        ("Google", "으로/로", "Google로"),
        ("server", "을/를", "server를"),
        ("internet", "은/는", "internet은"),
        ("code", "을/를", "code를"),
        ("ㅋㅋㅋ", "은/는", "ㅋㅋㅋ은"),
        ("ㅠㅠ", "은/는", "ㅠㅠ는"),
        ("서울(Seoul)", "으로/로", "서울(Seoul)로"),
        ("'책'", "은/는", "'책'은"),
        ("「나무」", "은/는", "「나무」는"),
        ("\u1100\u1161\u11a8", "은/는", "\u1100\u1161\u11a8은"),  # decomposed 각
    ],
)
def test_josa(word, pair, expected):
    assert josa(word, pair) == expected


@pytest.mark.parametrize("word", ["大韓", "😀", ""])
def test_an_unreadable_word_gets_both_forms(word):
    assert final_sound(word) is None
    assert has_final(word) is None
    assert pick_josa(word, "은/는") == "은(는)"
    assert pick_josa(word, "으로/로") == "(으)로"
    assert pick_josa(word, "이나/나") == "(이)나"


@pytest.mark.parametrize("pair", ["은", "은/를", "은/는/이", "/는", "", "는/"])
def test_nonsense_pairs_are_refused(pair):
    with pytest.raises(ValueError, match="particles"):
        josa("책", pair)
