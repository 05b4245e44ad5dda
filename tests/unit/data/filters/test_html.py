import pytest

from yaongi.data.filters.html import HTML

pytest.importorskip("resiliparse")

ARTICLE = "한강 공원에 벚꽃이 활짝 피었다. 주말을 맞아 많은 시민이 나들이를 나왔다."
PAGE = f"""<!DOCTYPE html>
<html><head><title>벚꽃</title><style>p {{ color: red }}</style><script>var a = 1;</script></head>
<body><nav><a href="/">홈</a><a href="/login">로그인</a></nav>
<article><h1>벚꽃 소식</h1><p>{ARTICLE}</p><p>다음 주에는 비가 온다 &amp; 춥다.</p></article>
<footer>사업자등록번호 123-45-67890</footer></body></html>"""


def clean(text, **settings):
    return HTML(**settings).clean(text)


def test_a_page_becomes_its_main_text():
    result = clean(PAGE)
    assert ARTICLE in result.text
    assert "비가 온다 & 춥다." in result.text
    assert not any(part in result.text for part in ("<", "var a", "color", "로그인", "사업자"))
    assert result.changed == {"html": 1}
    assert "로그인" in clean(PAGE, main_content=False).text


def test_a_fragment_keeps_all_its_text():
    result = clean("<p>안녕하세요.<br>날씨가 좋네요.</p><p>둘째 문단<br/>마지막 줄</p>")
    assert result.text == "안녕하세요.\n날씨가 좋네요.\n\n둘째 문단\n마지막 줄"


def test_a_page_without_text_is_dropped():
    assert clean("<html><body><script>go()</script></body></html>").drop == "no text"


@pytest.mark.parametrize(
    "text",
    [
        ARTICLE,
        "부등호 a < b, x > y 그리고 <제목> 같은 괄호 <3",
        "줄을 바꾸려면 <br> 태그를 쓴다. " + ARTICLE * 5,
        "# 제목\n\n```html\n<div><p>예시</p><p>둘</p></div>\n```\n\n설명",
        "import React from 'react';\nexport default () => <div><p>a</p><p>b</p></div>;\n",
        "| 이름 | 뜻 |\n|---|---|\n| a<br>b | 하나<br>둘<br>셋 |\n| c | 넷<br>다섯 |",
        "List<String> names = new ArrayList<>();",
        "<저작권자 ⓒ 연합뉴스>",
    ],
)
def test_what_only_mentions_tags_stays(text):
    assert clean(text).text == text
