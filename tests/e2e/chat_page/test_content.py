"""Whatever is written stays text: no HTML, no script, nothing loaded from elsewhere."""

from __future__ import annotations

import re

import pytest
from chat_driver import Chat
from playwright.sync_api import Error, expect

HOSTILE = [
    "<script>window.hit = 1</script>",
    "<img src=x onerror='window.hit = 1'>",
    "<svg onload='window.hit=1'><style>*{display:none}</style>",
    "<iframe srcdoc='<script>parent.hit=1</script>'></iframe>",
    "[누르세요](javascript:window.hit=1)",
    "[누르세요](  JaVaScRiPt&colon;window.hit=1)",
    "[누르세요](java&#x0A;script:window.hit=1)",
    "[x](data:text/html,<script>window.hit=1</script>)",
    "[x](vbscript:hit) [y](file:///etc/passwd) [z](//example.com/a) [w](/v1/models)",
    "<javascript:window.hit=1> <a href='javascript:window.hit=1'>x</a>",
    "![그림](https://example.com/who-reads-this.png)",
    "![x](javascript:window.hit=1)",
    "[a][b]\n\n[b]: javascript:window.hit=1",
    "```\"><script>window.hit=1</script>\n<script>window.hit=1</script>\n```",
    "```html\n<script>window.hit=1</script><img src=x onerror=window.hit=1>\n```",
    "`<img src=x onerror=window.hit=1>`",
    "| <img src=x onerror=window.hit=1> |\n|---|\n| <script>window.hit=1</script> |",
    "# <u onmouseover=window.hit=1>제목</u>",
    "&lt;script&gt;window.hit=1&lt;/script&gt; &#60;img src=x onerror=window.hit=1&#62;",
    "> > > > > > > > " * 40 + "깊다",
    "[" * 3000 + "](" * 300,
    "*a **b " * 2000,
    "]]>--><!--<![CDATA[<script>window.hit=1</script>",
    "\u202emoc.elpmaxe//:sptth\u202c \u200b숨은\u200b \u2067글자\u2069 \ufeff\u0000",
    "Z̸̢͝a̵l̷g̶o " * 50,
    "\ud83d 반쪽",
]  # fmt: skip
ALLOWED = {
    *("P", "H3", "H4", "H5", "H6", "UL", "OL", "LI", "BLOCKQUOTE", "EM", "STRONG", "A", "BR", "HR"),
    *("TABLE", "THEAD", "TBODY", "TR", "TH", "TD", "CODE", "PRE", "DIV", "SPAN", "BUTTON"),
    *("svg", "use"),
}


def elements(chat: Chat) -> set[str]:
    return set(chat.text.evaluate("e => [...e.querySelectorAll('*')].map(x => x.tagName)"))


def test_hostile_answers_stay_text(chat: Chat) -> None:
    for text in HOSTILE:
        chat.press("New chat")
        chat.server.says(*re.findall(r"[\s\S]{1,400}", text))
        chat.ask("말해 봐.")
        assert elements(chat) <= ALLOWED, text
        for link in chat.text.locator("a").all():
            assert re.match(r"(https?://|mailto:)", link.get_attribute("href") or ""), text
            assert "noopener" in (link.get_attribute("rel") or "")
        attributes = chat.text.evaluate(
            "e => [...e.querySelectorAll('*')].flatMap(x => x.getAttributeNames())"
        )
        assert not [name for name in attributes if name.startswith("on") or name == "style"], text
    assert chat.page.evaluate("window.hit") is None


def test_html_is_shown_as_it_was_written(chat: Chat) -> None:
    text = "<b>굵게</b> <script>alert(1)</script>"
    chat.server.says(text)
    chat.ask("말해 봐.")
    expect(chat.text).to_have_text(text)


def test_what_a_person_writes_stays_text_everywhere(chat: Chat) -> None:
    text = "<img src=x onerror='window.hit=1'> **별** \u202etxet"
    chat.server.models = [text]
    try:
        chat.reload()
        chat.ask(text)
        expect(chat.page.locator(".bubble")).to_have_text(text)
        expect(chat.page.locator("#conversations img")).to_have_count(0)
        assert chat.titles()[0].startswith("<img src=x")
        chat.page.locator("#conversations [data-kind=delete]").click()
        expect(chat.page.locator("#ask .about")).to_contain_text("<img src=x")
    finally:
        chat.server.models = ["yaongi-26m"]
    assert chat.page.evaluate("window.hit") is None


def test_an_image_is_a_link_not_a_request(chat: Chat) -> None:
    chat.server.says("![고양이](https://example.com/cat.png)")
    chat.ask("그림")
    link = chat.text.get_by_role("link", name="Image: 고양이")
    expect(link).to_have_attribute("href", "https://example.com/cat.png")


def test_the_page_cannot_use_html_even_by_mistake(chat: Chat) -> None:
    for mistake in ("document.body.innerHTML = '<p>x'", "document.write('x')"):
        with pytest.raises(Error, match="TrustedHTML"):
            chat.page.evaluate(mistake)
    chat.faults.clear()  # that it was forbidden was the point


def test_korean_markdown(chat: Chat) -> None:
    chat.server.says("**사과(apple)**는 네~~ 좋아요~~ *'빨강'*이라 README.md\n2 * 3 * 4 a_b_c")
    chat.ask("과일")
    expect(chat.text.locator("strong")).to_have_text("사과(apple)")
    expect(chat.text.locator("em")).to_have_text("'빨강'")
    expect(chat.text.locator("a")).to_have_count(0)
    expect(chat.text).to_contain_text("네~~ 좋아요~~")
    expect(chat.text).to_contain_text("2 * 3 * 4 a_b_c")
    expect(chat.text.locator("br")).to_have_count(1)


def test_markdown_is_shown_as_what_it_means(chat: Chat) -> None:
    table = "| 이름 | 값 |\n|:--|--:|\n| 가 | 1 |\n\n"
    chat.server.says(
        "# 제목\n\n3. 셋\n   - 안\n\n> 말\n\n---\n\n", table, "<https://example.com/가>"
    )
    chat.ask("모두")
    expect(chat.text.get_by_role("heading", level=3)).to_have_text("제목")
    expect(chat.text.locator("ol")).to_have_attribute("start", "3")
    expect(chat.text.locator("ol ul li")).to_have_text("안")
    expect(chat.text.locator("blockquote p")).to_have_text("말")
    expect(chat.text.get_by_role("cell", name="1")).to_have_css("text-align", "right")
    expect(chat.text.get_by_role("link")).to_have_attribute("target", "_blank")


CODE = 'def f(x):\n    """문서 <b>"""\n    return x + 1  # 하나\n'


def test_code_is_coloured_and_copied_as_it_is(chat: Chat) -> None:
    chat.context.grant_permissions(["clipboard-read", "clipboard-write"])
    chat.server.says(f"```python\n{CODE}```\n끝")
    chat.ask("코드")
    expect(chat.text.locator(".code-keyword")).to_have_text(["def", "return"])
    expect(chat.text.locator("pre")).to_have_text(CODE.rstrip("\n"))
    chat.press("Copy code")
    expect(chat.page.get_by_role("status")).to_have_text("Copied.")
    assert chat.page.evaluate("navigator.clipboard.readText()") == CODE.rstrip("\n")
    chat.press("Copy")
    assert chat.page.evaluate("navigator.clipboard.readText()") == f"```python\n{CODE}```\n끝"


def test_copying_without_the_clipboard_of_secure_pages(chat: Chat) -> None:
    """Over plain http from another machine browsers offer no navigator.clipboard."""
    chat.context.grant_permissions(["clipboard-read"])
    chat.server.says("복사할 말")
    chat.ask("말")
    chat.page.evaluate("window.board = navigator.clipboard")
    chat.page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    chat.press("Copy")
    expect(chat.page.get_by_role("status")).to_have_text("Copied.")
    assert chat.page.evaluate("board.readText()") == "복사할 말"


def test_code_that_reads_otherwise_than_it_runs_is_marked(chat: Chat) -> None:
    chat.server.says("```\nif (x) { /* \u202e } \u2066*/\n```")
    chat.ask("코드")
    expect(chat.text.locator(".warning")).to_have_text(
        "Hidden characters in this code: U+202E, U+2066"
    )


def test_blocks_that_do_not_change_stay_while_the_answer_grows(chat: Chat) -> None:
    """Else a selection would be lost, and long answers redrawn for every token."""
    kept, growing = chat.page.evaluate(
        """async () => {
            const { show } = await import("./markdown.js");
            const place = document.createElement("div");
            show(place, "첫째 문단\\n\\n둘", { growing: true });
            const [one, two] = place.children;
            show(place, "첫째 문단\\n\\n둘째 문단", { growing: true });
            return [place.children[0] === one, place.children[1] === two];
        }"""
    )
    assert kept and not growing
