"""The chat on a pseudo-terminal, as a user meets it: keys, paste, Ctrl-C, history, narrow lines."""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest
from chat_on_tty import SLOW
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from yaongi.cli.chat.prompt import Commands, history

ENTER, ALT_ENTER, UP, CTRL_C, CTRL_D = "\r", "\x1b\r", "\x1b[A", "\x03", "\x04"
SCRIPT = Path(__file__).parents[2] / "chat_on_tty.py"


class Session:
    """A chat somebody types into."""

    def __init__(self, state: Path, columns: int = 70, **variables: str) -> None:
        env = {**os.environ, "XDG_STATE_HOME": str(state), "TERM": "xterm-256color",
               "YAONGI_LANG": "en", "PROMPT_TOOLKIT_NO_CPR": "1", **variables}  # fmt: skip
        self.child = pexpect.spawn(
            sys.executable, [str(SCRIPT)], env=env, dimensions=(24, columns), encoding="utf-8",
            timeout=120,
        )  # fmt: skip
        self.child.delaybeforesend = 0.1
        self.shown("Ctrl-D leaves")

    def shown(self, text: str) -> str:
        """Wait for ``text``; returns all that came before it without its escapes."""
        self.child.expect_exact(text)
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.child.before or "")

    def type(self, *keys: str) -> None:
        for key in keys:
            self.child.send(key)

    def status(self) -> int | None:
        """Wait for the end; its exit code."""
        self.child.expect(pexpect.EOF)
        self.child.close()
        return self.child.exitstatus


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    found = Session(tmp_path / "state")
    yield found
    found.child.close(force=True)


def said(session: Session, *expected: str) -> None:
    """The next answer repeats what was sent, a line each."""
    session.shown("들은 말:")
    for line in expected:
        session.shown(line)
    session.shown(">")  # the next prompt


def test_keys_paste_and_history(session: Session, tmp_path: Path) -> None:
    session.type("첫 줄", ALT_ENTER, "둘째 줄", ENTER)
    said(session, "첫 줄", "둘째 줄")
    session.type("역빗금\\", ENTER, "다음 줄", ENTER)
    said(session, "역빗금", "다음 줄")
    session.type("\x1b[200~붙인 줄\n또 한 줄\x1b[201~", ENTER)
    said(session, "붙인 줄", "또 한 줄")
    session.type("/hist", "\t", " ", ENTER)
    session.shown("user: 첫 줄")
    session.shown(">")
    session.type(CTRL_D)
    assert session.status() == 0
    kept = tmp_path / "state" / "yaongi" / "chat_history"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700
    again = Session(tmp_path / "state", columns=16)  # and narrow
    try:
        again.type(UP, UP, ENTER)
        again.shown("들은")
        again.shown("한 줄")
        again.type(CTRL_D)
        assert again.status() == 0
    finally:
        again.child.close(force=True)


def test_ctrl_c_stops_an_answer_keeps_it_and_twice_leaves(session: Session) -> None:
    session.type(SLOW, ENTER)
    session.shown("느린 답 느린 답")
    session.type(CTRL_C)
    assert "^C" not in session.shown("Stopped")
    session.shown(">")
    session.type("/history", ENTER)
    session.shown("user: ")
    kept = session.shown(">")
    assert SLOW in kept and 2 <= kept.count("느린 답") < 200
    session.type("half", CTRL_C)
    session.shown("Ctrl-C again")
    session.type(CTRL_C)
    assert session.status() == 0


def test_a_dumb_terminal_gets_plain_answers(tmp_path: Path) -> None:
    session = Session(tmp_path, TERM="dumb")
    try:
        session.type("안녕", ENTER)
        session.shown("**들은 말:** 안녕")
        session.type(SLOW, ENTER)
        session.shown("느린 답")
        session.type("미리", ENTER)  # before its turn: neither drawn into the answer nor lost
        assert "미리" not in session.shown("> 미리")
        session.shown("**들은 말:** 미리")
        session.type(CTRL_D)
        assert session.status() == 0
    finally:
        session.child.close(force=True)


def test_commands_and_files_are_completed(tmp_path: Path) -> None:
    def found(text: str) -> list[str]:
        event = CompleteEvent(completion_requested=True)
        return [c.text for c in Commands().get_completions(Document(text), event)]

    (tmp_path / "talk.jsonl").touch()
    assert found("/s") == ["/system", "/save", "/stats"]
    assert found(f"/load {tmp_path}/ta") == ["lk.jsonl"]
    assert found("/system /s") == found("/s\n/s") == found("no /s") == []


def test_history_survives_what_is_no_unicode_and_a_folder_it_cannot_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = history(tmp_path)
    kept.append_string("깨진 \udcff 바이트")
    assert list(history(tmp_path).load_history_strings()) == ["깨진 \ufffd 바이트"]
    (tmp_path / "file").touch()
    session_only = history(tmp_path / "file")
    session_only.append_string("하나")
    assert "file" in capsys.readouterr().err
