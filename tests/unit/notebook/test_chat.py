"""The chat box: a conversation, streamed into widgets, with stop and clear."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import Any

import pytest
import tiny

import yaongi
from yaongi.core.errors import CapabilityError, DataError
from yaongi.notebook.chat import ChatBox
from yaongi.notebook.stream import TextStream

pytest.importorskip("ipywidgets")


class Parrot:
    """Repeats what it hears, letter by letter; ``asked`` are the conversations it was given."""

    def __init__(self, each: Callable[[str], Any] = lambda letter: None) -> None:
        self.asked: list[list[dict[str, Any]]] = []
        self.each, self.closed = each, 0

    def __call__(self, messages: Sequence[dict[str, Any]]) -> TextStream:
        self.asked.append(list(messages))
        if "long" in messages[-1]["content"]:
            raise DataError("The conversation is <too> long.")
        return TextStream(self._letters(messages[-1]["content"]))

    def _letters(self, text: str) -> Generator[str]:
        try:
            for letter in text:
                yield letter
                self.each(letter)
        finally:
            self.closed += 1


def in_kernel(act: Callable[[], Awaitable[None]]) -> None:
    """Run as a notebook's cell does: with a loop."""
    asyncio.run(asyncio.wait_for(act(), 20))  # type: ignore[arg-type]


def roles(box: ChatBox) -> list[str]:
    return [m["role"] for m in box.messages]


def test_a_conversation_grows_and_is_shown_escaped() -> None:
    parrot = Parrot()

    async def act() -> None:
        box = ChatBox(parrot, system="<i>너는</i>")
        assert await box.ask("안녕 <b>") == "안녕 <b>"
        await box.ask("둘")
        assert roles(box) == ["system", "user", "assistant", "user", "assistant"]
        assert [m["content"] for m in parrot.asked[1]] == [
            "<i>너는</i>",
            "안녕 <b>",
            "안녕 <b>",
            "둘",
        ]
        shown = box._past.value
        assert shown.count("안녕 &lt;b&gt;") == 2 and "&lt;i&gt;너는" in shown
        assert "<b>" not in shown and "<i>" not in shown

    in_kernel(act)


def test_an_answer_streams_and_other_work_gets_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yaongi.notebook.chat.SHOW_EVERY_S", 0.0)
    seen: list[str] = []

    async def act() -> None:
        box = ChatBox(Parrot(lambda letter: seen.append(box._live.value)))
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        beside = asyncio.create_task(other())
        await box.ask("가나다라")
        beside.cancel()
        assert ["가" in s and "나" in s for s in seen] == [False, True, True, True]
        assert turns >= 4
        assert box._live.value == "" and box._stop.disabled and not box._send.disabled

    in_kernel(act)


def test_stop_keeps_what_was_said() -> None:
    async def act() -> None:
        parrot = Parrot(lambda letter: box.stop() if letter == "b" else None)
        box = ChatBox(parrot)
        said = await box.ask("abcdef")
        assert "ab" in said and len(said) < 6 and parrot.closed == 1
        assert box.messages[-1] == {"role": "assistant", "content": said}
        assert await box.ask("가나") == "가나", "the next answer is not stopped"

    in_kernel(act)


def test_clear_forgets_all_but_the_system_prompt_even_during_an_answer() -> None:
    async def act() -> None:
        parrot = Parrot(lambda letter: box.clear() if letter == "b" else None)
        box = ChatBox(parrot, system="s")
        await box.ask("abcdef")
        assert roles(box) == ["system"] and parrot.closed == 1
        assert "abc" not in box._past.value + box._live.value
        await box.ask("가")
        assert roles(box) == ["system", "user", "assistant"]

    in_kernel(act)


def test_a_refused_question_is_told_and_leaves_no_turn() -> None:
    async def act() -> None:
        box = ChatBox(Parrot())
        await box.ask("a")
        assert await box.ask("too long") == ""
        assert roles(box) == ["user", "assistant"]
        assert "&lt;too&gt; long." in box._live.value and box._input.value == "too long"
        assert await box.ask("b") == "b"
        assert box._live.value == ""

    in_kernel(act)


def test_a_fault_of_the_model_leaves_the_box_usable() -> None:
    async def act() -> None:
        parrot = Parrot(lambda letter: 1 / 0 if letter == "x" else None)
        box = ChatBox(parrot)
        with pytest.raises(ZeroDivisionError):
            await box.ask("ax")
        assert not box._send.disabled and await box.ask("b") == "b"

    in_kernel(act)


def enter(box: ChatBox, text: str | None) -> None:
    """What a browser sends for the Enter key: the key, then the value if that is a new one."""
    box._input._handle_custom_msg({"event": "submit"}, [])
    if text is not None:
        box._input.value = text


def test_enter_sends_and_leaving_the_field_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yaongi.notebook.chat.UNCHANGED_S", 0.02)
    parrot = Parrot()

    async def act() -> None:
        box = ChatBox(parrot)
        box._input.value = "blur"
        await asyncio.sleep(0.05)
        assert parrot.asked == []
        enter(box, "안녕")
        await until(lambda: len(box.messages) == 2)
        assert box._input.value == ""
        enter(box, "too long")
        await until(lambda: len(parrot.asked) == 2)
        enter(box, None)  # the refused text again, unchanged
        await until(lambda: len(parrot.asked) == 3)
        enter(box, "  ")
        await asyncio.sleep(0.05)
        assert len(parrot.asked) == 3

    in_kernel(act)


async def until(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0.005)


def test_a_button_pressed_in_another_thread_asks_in_that_of_the_kernel() -> None:
    """Comms may be heard beside the kernel's loop; an engine has one thread."""
    threads: set[int] = set()

    async def act() -> None:
        box = ChatBox(Parrot(lambda letter: threads.add(threading.get_ident())))
        box._input.value = "ab"
        await asyncio.to_thread(box._send.click)
        await until(lambda: len(box.messages) == 2)
        assert threads == {threading.get_ident()}

    in_kernel(act)


def test_a_model_opens_a_box_in_a_notebook_only() -> None:
    m = yaongi.Model(tiny.lm(), tiny.tokenizer())
    with pytest.raises(CapabilityError, match="needs a notebook"):
        m.chat()

    async def act() -> None:
        box = m.chat(max_tokens=5, system="너는 고양이다.")
        said = await box.ask("안녕?")
        assert said == m.chat(box.messages[:2], max_tokens=5)
        wrong = m.chat(temprature=1)
        assert await wrong.ask("안녕?") == ""
        assert "temperature" in wrong._live.value

    in_kernel(act)
