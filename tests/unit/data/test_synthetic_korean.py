"""활용, 조사, speech level: the Korean of the embedded corpus against known forms."""

import random

import pytest

from yaongi.data.synthetic.conjugation import conjugate, copula
from yaongi.data.synthetic.people import Narrator, child, grown, speaks_politely
from yaongi.data.synthetic.template import (
    AND,
    CASUAL,
    FORMAL,
    PLAIN,
    POLITE,
    Scene,
    Synonyms,
    Word,
    compile_text,
    read_pools,
)

FORMS = """
가다 았다 갔다 | 서다 았다 섰다 | 보다 았다 보았다 | 보다 았어요 봤어요 | 주다 았다 주었다
주다 아서 줘서 | 오다 았다 왔다 | 배우다 았다 배웠다 | 마시다 았다 마셨다
기다리다 아서 기다려서 | 되다 았다 되었다 | 되다 아서 돼서 | 쉬다 았다 쉬었다 | 뛰다 아서 뛰어서
내다 았다 냈다 | 보내다 았다 보냈다 | 세다 았다 셌다 | 켜다 았다 켰다 | 지다 았다 졌다
피다 았다 피었다 | 피어나다 았다 피어났다 | 비다 아서 비어서 | 하다 았다 했다 | 하다 아서 해서
씩씩하다 은 씩씩한 | 좋아하다 는다 좋아한다 | 먹다 았다 먹었다 | 먹다 는다 먹는다
먹다 습니다 먹습니다 | 먹다 으면 먹으면 | 잡다 았다 잡았다 | 얇다 아서 얇아서 | 걷다 았다 걸었다
걷다 으면 걸으면 | 걷다 는 걷는 | 걷다 습니다 걷습니다 | 듣다 으려고 들으려고
깨닫다 았다 깨달았다 | 싣다 은 실은 | 묻다 았다 묻었다 | 묻다/ㄷ 았다 물었다 | 받다 았다 받았다
닫다 은 닫은 | 춥다 았다 추웠다 | 춥다 은 추운 | 돕다 았다 도왔다 | 돕다 으면 도우면
곱다 아서 고와서 | 무겁다 은 무거운 | 줍다 았다 주웠다 | 어둡다 아서 어두워서 | 잡다 으면 잡으면
입다 았다 입었다 | 좁다 아서 좁아서 | 굽다 은 구운 | 짓다 았다 지었다 | 짓다 으면 지으면
짓다 는 짓는 | 낫다 아서 나아서 | 젓다 은 저은 | 웃다 았다 웃었다 | 벗다 은 벗은
빨갛다 았다 빨갰다 | 빨갛다 은 빨간 | 하얗다 아서 하얘서 | 까맣다 고 까맣고 | 그렇다 아서 그래서
어떻다 은 어떤 | 커다랗다 은 커다란 | 좋다 아서 좋아서 | 놓다 았다 놓았다 | 쌓다 은 쌓은
뿌옇다 아서 뿌예서 | 부르다 았다 불렀다 | 모르다 았다 몰랐다 | 빠르다 아서 빨라서
기르다 는다 기른다 | 따르다 았다 따랐다 | 치르다 았다 치렀다 | 푸르다 았다 푸르렀다
이르다/러 았다 이르렀다 | 이르다 아서 일러서 | 쓰다 았다 썼다 | 크다 아서 커서
바쁘다 아서 바빠서 | 기쁘다 았다 기뻤다 | 모으다 았다 모았다 | 담그다 았다 담갔다
푸다 았다 펐다 | 끄다 았다 껐다 | 살다 는다 산다 | 살다 는 사는 | 살다 습니다 삽니다
살다 으면 살면 | 살다 은 산 | 살다 을 살 | 살다 으니 사니 | 만들다 았다 만들었다
만들다 음 만듦 | 길다 은 긴 | 길다 는다 길다 | 둥글다 는데 둥근데 | 울다 고 울고
예쁘다 는다 예쁘다 | 예쁘다 는데 예쁜데 | 예쁘다 습니다 예쁩니다 | 작다 은 작은 | 작다 는 작은
사랑스럽다 은 사랑스러운 | 있다 는다 있다 | 있다 는 있는 | 없다 는데 없는데 | 없다 았다 없었다
재미있다 는 재미있는 | 가다 을 갈 | 먹다 을 먹을 | 가다 으려고 가려고 | 앉다 으세요 앉으세요
가다 읍시다 갑시다 | 알다 으세요 아세요 | 보다 지만 보지만 | 보다 았지만 보았지만
놀다 으며 놀며 | 놀라다 았다 놀랐다 | 펴다 아서 펴서 | 아니다 고 아니고
"""
TABLE = [row.split() for line in FORMS.split("\n") for row in line.split("|") if row.strip()]


@pytest.mark.parametrize(("word", "ending", "expected"), TABLE, ids=[" ".join(r) for r in TABLE])
def test_conjugation(word, ending, expected):
    assert conjugate(word, ending) == expected


@pytest.mark.parametrize(
    ("word", "ending", "expected"),
    [
        ("가다", "았다", "가셨다"), ("웃다", "았다", "웃으셨다"), ("듣다", "았다", "들으셨다"),
        ("돕다", "았다", "도우셨다"), ("만들다", "았다", "만드셨다"), ("먹다", "았다", "드셨다"),
        ("자다", "았다", "주무셨다"), ("말하다", "았다", "말씀하셨다"),
        ("앉아 있다", "았다", "앉아 계셨다"),
        ("오다", "아요", "오세요"), ("보여 주다", "은", "보여 주신"), ("짓다", "고", "지으시고"),
    ],
)  # fmt: skip
def test_honorific(word, ending, expected):
    assert conjugate(word, ending, honorific=True) == expected


@pytest.mark.parametrize(
    ("noun", "ending", "expected"),
    [
        ("봄", "았다", "봄이었다"), ("나무", "았다", "나무였다"), ("봄", "아요", "봄이에요"),
        ("나무", "아요", "나무예요"), ("봄", "아", "봄이야"), ("나무", "아", "나무야"),
        ("봄", "습니다", "봄입니다"), ("나무", "았습니다", "나무였습니다"), ("봄", "은", "봄인"),
        ("'느림보'", "았다", "'느림보'였다"), ("길", "아서", "길이어서"),
    ],
)  # fmt: skip
def test_copula(noun, ending, expected):
    assert copula(noun, ending) == expected


def test_a_phrase_is_conjugated_at_its_end():
    assert conjugate("조개를 줍다", "았다") == "조개를 주웠다"


def test_what_is_no_dictionary_form_is_refused():
    with pytest.raises(ValueError, match="dictionary form"):
        conjugate("예쁜", "았다")


def test_people_are_named_called_and_addressed():
    assert [child("지훈")[p] for p in ("은", "이", "에게", "아")] == [
        "지훈이는", "지훈이가", "지훈이에게", "지훈아",
    ]  # fmt: skip
    assert [child("민지")[p] for p in ("은", "이", "아")] == ["민지는", "민지가", "민지야"]
    assert [Narrator(humble=False)[p] for p in ("은", "이", "의")] == ["나는", "내가", "내"]
    assert [Narrator(humble=True)[p] for p in ("은", "이", "의")] == ["저는", "제가", "제"]
    assert Word("연필")["으로"] == "연필로"


def scene(lines="", **slots):
    pools = read_pools(lines.split("\n"))
    pools |= read_pools(["== said.say", "{who이} [말하다]"])
    return Scene(random.Random(0), pools, slots=slots, speech=speaks_politely)


@pytest.mark.parametrize(
    ("register", "expected"),
    [
        (PLAIN, "민지는 사과를 먹었다"),
        (FORMAL, "민지는 사과를 먹었습니다"),
        (POLITE, "민지는 사과를 먹었어요"),
        (CASUAL, "민지는 사과를 먹었어"),
        (AND, "민지는 사과를 먹었고"),
    ],
)
def test_one_line_serves_every_register(register, expected):
    told = scene(a=child("민지"), x=Word("사과"))
    told.register = register
    assert compile_text("{a은} {x을} [먹다]")(told) == expected


def test_particles_follow_whatever_was_chosen():
    told = scene("== fruit\n귤\n사과")
    seen = {compile_text("<fruit>~을 [사다]")(told) for _ in range(20)}
    assert seen == {"귤을 샀다", "사과를 샀다"}
    assert compile_text("때는 봄~=")(told) == "때는 봄이었다"


def test_speech_level_follows_who_speaks_to_whom():
    told = scene(a=child("민지"), b=child("지훈"), e=grown("상호"))
    line = "「{0}→{1} q: 고마워{{요}}. {{응/네}}, 그건 배야{{요}}.」"
    assert compile_text(line.format("a", "b"))(told) == '"고마워. 응, 그건 배야."'
    assert compile_text(line.format("a", "e"))(told) == '"고마워요. 네, 그건 배예요."'


def test_a_line_needs_what_it_says_and_is_told_once():
    told = scene("== p\nrain: 비가 [오다]\n!rain: 해가 [나다]\n!rain: 바람이 [불다]")
    assert {told.line("p"), told.line("p")} == {"해가 났다", "바람이 불었다"}
    told.tags.add("rain")
    assert told.line("p") == "비가 왔다"
    told.tags = {"rain", "x"}
    with pytest.raises(LookupError, match="fits"):
        scene("== p\nrain: 비가 [오다]").line("p")


def test_the_last_predicate_can_be_left_open():
    told = scene(a=child("민지"))
    assert compile_text("{a은} 길을 [걷다]", tail=True)(told) == "민지는 길을 "
    assert told.tail is not None
    assert [told.tail(how) for how in (PLAIN, AND)] == ["걸었다", "걸었고"]


@pytest.mark.parametrize("text", ["(가|나", "가)", "「a→b say: 응", "{a", "[걷다", "<p"])
def test_brackets_that_do_not_match_are_refused(text):
    with pytest.raises(ValueError, match="bracket"):
        compile_text(text)


def test_synonyms_widen_words_but_not_parts_of_words():
    words = Synonyms(["함께 | 같이", "[웃다] | 미소를 짓다"])
    assert words.widen("{b과} 함께 [웃다]") == "{b과} (함께|같이) [웃다|미소를 짓다]"
    assert words.widen("함께하다 [울다]") == "함께하다 [울다]"
