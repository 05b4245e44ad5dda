"""The command itself: help without torch, suggestions, exit codes."""

import subprocess
import sys
from typing import Any

import pytest

from yaongi.cli.console import TimeLeft, stage
from yaongi.cli.main import VERBS, run
from yaongi.cli.quickstart import advice


def test_help_does_not_wait_for_torch() -> None:
    code = (
        "import sys; from yaongi.cli.main import run; run(['--help']); "
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(verb in done.stdout for verb in VERBS)


@pytest.mark.parametrize("verb", list(VERBS))
def test_every_verb_has_help_with_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    if verb in ("data", "tokenizer", "reward"):
        sub = {"data": "build", "tokenizer": "train", "reward": "train"}[verb]
        assert run([verb, sub, "-h"]) == 0
    else:
        assert run([verb, "-h"]) == 0
    assert f"yaongi {verb}" in capsys.readouterr().out.split("Example")[1]


@pytest.mark.parametrize(
    ("group", "commands"),
    [("data", ["build", "report", "examples", "quality"]), ("tokenizer", ["train", "extend"])],
)
def test_a_group_lists_its_commands_with_their_whole_help(
    group: str, commands: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([group, "-h"]) == 0
    text = capsys.readouterr().out
    assert all(f"\n  {command} " in text for command in commands)
    assert "..." not in text.partition("Commands")[2] and "…" not in text


def test_a_slow_machine_is_told_how_long_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = 509 * 7 * 60  # tokens/s, for the share of ten minutes that pretraining has
    assert "--minutes 77 " in advice(slow, 10.0)
    assert advice(3_000 * 7 * 60, 10.0) == ""
    monkeypatch.setenv("YAONGI_LANG", "ko")
    assert "--minutes 77" in advice(slow, 10.0) and "토큰" in advice(slow, 10.0)


@pytest.mark.parametrize("group", [[], ["data"]])
def test_a_group_by_itself_shows_its_help(
    group: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(group) == 2
    out, err = capsys.readouterr()
    assert "Commands" in out + err and "error[" not in err


def test_a_misspelt_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["quikstart"]) == 2
    assert "Did you mean 'quickstart'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["chat"], "오류[usage]: 빠진 인수: 'MODEL'."),
        (["chat", "--sistem", "x"], "옵션 '--sistem'은(는) 없습니다. 혹시 '--system'입니까?"),
        (["chat", "x", "y"], "인수가 너무 많습니다 (y)"),
        (["chat", "x", "--seed", "y"], "'--seed'의 값이 잘못되었습니다: 'y'은(는) 알맞은 수"),
    ],
)
def test_the_words_of_click_are_korean_for_koreans(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LANGUAGE", "en")  # put back afterwards
    monkeypatch.setenv("YAONGI_LANG", "ko")
    assert run(arguments) == 2
    assert message in capsys.readouterr().err
    assert run(["chat", "-h"]) == 0
    help = capsys.readouterr().out
    assert "사용법: yaongi chat" in help and "옵션:" in help and "기본값: 256" in help
    monkeypatch.setenv("YAONGI_LANG", "en")
    assert run(["chat"]) == 2
    assert "Missing argument 'MODEL'." in capsys.readouterr().err


def test_interruption_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    import yaongi.cli.main as module

    def interrupted(**_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module.cli, "main", interrupted)
    assert run(["doctor"]) == 130


def test_time_left_counts_from_where_it_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("yaongi.cli.console.time.monotonic", lambda: now[0])
    clock = TimeLeft()
    now[0] = 50.0  # loading the checkpoint is not progress
    assert clock.text(0.5) == ""
    now[0] = 60.0
    assert clock.text(0.75) == "10s left"


def test_a_line_in_a_log_says_how_long_it_takes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also the first one: reports that came too early for a line are counted from."""
    now = [0.0]
    monkeypatch.setattr("yaongi.cli.console.time.monotonic", lambda: now[0])
    with stage("comparison") as report:
        for share in (0.0, 0.25, 0.5, 0.75):
            report(share, "ko")
            now[0] += 5.0
    assert "   50% 10s left ko" in capsys.readouterr().err.splitlines()
