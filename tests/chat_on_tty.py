"""``yaongi chat`` with a model that says what it is told to; run by tests on a pseudo-terminal."""

from __future__ import annotations

import sys
import time
from typing import Any

from chat_says import Says, text

import yaongi
from yaongi.cli.main import main

SLOW = "천천히"


def reply(messages: list[Any]) -> list[int]:
    said = messages[-1]["content"]
    if SLOW in said:
        return text("느린 답 " * 200)
    return text(f"**들은 말:** {said}", "음")


class Slow(Says):
    def events(self, prompt: Any, **settings: Any) -> Any:
        slow = SLOW in self.seen[-1][-1]["content"]
        for event in super().events(prompt, **settings):
            time.sleep(0.02 if slow else 0)
            yield event


if __name__ == "__main__":
    yaongi.load = lambda *_a, **_k: Slow(reply, context_len=4000)  # type: ignore[assignment]
    main(["chat", ".", *sys.argv[1:]])
