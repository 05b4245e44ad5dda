"""Conversations stay in the browser: reload, rename, delete, files, other tabs, a full browser."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

from chat_driver import Chat
from playwright.sync_api import expect

ANSWER = {
    "content": "반가워",
    "thinking": "",
    "finish": "stop",
    "problem": None,
    "model": "m",
    "seed": 1,
    "tokens": 2,
    "seconds": 0.1,
}
TURNS = [
    {"role": "user", "content": "안녕"},
    {"role": "assistant", "shown": 0, "answers": [ANSWER]},
]
CONVERSATION = {
    "id": "0123456789ab",
    "title": "인사",
    "changed": 5,
    "model": "m",
    "settings": {},
    "turns": TURNS,
}


def a_file(tmp_path: Path, *conversations: Any, format: str = "yaongi-chats") -> Path:
    path = tmp_path / "chats.json"
    file = {"format": format, "version": 1, "conversations": conversations}
    path.write_text(json.dumps(file), "utf-8")
    return path


def test_conversations_survive_a_reload(chat: Chat) -> None:
    chat.server.says("**야옹**")
    chat.ask("하나")
    chat.press("New chat")
    chat.set(system="짧게.", temperature="0.5")
    chat.ask("둘 😺 한글")
    chat.reload()
    assert chat.titles() == ["둘 😺 한글", "하나"]
    expect(chat.page.locator(".bubble")).to_have_text("둘 😺 한글")
    chat.ask("또")
    assert chat.server.asked[-1]["messages"][0]["content"] == "짧게."
    chat.page.get_by_role("button", name="하나", exact=True).click()
    expect(chat.text.locator("strong")).to_have_text("야옹")
    expect(chat.page).to_have_title("하나 – yaongi")


def test_a_title_cuts_no_letter(chat: Chat) -> None:
    text = unicodedata.normalize("NFD", "각") * 39 + "👩‍👩‍👧‍👦" + "나머지"
    chat.ask(text)
    assert chat.titles() == [text.removesuffix("나머지")]


def test_renaming(chat: Chat) -> None:
    chat.ask("하나")
    chat.press("Rename “하나”")
    chat.page.get_by_role("textbox", name="Title").fill("첫째 <b>")
    chat.page.keyboard.press("Enter")
    expect(chat.page.get_by_role("heading", level=1)).to_have_text("첫째 <b>")
    chat.reload()
    assert chat.titles() == ["첫째 <b>"]


def test_deleting_asks_first(chat: Chat) -> None:
    chat.ask("하나")
    chat.press("Delete “하나”")
    expect(chat.page.get_by_role("button", name="Cancel")).to_be_focused()
    chat.page.keyboard.press("Escape")
    assert chat.titles() == ["하나"]
    chat.press("Delete “하나”")
    chat.press("Delete")
    expect(chat.page.locator("#conversations li")).to_have_count(0)
    chat.reload()
    assert chat.titles() == []
    expect(chat.page.locator("#turns article")).to_have_count(0)


def test_a_file_carries_conversations_elsewhere(
    open_chat: Callable[..., Chat], tmp_path: Path
) -> None:
    one = open_chat()
    one.server.says("think:흠.", "가각 ㅋㅋㅋ 漢字 😺")
    one.ask("하나")
    one.press("New chat")
    one.ask("둘")
    with one.page.expect_download() as download:
        one.press("Export all")
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)
    other = open_chat()
    other.page.locator("#file").set_input_files(file)
    expect(other.page.get_by_role("status")).to_have_text("Conversations imported: 2.")
    assert other.titles() == one.titles() == ["둘", "하나"]
    other.page.get_by_role("button", name="하나", exact=True).click()
    expect(other.text).to_have_text("가각 ㅋㅋㅋ 漢字 😺")
    other.page.locator("#file").set_input_files(file)
    expect(other.page.locator("#conversations li")).to_have_count(4), "none is overwritten"


def test_one_conversation_as_a_file(chat: Chat) -> None:
    chat.ask("하나, 둘/셋?")
    with chat.page.expect_download() as download:
        chat.press("Export “하나, 둘/셋?”")
    assert download.value.suggested_filename == "하나-둘-셋.json"
    found = json.loads(Path(download.value.path()).read_text("utf-8"))
    assert [c["turns"][0]["content"] for c in found["conversations"]] == ["하나, 둘/셋?"]


BROKEN = {
    "no object": 3,
    "no turns": {**CONVERSATION, "turns": None},
    "an id that is a path": {**CONVERSATION, "id": "../../x"},
    "turns out of order": {**CONVERSATION, "turns": TURNS[::-1]},
    "a title that is a list": {**CONVERSATION, "title": ["x"]},
    "an answer without text": {**CONVERSATION, "turns": [TURNS[0], {**TURNS[1], "answers": [{}]}]},
    "a problem that is none": {
        **CONVERSATION,
        "turns": [
            TURNS[0],
            {**TURNS[1], "answers": [{**ANSWER, "problem": {"kind": "constructor", "detail": ""}}]},
        ],
    },
    "no answers": {**CONVERSATION, "turns": [TURNS[0], {**TURNS[1], "answers": []}]},
}


def test_what_is_no_conversation_is_left_out(chat: Chat, tmp_path: Path) -> None:
    chat.page.locator("#file").set_input_files(a_file(tmp_path, *BROKEN.values(), CONVERSATION))
    said = f"Conversations imported: 1. Not readable: {len(BROKEN)}."
    expect(chat.page.get_by_role("status")).to_have_text(said)
    assert chat.titles() == ["인사"]


def test_another_file_is_refused(chat: Chat, tmp_path: Path) -> None:
    for number, text in enumerate(["", "[]", "null", '{"format": "x", "conversations": []}']):
        path = tmp_path / f"{number}.json"
        path.write_text(text)
        chat.page.evaluate("document.getElementById('notices').replaceChildren()")
        chat.page.locator("#file").set_input_files(path)
        expect(chat.page.get_by_role("status")).to_contain_text("no conversations of this page")


def test_a_spoilt_entry_breaks_nothing(chat: Chat) -> None:
    chat.ask("하나")
    chat.page.evaluate(
        "values => values.forEach((v, i) => localStorage.setItem('yaongi.chat.broken' + i, v))",
        ["{", "null", '"x"', *map(json.dumps, BROKEN.values())],
    )
    chat.reload()
    assert chat.titles() == ["하나"]


def test_an_answer_that_is_none_is_not_shown(chat: Chat) -> None:
    """Of a list, "length" and "at" are there as well."""
    for shown in ("length", "at", 7, -1, 0.5, None):
        spoilt = {**CONVERSATION, "turns": [TURNS[0], {**TURNS[1], "shown": shown}]}
        chat.page.evaluate(
            "value => localStorage.setItem('yaongi.chat.0123456789ab', value)", json.dumps(spoilt)
        )
        chat.reload()
        chat.page.get_by_role("button", name="인사", exact=True).click()
        expect(chat.text).to_have_text("반가워")


def test_a_full_browser_says_so(chat: Chat) -> None:
    chat.page.evaluate(
        "() => { let s = 'x'.repeat(1e6); for (; s; ) try { localStorage.setItem("
        "'filler' + localStorage.length, s) } catch { s = s.slice(s.length / 2 + 1) } }"
    )
    chat.write("하나 " * 500)
    expect(chat.page.get_by_role("status")).to_contain_text("could not keep this conversation")
    expect(chat.text).to_have_text("네.")


def test_a_browser_that_keeps_nothing_still_talks(open_chat: Callable[..., Chat]) -> None:
    chat = open_chat()
    for name in ("localStorage", "sessionStorage"):
        chat.context.add_init_script(
            f"Object.defineProperty(window, '{name}', {{get() {{ throw new DOMException('x') }}}})"
        )
    chat.reload()
    expect(chat.page.get_by_role("status")).to_contain_text("keeps nothing")
    chat.ask("하나")
    expect(chat.text).to_have_text("네.")
    chat.press("New chat")
    assert chat.titles() == ["하나"]


def test_tabs_see_each_other(chat: Chat) -> None:
    other = chat.tab()
    chat.ask("하나")
    other.bring_to_front()  # else nothing is drawn there
    expect(other.locator("#conversations .open")).to_have_text(["하나"])
    chat.page.bring_to_front()
    chat.press("Delete “하나”")
    chat.press("Delete")
    other.bring_to_front()
    expect(other.locator("#conversations li")).to_have_count(0)


def test_the_key_is_for_this_tab_only(chat: Chat) -> None:
    chat.set(key="secret")
    chat.ask("하나")
    assert chat.server.keys == ["Bearer secret"]
    assert "secret" not in chat.page.evaluate("JSON.stringify(localStorage)")
    with chat.page.expect_download() as download:
        chat.press("Export all")
    assert "secret" not in Path(download.value.path()).read_text("utf-8")
    assert chat.tab().evaluate("sessionStorage.getItem('yaongi.key')") is None
