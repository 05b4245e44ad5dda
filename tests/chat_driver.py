"""A person at the chat page: what tests do there, in their words."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Browser, Locator, Page

TIMEOUT_MS = 20_000  # for two cores that are busy with other tests
DESKTOP = {"width": 1100, "height": 720}
PHONE = {"width": 360, "height": 640}


def wait_for(true: Callable[[], object]) -> None:
    """Until ``true()``: a server hears of things a moment later than the page does them."""
    end = time.monotonic() + TIMEOUT_MS / 1000
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


class Chat:
    """A fresh browser profile on the page.

    Attributes:
        page: Playwright's.
        server: what it was opened at; has a ``url``.
        faults: uncaught exceptions, and what the content security policy forbade.
        elsewhere: addresses on other servers that the page asked for.
    """

    def __init__(self, browser: Browser, server: Any, **context: Any) -> None:
        settings = {"locale": "en-US", "viewport": DESKTOP, "reduced_motion": "reduce"}
        self.context = browser.new_context(**{**settings, **context})
        self.context.set_default_timeout(TIMEOUT_MS)
        self.server = server
        self.faults: list[str] = []
        self.elsewhere: list[str] = []
        self.page = self.tab()

    def tab(self) -> Page:
        """Another tab of the same profile."""
        page = self.context.new_page()
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("console", lambda said: "Policy" in said.text and self.faults.append(said.text))
        page.on("request", lambda asked: self._note(asked.url))
        page.goto(self.server.url)
        page.locator("#model option").first.wait_for(state="attached")
        return page

    def _note(self, url: str) -> None:
        if not url.startswith((self.server.url, "blob:")):
            self.elsewhere.append(url)

    def reload(self) -> None:
        self.page.reload()
        self.page.locator("#model option").first.wait_for(state="attached")

    def write(self, text: str) -> None:
        """Write and send, without waiting for the answer."""
        self.page.fill("#prompt", text)
        self.page.press("#prompt", "Enter")

    def ask(self, text: str) -> Locator:
        """Write, send, and wait until the answer has ended; the answer."""
        self.write(text)
        return self.ended()

    def ended(self) -> Locator:
        self.page.locator(".answer:last-child[aria-busy=false]").wait_for()
        return self.answer

    @property
    def answer(self) -> Locator:
        """The last answer."""
        return self.page.locator(".answer:last-child")

    @property
    def text(self) -> Locator:
        """Its words."""
        return self.answer.locator(".text")

    def press(self, name: str) -> None:
        """Press the button of that name."""
        self.page.get_by_role("button", name=name, exact=True).click()

    def set(self, **fields: str) -> None:
        """Fill fields of the settings."""
        self.press("Settings")
        for name, value in fields.items():
            self.page.locator(f"#settings [name={name}]").fill(value)
        self.page.keyboard.press("Escape")

    def titles(self) -> list[str]:
        """Of the conversations in the list."""
        return self.page.locator("#conversations .open").all_inner_texts()
