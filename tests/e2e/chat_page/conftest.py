"""A browser for the tests of the chat page; without one they are skipped, saying so."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install -e '.[dev]'")

import chat_stand_in
from chat_driver import Chat
from chat_stand_in import StandIn
from playwright.sync_api import Browser, sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="module")  # asyncio.run of other tests fails while Playwright's loop is there
def browser() -> Iterator[Browser]:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("needs a browser: install Chromium (apt-get install chromium)")
    sandbox = [] if os.geteuid() else ["--no-sandbox"]  # Chromium's needs a user that is not root
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=sandbox)
        yield started
        started.close()


@pytest.fixture(scope="module")
def server() -> Iterator[StandIn]:
    with chat_stand_in.serve() as stand_in:
        yield stand_in


@pytest.fixture
def stand_in(server: StandIn) -> StandIn:
    server.forget()
    return server


@pytest.fixture
def open_chat(browser: Browser, stand_in: StandIn) -> Iterator[Callable[..., Chat]]:
    """Opens the page; at the end nothing may have gone wrong or elsewhere."""
    opened: list[Chat] = []

    def opening(**context: Any) -> Chat:
        opened.append(Chat(browser, stand_in, **context))
        return opened[-1]

    yield opening
    for chat in opened:
        chat.context.close()
        assert chat.faults == []
        assert chat.elsewhere == []


@pytest.fixture
def chat(open_chat: Callable[..., Chat]) -> Chat:
    return open_chat()
