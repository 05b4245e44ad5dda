"""What goes wrong at the server is told plainly, with a way on."""

from __future__ import annotations

import threading

from chat_driver import Chat
from chat_stand_in import Reply
from playwright.sync_api import expect

REFUSALS = [
    (Reply(status=429, headers={"Retry-After": "7"}), "too much to do. Try again in 7 s."),
    (Reply(status=503, headers={"Retry-After": "9"}), "starting, stopping or overloaded."),
    (Reply(status=413, message="2 MB"), "too large for the server."),
    (Reply(status=413, code="prompt_too_long"), "no longer fits into the model’s context."),
    (Reply(status=400, code="context_length_exceeded"), "no longer fits"),
    (Reply(status=400, message="top_k <b>"), "The server says: top_k <b>"),
    (Reply(status=403), "refused the request (403)"),
    (Reply(status=500), "The server failed (500)."),
    (Reply(["시작"], error="out of time"), "ended the answer early."),
]


def test_a_refusal_is_told_and_tried_again(chat: Chat) -> None:
    for reply, told in REFUSALS:
        chat.server.replies = [reply, Reply(["이제 됩니다."])]
        chat.press("New chat")
        chat.ask("하나")
        expect(chat.answer.get_by_role("alert")).to_contain_text(told)
        chat.press("Try again")
        expect(chat.text).to_have_text("이제 됩니다.")
        expect(chat.page.get_by_role("alert")).to_have_count(0)
        one, two = chat.server.asked[-2:]
        assert one["messages"] == two["messages"]


def test_a_lost_connection_keeps_what_came(chat: Chat) -> None:
    gate = threading.Event()
    chat.server.replies = [Reply(["반쯤"], breaks=True), Reply(["다"])]
    chat.server.replies[0].pieces.append(gate)
    chat.write("하나")
    expect(chat.text).to_have_text("반쯤")
    gate.set()
    chat.ended()
    expect(chat.answer.get_by_role("alert")).to_contain_text("The connection broke off")
    expect(chat.text).to_have_text("반쯤")
    chat.reload()
    expect(chat.answer.get_by_role("alert")).to_contain_text("The connection broke off")
    chat.press("Try again")
    expect(chat.text).to_have_text("다")


def test_an_answer_without_an_end_is_incomplete(chat: Chat) -> None:
    """A proxy that gives up closes the connection as if all were well."""
    for raw in ("", "data: {'no': json}\n\n", "data: <html>\n\n"):
        chat.press("New chat")
        chat.server.says("반쯤", raw=raw)
        expect(chat.ask("하나").get_by_role("alert")).to_contain_text("The connection broke off")
        expect(chat.text).to_have_text("반쯤")


def test_a_server_that_is_not_there(chat: Chat) -> None:
    chat.page.route("**/v1/**", lambda route: route.abort("connectionrefused"))
    chat.ask("하나")
    expect(chat.answer.get_by_role("alert")).to_contain_text("Is `yaongi serve` running?")
    chat.reload()
    expect(chat.page.get_by_role("status")).to_contain_text("No connection to the server.")
    chat.page.unroute("**/v1/**")
    chat.press("Try again")
    expect(chat.text).to_have_text("네.")
    expect(chat.page.get_by_label("Model")).to_have_value("yaongi-26m")


def test_a_server_that_wants_a_key_gets_one(chat: Chat) -> None:
    chat.server.replies = [Reply(status=401, message="Send the key."), Reply(["환영합니다."])]
    chat.ask("하나")
    expect(chat.answer.get_by_role("alert")).to_contain_text("wants a valid API key")
    chat.press("Enter the key")
    expect(chat.page.get_by_label("API key")).to_be_focused()
    chat.page.keyboard.type("abc")
    chat.page.keyboard.press("Enter")
    expect(chat.page.get_by_role("dialog")).to_be_hidden()
    chat.press("Try again")
    expect(chat.text).to_have_text("환영합니다.")
    assert chat.server.keys == [None, "Bearer abc"]


def test_a_key_that_no_header_can_carry_is_told(chat: Chat) -> None:
    chat.set(key="비밀")
    told = chat.page.get_by_role("dialog").get_by_role("alert")
    expect(told).to_have_text("The server wants a valid API key.")
    chat.page.keyboard.press("Escape")
    chat.ask("하나")
    expect(chat.answer.get_by_role("alert")).to_contain_text("wants a valid API key")
