"""Answers: piece by piece, stopped, generated again, with the settings the person chose."""

from __future__ import annotations

import threading
import time

import pytest
from chat_driver import Chat, wait_for
from chat_stand_in import Reply
from playwright.sync_api import expect


def test_an_answer_appears_piece_by_piece(chat: Chat) -> None:
    first, second = threading.Event(), threading.Event()
    chat.server.says("야옹", first, "이가 ", second, "**왔다**.", tokens=7)
    chat.write("누가 왔니?")
    expect(chat.text).to_have_text("야옹")
    expect(chat.page.get_by_role("button", name="Stop")).to_be_visible()
    expect(chat.page.get_by_role("button", name="Send")).to_be_hidden()
    first.set()
    expect(chat.text).to_have_text("야옹이가")
    time.sleep(0.05)  # so that there is a pace to tell
    second.set()
    expect(chat.ended()).to_contain_text("7 tokens")
    expect(chat.text).to_have_text("야옹이가 왔다.")
    expect(chat.text.locator("strong")).to_have_text("왔다")
    expect(chat.answer.locator(".stats")).to_contain_text("tokens/s")


@pytest.mark.parametrize("way", ["the button", "Esc"])
def test_stopping_keeps_what_was_said_and_frees_the_server(chat: Chat, way: str) -> None:
    chat.server.says("하나", threading.Event(), "둘")
    chat.write("세어 봐.")
    expect(chat.text).to_have_text("하나")
    if way == "Esc":
        chat.page.keyboard.press("Escape")
    else:
        chat.press("Stop")
    expect(chat.ended()).to_contain_text("Stopped.")
    wait_for(lambda: chat.server.left == 1)
    expect(chat.text).to_have_text("하나")
    chat.server.says("셋")
    chat.ask("계속.")
    said = [(m["role"], m["content"]) for m in chat.server.asked[-1]["messages"]]
    assert said == [("user", "세어 봐."), ("assistant", "하나"), ("user", "계속.")]


def test_leaving_the_page_frees_the_server_and_keeps_what_was_said(chat: Chat) -> None:
    chat.server.says("하나", threading.Event())
    chat.write("세어 봐.")
    expect(chat.text).to_have_text("하나")
    chat.reload()
    wait_for(lambda: chat.server.left == 1)
    expect(chat.text).to_have_text("하나")
    expect(chat.answer).to_contain_text("Stopped.")


def test_a_question_stopped_before_a_word_is_not_sent_again(chat: Chat) -> None:
    """Two questions in a row are no conversation; models refuse them."""
    chat.server.says(threading.Event())
    chat.write("첫째")
    wait_for(lambda: chat.server.asked)
    chat.page.keyboard.press("Escape")
    expect(chat.ended()).to_contain_text("not sent along")
    chat.server.says("네")
    chat.ask("둘째")
    assert [m["content"] for m in chat.server.asked[-1]["messages"]] == ["둘째"]


def test_regenerating_keeps_the_earlier_answer_beside(chat: Chat) -> None:
    chat.server.replies = [Reply(["처음"]), Reply(["나중"]), Reply(["끝"])]
    chat.ask("말해 봐.")
    chat.press("Regenerate")
    expect(chat.text).to_have_text("나중")
    one, two = chat.server.asked
    assert one["messages"] == two["messages"] and one["seed"] != two["seed"]
    expect(chat.page.get_by_role("group", name="Answer 2 of 2")).to_be_visible()
    chat.press("Earlier answer")
    expect(chat.text).to_have_text("처음")
    chat.reload()
    expect(chat.text).to_have_text("처음")
    chat.ask("그리고?")
    contents = [m["content"] for m in chat.server.asked[-1]["messages"]]
    assert contents == ["말해 봐.", "처음", "그리고?"], "the one that is shown"
    expect(chat.page.get_by_role("button", name="Regenerate")).to_have_count(1)


def test_only_what_was_chosen_is_sent(chat: Chat) -> None:
    chat.ask("하나")
    body = chat.server.asked[-1]
    assert set(body) == {"model", "messages", "temperature", "seed", "stream", "stream_options"}
    assert body["temperature"] == 0.3, "the page's own, calmer than the API's"
    assert body["model"] == "yaongi-26m" and body["stream_options"] == {"include_usage": True}
    numbers = {"temperature": "0.7", "top_p": "0.9", "top_k": "40", "max_tokens": "64", "seed": "7"}
    chat.set(system="너는 고양이다.", **numbers)
    chat.ask("둘")
    body = chat.server.asked[-1]
    assert {name: body[name] for name in numbers} == {k: float(v) for k, v in numbers.items()}
    assert body["messages"][0] == {"role": "system", "content": "너는 고양이다."}
    chat.set(temperature="0", top_k="")
    chat.ask("셋")
    assert chat.server.asked[-1]["temperature"] == 0 and "top_k" not in chat.server.asked[-1]


def test_a_number_that_is_out_of_range_is_told_and_not_sent(chat: Chat) -> None:
    chat.press("Settings")
    temperature = chat.page.get_by_label("Temperature")
    temperature.fill("9")
    told = chat.page.get_by_role("dialog").get_by_role("alert")
    expect(told).to_have_text("Temperature: a number from 0 to 2. Until then the default is taken.")
    expect(temperature).to_have_attribute("aria-invalid", "true")
    chat.page.get_by_label("Top-k").fill("1.5")
    expect(told).to_contain_text("Top-k: a whole number from 0.")
    temperature.fill("1")
    expect(told).not_to_contain_text("Temperature")
    chat.page.keyboard.press("Escape")
    expect(chat.page.get_by_role("status")).to_contain_text("Top-k: a whole number from 0.")
    chat.ask("하나")
    assert chat.server.asked[-1]["temperature"] == 1 and "top_k" not in chat.server.asked[-1]
    chat.press("Settings")
    expect(told).to_be_hidden()


def test_what_is_written_while_an_answer_runs_is_kept_and_told(chat: Chat) -> None:
    gate = threading.Event()
    chat.server.says("하나", gate, "둘")
    chat.write("세어 봐.")
    expect(chat.text).to_have_text("하나")
    chat.write("다음 질문")
    expect(chat.page.get_by_role("status")).to_contain_text("The answer is still coming.")
    expect(chat.page.locator("#prompt")).to_have_value("다음 질문")
    gate.set()
    chat.ended()
    assert len(chat.server.asked) == 1
    chat.page.press("#prompt", "Enter")
    chat.ended()
    assert chat.server.asked[-1]["messages"][-1]["content"] == "다음 질문"


def test_thinking_is_folded_and_not_sent_back(chat: Chat) -> None:
    gate = threading.Event()
    chat.server.says("think:고양이라면 ", "think:야옹.", gate, "야옹.")
    chat.write("뭐라고 하지?")
    expect(chat.answer.locator("summary")).to_have_text("Thinking")
    gate.set()
    chat.ended()
    expect(chat.answer.locator("summary")).to_have_text("Thoughts")
    expect(chat.answer.locator(".thoughts")).to_be_hidden()
    expect(chat.text).to_have_text("야옹.")
    chat.answer.locator("summary").click()
    expect(chat.answer.locator(".thoughts")).to_have_text("고양이라면 야옹.")
    chat.ask("또?")
    assert "고양이라면" not in str(chat.server.asked[-1])


def test_the_end_is_explained(chat: Chat) -> None:
    chat.server.says("길다", finish="length")
    expect(chat.ask("길게")).to_contain_text("Cut at the longest answer allowed")
    chat.server.says()
    expect(chat.ask("짧게")).to_contain_text("ended without a word")


def test_two_conversations_answer_at_a_time(chat: Chat) -> None:
    gate = threading.Event()
    chat.server.replies = [Reply(["느린 ", gate, "답"]), Reply(["빠른 답"])]
    chat.write("느린 질문")
    expect(chat.text).to_have_text("느린")
    chat.press("New chat")
    chat.ask("빠른 질문")
    expect(chat.text).to_have_text("빠른 답")
    gate.set()
    chat.page.get_by_role("button", name="느린 질문", exact=True).click()
    chat.ended()
    expect(chat.text).to_have_text("느린 답")


def test_the_person_chooses_among_models(chat: Chat) -> None:
    chat.server.models = ["작은", "큰"]
    try:
        chat.reload()
        chat.page.get_by_label("Model").select_option("큰")
        chat.ask("누구야?")
        assert chat.server.asked[-1]["model"] == "큰"
        expect(chat.answer.get_by_role("heading")).to_have_text("큰")
        chat.reload()
        expect(chat.page.get_by_label("Model")).to_have_value("큰")
        chat.server.models = ["작은", "새것"]
        chat.reload()
        chat.ask("이제는?")
        assert chat.server.asked[-1]["model"] == "작은", "the other is gone"
    finally:
        chat.server.models = ["yaongi-26m"]
