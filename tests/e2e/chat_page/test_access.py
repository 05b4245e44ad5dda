"""For everybody: keyboard only, screen readers, phones, dark and light, Korean and English."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from chat_driver import PHONE, Chat
from playwright.sync_api import expect

LONG = (
    "긴단어" * 60 + " " + "https://example.com/" + "a" * 200 + "\n\n```python\n" + "x = 1; " * 60
    + "\n```\n\n| " + " | ".join(f"제목{i}" for i in range(20)) + " |\n" + "|---" * 20 + "|\n\n"
    + "`" + "code" * 80 + "`"
)  # fmt: skip


def faults(chat: Chat) -> list[str]:
    """What axe-core finds, each with where."""
    found = Axe().run(chat.page).response["violations"]
    return [f"{v['id']}: {n['target']} {n['failureSummary']}" for v in found for n in v["nodes"]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_anywhere(open_chat: Callable[..., Chat], scheme: str) -> None:
    chat = open_chat(locale="ko-KR", color_scheme=scheme)
    assert faults(chat) == []
    chat.server.says("think:음.", LONG, "\n\n# 제목\n> 말 [곳](https://example.com)")
    chat.ask("안녕")
    chat.page.locator("summary").click()
    chat.page.locator(".code-number").first.wait_for()
    assert faults(chat) == []
    chat.server.says(status=401, message="no")
    chat.ask("또")
    assert faults(chat) == []
    chat.press("설정")
    assert faults(chat) == []
    chat.page.keyboard.press("Escape")
    chat.page.locator("#conversations [data-kind=delete]").click()
    assert faults(chat) == []


def test_a_phone_has_no_sideways_scroll_and_a_list_that_slides_in(
    open_chat: Callable[..., Chat],
) -> None:
    chat = open_chat(viewport=PHONE, has_touch=True)
    chat.server.says(LONG)
    chat.ask("가" * 300)
    sideways = "e => e.scrollWidth - e.clientWidth"
    assert [chat.page.locator(e).evaluate(sideways) for e in ("html", "body", "main")] == [0, 0, 0]
    assert faults(chat) == []
    expect(chat.page.get_by_role("button", name="New chat")).to_be_hidden()
    menu = chat.page.get_by_role("button", name="Conversations")
    menu.click()
    expect(chat.page.get_by_role("button", name="Close the list")).to_be_focused()
    expect(chat.page.get_by_role("button", name="New chat")).to_be_in_viewport(ratio=1)
    assert faults(chat) == []
    chat.page.keyboard.press("Escape")
    expect(menu).to_be_focused()
    expect(chat.page.get_by_role("button", name="New chat")).to_be_hidden()
    menu.click()
    chat.press("New chat")
    expect(chat.page.locator("#prompt")).to_be_focused()
    chat.press("Settings")
    assert chat.page.locator("#settings").evaluate(sideways) == 0


def focused(chat: Chat) -> str:
    return chat.page.evaluate(
        "(document.activeElement.getAttribute('aria-label') || document.activeElement.textContent"
        " || document.activeElement.id).trim()"
    )


def test_everything_is_reached_by_keyboard(chat: Chat) -> None:
    chat.server.says("```python\nx\n```\n끝")
    expect(chat.page.locator("#prompt")).to_be_focused()
    chat.page.keyboard.type("하나")
    chat.page.keyboard.press("Enter")
    chat.ended()
    expect(chat.page.locator("#prompt")).to_be_focused()
    chat.reload()
    chat.page.locator(".skip").focus()
    walked = []
    while not walked or walked[-1] != "prompt":
        chat.page.keyboard.press("Tab")
        walked.append(focused(chat))
        ring = "e => getComputedStyle(e.closest('.field') ?? e)"  # the field's frame shows it
        shown = chat.page.locator(":focus-visible").evaluate(
            f"e => ({ring})(e).outlineStyle + ({ring})(e).boxShadow"
        )
        assert "solid" in shown or "0px 0px 0px 1px" in shown, walked[-1]
    assert walked == [
        "New chat", "하나", "Rename “하나”", "Export “하나”", "Delete “하나”", "Import",
        "Export all", "Settings", "Copy code", "Code", "Copy", "Regenerate", "prompt",
    ]  # fmt: skip
    chat.page.locator(".skip").focus()
    chat.page.keyboard.press("Enter")
    expect(chat.page.locator("#prompt")).to_be_focused()


def test_whoever_works_by_keyboard_stays_in_place(chat: Chat) -> None:
    chat.ask("하나")
    chat.page.get_by_role("button", name="Regenerate").press("Enter")
    chat.page.get_by_role("group", name="Answer 2 of 2").wait_for()
    expect(chat.answer).to_be_focused()
    chat.page.get_by_role("button", name="Earlier answer").press("Enter")
    chat.page.get_by_role("group", name="Answer 1 of 2").wait_for()
    expect(chat.answer).to_be_focused(), "there is none earlier"
    chat.page.get_by_role("button", name="Rename “하나”").press("Enter")
    chat.page.keyboard.type("둘")
    chat.page.keyboard.press("Enter")
    expect(chat.page.get_by_role("button", name="Rename “둘”")).to_be_focused()
    chat.press("New chat")
    chat.page.get_by_role("button", name="Delete “둘”").press("Enter")
    chat.page.keyboard.press("Tab")
    chat.page.keyboard.press("Enter")
    expect(chat.page.get_by_role("button", name="New chat")).to_be_focused()


def test_a_dialog_gives_the_focus_back(chat: Chat) -> None:
    chat.page.get_by_role("button", name="Settings").focus()
    chat.page.keyboard.press("Enter")
    expect(chat.page.get_by_role("dialog", name="Settings")).to_be_visible()
    chat.page.keyboard.press("Escape")
    expect(chat.page.get_by_role("button", name="Settings")).to_be_focused()


def test_enter_sends_and_shift_enter_breaks_the_line(chat: Chat) -> None:
    prompt = chat.page.locator("#prompt")
    chat.page.keyboard.press("Enter")
    chat.page.keyboard.type("한 줄")
    chat.page.keyboard.press("Shift+Enter")
    chat.page.keyboard.type("두 줄")
    expect(prompt).to_have_value("한 줄\n두 줄")
    chat.page.keyboard.press("Enter")
    chat.ended()
    expect(prompt).to_have_value("")
    assert [m["content"] for m in chat.server.asked[-1]["messages"]] == ["한 줄\n두 줄"]
    assert len(chat.server.asked) == 1, "an empty message is none"


def test_enter_that_ends_a_syllable_does_not_send(chat: Chat) -> None:
    """Korean input composes: 안녕하세 is fixed, 요 still in the making when Enter comes."""
    keys = chat.context.new_cdp_session(chat.page)
    chat.page.keyboard.insert_text("안녕하세")
    keys.send("Input.imeSetComposition", {"text": "요", "selectionStart": 1, "selectionEnd": 1})
    expect(chat.page.locator("#prompt")).to_have_value("안녕하세요")
    chat.page.evaluate(
        "addEventListener('keydown', e => window.composing = e.isComposing, {capture: true})"
    )
    chat.page.keyboard.press("Enter")
    assert chat.page.evaluate("composing") is True, "else this tests nothing"
    assert chat.server.asked == []
    keys.send("Input.insertText", {"text": "요"})
    late = "{key: 'Enter', keyCode: 229, bubbles: true, cancelable: true}"  # Safari's way
    prompt = chat.page.locator("#prompt")
    prompt.evaluate(f"e => e.dispatchEvent(new KeyboardEvent('keydown', {late}))")
    assert chat.server.asked == []
    said = chat.page.locator("#prompt").input_value().strip()
    chat.page.keyboard.press("Enter")
    chat.ended()
    assert chat.server.asked[-1]["messages"][-1]["content"] == said == "안녕하세요"


def test_a_listener_hears_sentences_as_they_end_each_once(chat: Chat) -> None:
    gate = threading.Event()
    chat.server.says("첫 문장입니다. 둘", gate, "째 문장입니다.")
    chat.write("둘을 말해 줘.")
    spoken = chat.page.get_by_role("log").locator("p")
    expect(spoken).to_have_text(["The answer begins.", "첫 문장입니다."])
    expect(chat.answer).to_have_attribute("aria-busy", "true")
    gate.set()
    expect(spoken).to_have_text(
        ["The answer begins.", "첫 문장입니다.", "둘째 문장입니다.", "The answer is complete."]
    )
    assert chat.page.get_by_role("log").get_attribute("aria-live") == "polite"


def test_a_reader_who_scrolled_up_is_left_there(chat: Chat) -> None:
    gate = threading.Event()
    chat.server.says("줄\n\n" * 60, gate, "끝", gate)
    chat.write("길게")
    main = chat.page.locator("main")
    at_end = "e => e.scrollHeight - e.scrollTop - e.clientHeight < 2"
    expect(chat.text).to_contain_text("줄")
    chat.page.wait_for_function("(" + at_end + ")(document.querySelector('main'))")
    main.evaluate("e => e.scrollTop = 0")
    expect(chat.page.get_by_role("button", name="To the latest message")).to_be_visible()
    gate.set()
    chat.ended()
    assert main.evaluate("e => e.scrollTop") == 0
    chat.press("To the latest message")
    assert main.evaluate(at_end)


def test_language_and_colours(open_chat: Callable[..., Chat]) -> None:
    chat = open_chat(locale="ko-KR", color_scheme="dark")
    dark = chat.page.evaluate("getComputedStyle(document.body).backgroundColor")
    expect(chat.page.get_by_role("heading", name="무엇을 이야기할까요?")).to_be_visible()
    chat.press("설정")
    chat.page.get_by_label("언어").select_option("en")
    expect(chat.page.get_by_role("heading", name="Settings")).to_be_visible()
    chat.page.get_by_label("Colours").select_option("light")
    light = chat.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert light != dark
    chat.reload()
    assert chat.page.evaluate("document.documentElement.lang") == "en"
    assert chat.page.evaluate("getComputedStyle(document.body).backgroundColor") == light
    chat.press("Settings")
    chat.page.get_by_label("Colours").select_option("auto")
    assert chat.page.evaluate("getComputedStyle(document.body).backgroundColor") == dark


def test_every_sentence_is_in_both_languages_with_the_same_fields(chat: Chat) -> None:
    words = chat.page.evaluate("import('./words.js').then(m => m.WORDS)")
    assert len(words) > 80
    for name, (english, korean) in words.items():
        assert sorted(fields(english)) == sorted(fields(korean)), name
        technical = name in ("topP", "topK")
        assert technical or any("가" <= letter <= "힣" for letter in korean), name


def fields(text: str) -> list[str]:
    return [part.split("}")[0] for part in text.split("{")[1:]]
