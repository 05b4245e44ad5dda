"""The documentation agrees with the code: errors, glossary, links, decisions."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import website

import yaongi.core.errors as errors

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def tree(cls: type[errors.YaongiError]) -> list[type[errors.YaongiError]]:
    found = [cls, *(x for sub in cls.__subclasses__() for x in tree(sub))]
    return [x for x in found if x.__module__.startswith("yaongi.")]


def test_every_error_has_its_section_and_no_other() -> None:
    sections = re.findall(r"^## (\S+)$", (DOCS / "errors.md").read_text("utf-8"), re.MULTILINE)
    by_the_command = {"usage", "interrupted"}  # of the command line, no classes
    slugs = {cls.slug for cls in tree(errors.YaongiError)}
    assert sorted(sections) == sorted(slugs | by_the_command)


def test_the_page_gives_the_right_exit_codes() -> None:
    text = (DOCS / "errors.md").read_text("utf-8")
    for cls in tree(errors.YaongiError):
        assert f"## {cls.slug}\nExit code {cls.exit_code}." in text


def test_the_glossary_says_everything_in_both_languages() -> None:
    rows = re.findall(r"^\| (?!name|-)(.+) \|.*$", (DOCS / "glossary.md").read_text("utf-8"), re.M)
    assert len(rows) > 40
    for row in rows:
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", row)]
        assert cells[0] and re.search(r"[a-z]", cells[1]), row
        assert re.search(r"[가-힣]", cells[2]), row


@pytest.mark.parametrize("page", website.pages(), ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    assert website.broken_links(page) == []


@pytest.mark.parametrize("page", website.pages(), ids=lambda p: str(p.relative_to(ROOT)))
def test_nobody_is_sent_to_a_package_index_for_yaongi(page: Path) -> None:
    """It is on none; an extra comes from the clone, as the error messages say."""
    assert re.findall(r"pip install [\"']?yaongi\b.*", page.read_text("utf-8")) == []


def test_a_broken_link_would_be_found(tmp_path: Path) -> None:
    page = tmp_path / "a.md"
    page.write_text(
        "[x](b.md#part) [ok](a.md) [web](https://x.org/b.md) `[code](c.md)` ![p](d.png)"
    )
    assert website.broken_links(page) == ["b.md", "d.png"]


def test_the_site_is_built_with_working_links(tmp_path: Path) -> None:
    assert website.main(tmp_path) == 0
    page = (tmp_path / "CONTRIBUTING.html").read_text("utf-8")
    assert 'href="docs/glossary.html"' in page
    deep = (tmp_path / "docs" / "decisions" / "0001-record-decisions.html").read_text("utf-8")
    for link in re.findall(r'<a href="([^":]+\.html)"', deep):
        assert (tmp_path / "docs" / "decisions" / link).exists(), link


def test_decisions_are_numbered_without_gaps_and_state_their_status() -> None:
    pages = sorted((DOCS / "decisions").glob("*.md"))
    for number, page in enumerate(pages, start=1):
        text = page.read_text("utf-8")
        assert page.name.startswith(f"{number:04d}-") and text.startswith(f"# {number}. ")
        for part in ("Status: ", "**Context.**", "**Decision.**", "**Consequences.**"):
            assert part in text, f"{page.name} lacks {part}"
