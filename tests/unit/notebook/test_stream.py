"""A streamed answer: an iterator like any other, and shown while it comes where it is displayed."""

from collections.abc import Generator
from typing import Any

import pytest
import tiny

import yaongi
from yaongi.notebook.stream import TextStream

QUESTION = [{"role": "user", "content": "안녕?"}]


@pytest.fixture(scope="module")
def model() -> yaongi.Model:
    return yaongi.Model(tiny.lm(), tiny.tokenizer())


def pieces(*texts: str, left: list[str] | None = None) -> Generator[str]:
    try:
        yield from texts
    finally:
        if left is not None:
            left.append("closed")


class Kernel:
    """What IPython gives inside a kernel; keeps what is displayed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import IPython.core.getipython
        import IPython.display

        self.kernel = self
        self.shown: list[Any] = []
        monkeypatch.setattr(IPython.core.getipython, "get_ipython", lambda: self)
        monkeypatch.setattr(IPython.display, "display", self.display)
        monkeypatch.setattr("yaongi.notebook.stream.SHOW_EVERY_S", 0.0)

    def display(self, data: Any, *, raw: bool, display_id: bool) -> "Kernel":
        assert raw and display_id
        self.shown.append(data)
        return self

    def update(self, data: Any, *, raw: bool) -> None:
        self.shown.append(data)


def test_the_pieces_join_to_the_answer_without_a_stream(model: yaongi.Model) -> None:
    whole = model.chat(QUESTION, max_tokens=12)
    stream = model.chat(QUESTION, stream=True, max_tokens=12)
    assert "".join(stream) == stream.text == whole


def test_leaving_ends_the_work(model: yaongi.Model) -> None:
    stream = model.generate("안녕", stream=True, max_tokens=50)
    next(stream)
    assert model.engine.busy
    stream.close()
    assert not model.engine.busy
    assert list(stream) == []


def test_displayed_it_grows_and_is_never_html(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(monkeypatch)
    TextStream(pieces("<b>", "안녕", "</b>"))._ipython_display_()
    assert [data["text/plain"] for data in kernel.shown] == [
        "", "<b>", "<b>안녕", "<b>안녕</b>", "<b>안녕</b>"
    ]  # fmt: skip
    assert "&lt;b&gt;안녕&lt;/b&gt;</div>" in kernel.shown[-1]["text/html"]


def test_displayed_again_it_shows_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = TextStream(pieces("a", "b"))
    assert list(stream) == ["a", "b"]
    kernel = Kernel(monkeypatch)
    stream._ipython_display_()
    assert kernel.shown[-1]["text/plain"] == "ab"


def test_an_interrupt_keeps_what_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[str] = []

    def interrupted() -> Generator[str]:
        yield from pieces("a", left=left)
        raise KeyboardInterrupt

    kernel = Kernel(monkeypatch)
    TextStream(interrupted())._ipython_display_()
    assert kernel.shown[-1]["text/plain"] == "a" and left == ["closed"]


def test_a_terminal_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    TextStream(pieces("안", "녕"))._ipython_display_()
    assert capsys.readouterr().out == "안녕\n"
