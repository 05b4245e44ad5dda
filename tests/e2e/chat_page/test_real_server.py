"""The page at the real server, with a model of random weights; and below a path of a proxy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import llamacpp
import pytest
import tiny
import torch
from chat_driver import Chat, wait_for
from chat_stand_in import listening, serve
from odd_models import odd, saved
from playwright.sync_api import Browser, expect

import yaongi
from yaongi.infer.rules import SPOKEN_CONTROL
from yaongi.interop.gguf import export_gguf
from yaongi.serve.app import build_app


def talkative(context_len: int = 2048) -> yaongi.Model:
    """A model that has no end: the logits of its control tokens are 0, far from the likeliest."""
    model = yaongi.Model(tiny.lm(), tiny.tokenizer(), context_len=context_len)
    ids = [tiny.tokenizer().control_id(name) for name in SPOKEN_CONTROL]
    with torch.no_grad():
        model.lm.head_weight[ids] = 0
    return model


@pytest.fixture
def real(browser: Browser) -> Iterator[tuple[Chat, Any]]:
    app = build_app(talkative(), "작은 야옹이", key="key")
    with listening(app) as url:
        chat = Chat(browser, SimpleNamespace(url=url))
        yield chat, app.state.service.worker
        chat.context.close()
        assert chat.faults == [] and chat.elsewhere == []


def test_a_conversation_with_a_model(real: tuple[Chat, Any]) -> None:
    chat, worker = real
    dialog = chat.page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    chat.page.keyboard.press("Escape")  # whoever would rather not is asked again in the answer
    expect(chat.ask("안녕").get_by_role("alert")).to_contain_text("wants a valid API key")
    expect(dialog).to_be_hidden()
    chat.press("Enter the key")
    chat.page.get_by_label("API key").fill("worse")
    chat.page.keyboard.press("Enter")
    # it is asked for until it is right
    for key in ("wrong", "key"):
        expect(dialog.get_by_role("alert")).to_have_text("The server wants a valid API key.")
        expect(chat.page.get_by_label("API key")).to_be_focused()
        chat.page.get_by_label("API key").fill(key)
        chat.page.keyboard.press("Enter")
    expect(chat.page.get_by_label("Model")).to_have_value("작은 야옹이")
    expect(dialog).to_be_hidden()
    chat.set(system="너는 고양이다.", top_k="9", max_tokens="20", seed="3")
    chat.press("Try again")
    expect(chat.ended()).to_contain_text("20 tokens")
    expect(chat.answer).to_contain_text("Cut at the longest answer allowed")
    said = chat.text.inner_text()
    chat.press("Regenerate")
    expect(chat.page.get_by_role("group", name="Answer 2 of 2")).to_be_visible()
    assert chat.text.inner_text() == said != "", "the same seed says the same"
    chat.set(max_tokens="100000")
    chat.write("끝없이")
    wait_for(lambda: worker.running == 1 and chat.text.inner_text() != "")
    chat.page.keyboard.press("Escape")
    expect(chat.ended()).to_contain_text("Stopped.")
    wait_for(lambda: worker.running == len(worker.jobs) == 0)
    said = chat.text.inner_text()
    assert said != ""
    chat.write("또 끝없이")
    wait_for(lambda: worker.running == 1 and chat.text.inner_text() not in ("", said))
    chat.press("Stop")
    chat.ended()
    wait_for(lambda: worker.running == 0)
    kept = chat.page.locator(".answer .text").all_inner_texts()
    chat.reload()
    assert chat.page.locator(".answer .text").all_inner_texts() == kept and kept[-2] == said


def test_a_conversation_longer_than_the_context(real: tuple[Chat, Any]) -> None:
    chat, _worker = real
    chat.page.get_by_label("API key").fill("key")
    chat.page.keyboard.press("Enter")
    expect(chat.page.get_by_label("Model")).to_have_value("작은 야옹이")
    chat.ask("가나다라 " * 3000)
    expect(chat.answer.get_by_role("alert")).to_contain_text(
        "no longer fits into the model’s context"
    )


def test_what_the_server_does_by_itself_is_told(browser: Browser) -> None:
    app = build_app(talkative(300), "작은 야옹이", overflow="drop_oldest")
    with listening(app) as url:
        chat = Chat(browser, SimpleNamespace(url=url))
        chat.set(max_tokens="20")
        chat.press("Settings")
        expected = {"temperature": "0.3 (default)", "top_k": "0 (default)",
                    "max_tokens": "server’s default", "seed": "random"}  # fmt: skip
        for name, hint in expected.items():
            field = chat.page.locator(f"#settings [name={name}]")
            expect(field).to_have_attribute("placeholder", hint)
        chat.page.keyboard.press("Escape")
        for _ in range(3):
            chat.ask("가나다라 마바사 " * 9)
        expect(chat.answer).to_contain_text("messages were left out for this answer")
        expect(chat.page.locator(".answer").first).not_to_contain_text("left out")
        chat.reload()
        expect(chat.answer).to_contain_text("messages were left out for this answer")
        chat.context.close()
        assert chat.faults == [] and chat.elsewhere == []


def test_a_temperature_somebody_chose_for_the_model_is_taken(browser: Browser) -> None:
    app = build_app(talkative(300), "작은 야옹이", sampling={"temperature": 1.0})
    with listening(app) as url:
        chat = Chat(browser, SimpleNamespace(url=url))
        chat.press("Settings")
        hint = chat.page.get_by_label("Temperature").get_attribute("placeholder")
        assert hint == "1 (default)"
        chat.page.keyboard.press("Escape")
        with chat.page.expect_request("**/v1/chat/completions") as sent:
            chat.write("안녕")
        assert "temperature" not in json.loads(sent.value.post_data or "")
        chat.ended()
        chat.context.close()
        assert chat.faults == [] and chat.elsewhere == []


def test_a_conversation_with_a_gguf(browser: Browser, tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp", reason=llamacpp.REASON)
    file = tmp_path / "x.gguf"
    export_gguf(saved(odd("llama", 3), tmp_path / "m"), file, quant="f32", context_len=512)
    with listening(build_app(yaongi.load(file), "구운 야옹이")) as url:
        chat = Chat(browser, SimpleNamespace(url=url))
        chat.set(temperature="0", max_tokens="20")
        chat.ask("안녕")
        expect(chat.ended()).to_contain_text("20 tokens")
        assert chat.text.inner_text() != ""
        chat.context.close()
        assert chat.faults == [] and chat.elsewhere == []


def test_the_page_below_a_path(browser: Browser) -> None:
    with serve(below="/yaongi") as stand_in:
        chat = Chat(browser, stand_in)
        chat.ask("하나")
        expect(chat.text).to_have_text("네.")
        chat.context.close()
        assert chat.faults == [] and chat.elsewhere == []
