"""Every message of the source exists in Korean, with the same fields, and is compiled."""

from __future__ import annotations

import gettext
import re
import string
from io import BytesIO
from pathlib import Path

import click
import i18n
import pytest
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo

from yaongi.cli.main import VERBS
from yaongi.core.i18n import LOCALE_DIR, translate

HELP = "run `make i18n`, then translate what it lists in " + str(i18n.PO.name)


def fields(text: str) -> list[str]:
    parts = string.Formatter().parse(text)
    return sorted({f"{name}!{how}:{spec}" for _, name, spec, how in parts if name is not None})


@pytest.fixture(scope="module")
def ko() -> dict[str, str]:
    return {str(m.id): str(m.string) for m in i18n.catalogue() if m.id}


def test_every_message_of_the_source_is_in_the_catalogue(ko: dict[str, str]) -> None:
    missing = {text: file for file, text in i18n.messages() if text not in ko}
    assert not missing, HELP


def test_the_catalogue_holds_nothing_the_source_no_longer_says(ko: dict[str, str]) -> None:
    assert set(ko) - {text for _, text in i18n.messages()} == set(), HELP


def test_every_message_is_translated() -> None:
    assert [m.id for m in i18n.untranslated(i18n.catalogue())] == [], HELP


def test_fields_agree(ko: dict[str, str]) -> None:
    """A field missing in Korean hides a path; one too many is a KeyError in front of the user."""
    filled = {e: k for e, k in ko.items() if k and not is_plain(e)}
    assert {e: k for e, k in filled.items() if fields(e) != fields(k)} == {}


def is_plain(text: str) -> bool:
    """A message with braces that nobody formats."""
    try:
        list(string.Formatter().parse(text))
    except ValueError:
        return True
    return False


def test_every_verb_is_a_sentence_in_korean(ko: dict[str, str]) -> None:
    """The list of commands reads as one, not half of it in nouns."""
    told = {verb: ko[text] for verb, (_target, text) in VERBS.items()}
    assert {verb: text for verb, text in told.items() if not text.endswith("니다")} == {}


def test_korean_is_korean_and_ends_politely(ko: dict[str, str]) -> None:
    """합니다체: a sentence that ends with a full stop ends in -다., -요., -오. or with a field."""
    sentences = {k: v for k, v in ko.items() if v.endswith(".") and re.search(r"[가-힣]", v)}
    rude = {k: v for k, v in sentences.items() if not re.search(r"(니다|시오|세요|\}|\)|`)\.$", v)}
    assert len(sentences) > 40 and rude == {}


def test_one_korean_word_for_one_thing(ko: dict[str, str]) -> None:
    other = re.compile(
        "사전 학습|미세 조정|파인튜닝|파라미터|매개 변수|코퍼스|(?<![가-힣])글(?!자)"
    )
    readme = (LOCALE_DIR.parents[2] / "README.ko.md").read_text("utf-8")
    assert [text for text in [*ko.values(), readme] if other.search(text)] == []


@pytest.mark.parametrize("path", [i18n.PO, i18n.CLICK])
def test_the_compiled_catalogue_is_of_this_source(path: Path) -> None:
    stream = BytesIO()
    write_mo(stream, i18n.catalogue(path))
    assert path.with_suffix(".mo").read_bytes() == stream.getvalue(), HELP


def test_the_catalogue_of_click_is_of_the_click_installed() -> None:
    """A reworded message would silently go on in English."""
    found = extract_from_dir(
        Path(click.__file__).parent,
        method_map=[("**.py", "python")],
        keywords={"_": None, "ngettext": (1, 2)},
    )
    said = {message for _file, _line, message, _comments, _context in found}
    assert [m.id for m in i18n.catalogue(i18n.CLICK) if m.id and m.id not in said] == []


def test_the_program_speaks_korean(monkeypatch: pytest.MonkeyPatch, ko: dict[str, str]) -> None:
    compiled = gettext.translation("yaongi", LOCALE_DIR, languages=["ko"])
    monkeypatch.setenv("YAONGI_LANG", "ko")
    message = "{path} is missing."
    assert compiled.gettext(message) == ko[message] != message
    assert translate(message, path="a.json") == ko[message].format(path="a.json")


def test_extraction_sees_what_it_should(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The extractor is what the other tests stand on."""
    source = 'raise DataError("a {x} " "b", x=1)\nprint(_("c"))\nprint("no")\ntranslate("d", n=1)\n'
    (tmp_path / "x.py").write_text(source)
    monkeypatch.setattr(i18n, "SOURCE", tmp_path)
    assert [text for _, text in i18n.messages()] == ["a {x} b", "c", "d"]
