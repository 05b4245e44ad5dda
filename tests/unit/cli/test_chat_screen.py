"""The chat on a screen: an emulated terminal shows what a user sees, scrollback included."""

from __future__ import annotations

import io
import itertools
import random
import re
from collections.abc import Iterator

import pyte
import pytest
from rich.cells import cell_len
from rich.console import Console

from yaongi.cli.chat.markdown import Block, Growing
from yaongi.cli.chat.screen import Terminal
from yaongi.infer.turns import Channel, Said

LONG = "\n\n".join(
    [
        "# 제목 하나",
        "문단입니다. **굵게** 그리고 `code`.\n둘째 줄은 그대로 둘째 줄입니다.",
        *(f"{n}번 문단: 고양이가 야옹 하고 울었습니다." for n in range(12)),
        "1. 하나\n2. 둘\n3. 셋",
        "- 사과\n  - 빨강\n- 배",
        "```python\n" + "\n".join(f"값_{n} = {n}" for n in range(25)) + "\n```",
        "| 이름 | 나이 |\n|---|---|\n| 야옹이 | 3 |\n| 멍멍이 | 12 |",
        "> 인용문\n> 둘째 줄",
        "끝입니다. <div>는 글자이고 List<int>도 글자입니다.",
    ]
)


class Screen:
    """A terminal of some size, and what rich writes to it."""

    def __init__(self, columns: int = 60, lines: int = 20) -> None:
        self.emulated = pyte.HistoryScreen(columns, lines, history=10_000, ratio=0.5)
        self.stream = pyte.Stream(self.emulated)
        self.erased = 0  # lines that went at once, at most
        outer = self

        class File(io.StringIO):
            def write(self, text: str) -> int:
                runs = re.findall(r"(?:\x1b\[1A\x1b\[2K)+", text)
                outer.erased = max([outer.erased, *(run.count("2K") for run in runs)])
                outer.stream.feed(text.replace("\n", "\r\n"))
                return len(text)

            def isatty(self) -> bool:
                return True

        self.console = Console(
            file=File(), force_terminal=True, width=columns, height=lines, highlight=False,
            color_system="truecolor", legacy_windows=False, _environ={},
        )  # fmt: skip

    def text(self) -> list[str]:
        """Every line there is, also those scrolled away."""
        rows = [
            *self.emulated.history.top,
            *(self.emulated.buffer[y] for y in range(self.emulated.lines)),
        ]
        drawn = [
            "".join(row[x].data for x in range(self.emulated.columns)).rstrip() for row in rows
        ]
        while drawn and not drawn[-1]:
            drawn.pop()
        return drawn


def cut(text: str, seed: int) -> Iterator[str]:
    rng, at = random.Random(seed), 0
    while at < len(text):
        step = rng.choice([1, 2, 5, 20, 40])
        yield text[at : at + step]
        at += step


def pieces(text: str, thinking: str = "", seed: int = 0):
    for channel, said in ((Channel.THINKING, thinking), (Channel.CONTENT, text)):
        for piece in cut(said, seed):
            yield Said(channel, piece)


@pytest.fixture(autouse=True)
def _every_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yaongi.cli.chat.screen.FRAME_S", 0)
    monkeypatch.setattr("yaongi.cli.chat.screen.SHARE", 1e9)


def finished(text: str, columns: int) -> list[str]:
    """What the answer looks like when printed at once, block by block."""
    screen, growing = Screen(columns, 500), Growing()
    for n, block in enumerate([*growing.push(text), growing.open]):
        screen.console.print(*[""] * bool(n), Block(block), sep="\n")
    return screen.text()


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (30, 8), (20, 5)])
def test_a_streamed_answer_looks_like_a_printed_one_however_long(columns, lines):
    screen = Screen(columns, lines)
    assert Terminal(screen.console).show(pieces(LONG, seed=lines))
    assert screen.text() == finished(LONG, columns)
    assert 0 < screen.erased < lines  # a frame is drawn over what is still on the screen


def test_nothing_is_lost_and_nothing_comes_twice():
    screen = Screen(60, 12)
    Terminal(screen.console).show(pieces(LONG))
    shown = "\n".join(screen.text())
    for n in range(12):
        assert shown.count(f" {n}번 문단") + shown.count(f"\n{n}번 문단") == 1
    for n in range(25):
        assert len(re.findall(rf"값_{n} = {n}\b", shown)) == 1
    assert "<div>" in shown and "List<int>" in shown
    assert "둘째 줄은" not in shown.partition("`code`")[0].splitlines()[-1]


@pytest.mark.parametrize("seed", range(10))
def test_blocks_of_any_cut_are_those_of_the_whole(seed):
    growing, blocks = Growing(), []
    for piece in cut(LONG, seed):
        blocks += growing.push(piece)
    whole = Growing()
    assert [*blocks, growing.open] == [*whole.push(LONG), whole.open]
    assert "".join([*blocks, growing.open]) == LONG


def test_korean_columns_align():
    screen = Screen(40, 30)
    Terminal(screen.console).show(
        pieces("| 이름 | 나이 |\n|---|---|\n| 야옹이 | 3 |\n| ab | 12 |\n")
    )
    console = Console(file=io.StringIO(), width=40)
    console.print(Block("| 이름 | 나이 |\n|---|---|\n| 야옹이 | 3 |\n| ab | 12 |\n"))
    rows = [row for row in console.file.getvalue().splitlines() if "3" in row or "12" in row]
    places = {cell_len(row[: re.search("3|12", row).start()]) for row in rows}
    assert len(places) == 1


def test_nothing_of_a_table_is_cut_off_on_a_narrow_terminal():
    screen = Screen(24, 30)
    table = "| 하나 | 둘 |\n|---|---|\n| abcdefghijklmnop | 123456789 |\n"
    Terminal(screen.console).show(pieces(table))
    shown = "".join(screen.text())
    assert set("abcdefghijklmnop123456789하나둘") <= set(shown) and "…" not in shown


def test_thinking_is_folded_when_the_answer_comes():
    screen = Screen(60, 12)
    seen: list[str] = []

    def watched():
        for said in pieces("답은 셋입니다.", "하나에 둘을 더한다.\n" * 9):
            yield said
            seen.append("\n".join(screen.text()))

    Terminal(screen.console).show(watched())
    during = [s for s in seen if "더한다" in s]
    assert during and max(s.count("더한다") for s in during) <= 3
    after = "\n".join(screen.text())
    assert "더한다" not in after and "9" in after.splitlines()[0]
    assert after.splitlines()[-1] == "답은 셋입니다."


def test_what_was_shown_stays_when_it_is_stopped():
    def stopped():
        for n, piece in enumerate(pieces(LONG)):
            if n == 30:
                raise KeyboardInterrupt
            yield piece

    screen = Screen(60, 12)
    assert not Terminal(screen.console).show(stopped())
    told = "".join(said.text for said in itertools.islice(pieces(LONG), 30))
    assert screen.text() == finished(told, 60)


def test_an_error_on_the_way_leaves_what_came():
    def broken():
        yield Said(Channel.CONTENT, "처음은 ")
        yield Said(Channel.CONTENT, "이렇습니다.")
        raise RuntimeError

    screen = Screen()
    with pytest.raises(RuntimeError):
        Terminal(screen.console).show(broken())
    assert screen.text() == ["처음은 이렇습니다."]


def test_escapes_in_an_answer_do_not_reach_the_terminal():
    screen = Screen()
    attack = "앞 \x1b[2J\x1b]0;제목\x07 `\x1b[31m` 뒤\n\n```sh\necho \x9b31m\n```\n[링크](http://a.b/\x1b[1m)"
    Terminal(screen.console).show(pieces(attack, attack))
    shown = "\n".join(screen.text())
    assert screen.emulated.title == ""
    assert "앞 ␛[2J␛]0;제목␇" in shown and "http://a.b/" in shown


def test_a_call_is_shown_with_its_arguments():
    screen = Screen()
    call = Said(Channel.CALL, '{"도시": "서울"}', "날씨")
    Terminal(screen.console).show(iter_of([Said(Channel.CONTENT, "찾아볼게요."), call]))
    assert screen.text() == ["찾아볼게요.", '날씨({"도시": "서울"})']


def iter_of(said: list[Said]):
    yield from said
