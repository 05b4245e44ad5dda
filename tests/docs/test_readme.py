"""The two READMEs say the same, and every command in them exists as written."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from yaongi.cli.main import cli

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "README.ko.md")


def text(page: str) -> str:
    return (ROOT / page).read_text("utf-8")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text(page), re.DOTALL)


def commands(page: str) -> list[str]:
    """Every `yaongi ...` and `make ...` of a page, from its blocks and its running text."""
    lines = [line for block in blocks(page, "bash") for line in block.splitlines()]
    prose = re.sub(r"```.*?```", "", text(page), flags=re.DOTALL)
    inline = re.findall(r"`([^`\n]+)`", prose)
    found = [re.sub(r"^\.venv/bin/", "", line.strip()) for line in [*lines, *inline]]
    return [line for line in found if re.match(r"(yaongi|make)( |$)", line)]


def resolve(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command the words name, and what is left of them."""
    command: click.Command = cli
    while words and isinstance(command, click.Group):
        found = command.get_command(click.Context(command), words[0])
        if found is None:
            raise LookupError(f"there is no command '{words[0]}'")
        command, words = found, words[1:]
    return command, words


def problems(line: str) -> list[str]:
    """What a reader who types this line would be told is wrong with it."""
    program, *words = shlex.split(line.replace("[a.b=c …]", ""))
    if program == "make":
        targets = set(re.findall(r"^([a-z0-9]+):", (ROOT / "Makefile").read_text("utf-8"), re.M))
        return [f"no target {w}" for w in words if "=" not in w and w not in targets]
    try:
        command, rest = resolve(words)
    except LookupError as error:
        return [str(error)]
    options = {name for p in command.params if isinstance(p, click.Option) for name in p.opts}
    wrong = [f"no option {w}" for w in rest if w.startswith("-") and w not in options | {"-h"}]
    files = [w for w in rest if w.startswith("recipes/")]
    return wrong + [f"no file {w}" for w in files if not (ROOT / w).is_file()]


@pytest.mark.parametrize("page", PAGES)
def test_every_command_exists(page: str) -> None:
    found = commands(page)
    assert len(found) > 12
    assert {line: problems(line) for line in found if problems(line)} == {}


def test_a_wrong_command_would_be_found() -> None:
    assert problems("make quikstart") == ["no target quikstart"]
    assert problems("yaongi trane DIR") == ["there is no command 'trane'"]
    assert problems("yaongi eval MODEL --taks bpb") == ["no option --taks"]
    assert problems("yaongi run recipes/none.yaml") == ["no file recipes/none.yaml"]


def test_every_verb_of_the_program_is_in_the_readme() -> None:
    named = {word for line in commands("README.md") for word in line.split()}
    named |= set(re.findall(r"`([a-z]+)(?: [a-z]+)?`", text("README.md")))
    assert set(cli.list_commands(click.Context(cli))) <= named


def test_both_languages_say_the_same() -> None:
    english, korean = (text(page) for page in PAGES)
    for language in ("bash", "python", "yaml"):
        assert blocks(PAGES[0], language) == blocks(PAGES[1], language)
    assert headings(english) == headings(korean)
    assert links(english) == links(korean)
    assert [figures(row) for row in rows(english)] == [figures(row) for row in rows(korean)]
    assert sorted(commands(PAGES[0])) == sorted(commands(PAGES[1]))


def headings(page: str) -> list[int]:
    return [len(marks) for marks in re.findall(r"^(#+) ", page, re.MULTILINE)]


def links(page: str) -> list[str]:
    found = re.findall(r"\]\(([^)\s]+)\)", page)
    return sorted(link.replace(".ko.md", ".md") for link in found)


def rows(page: str) -> list[str]:
    return re.findall(r"^\|.*\|$", page, re.MULTILINE)


def figures(row: str) -> list[str]:
    return re.findall(r"\d(?:[\d.,–]*\d)?", row)
