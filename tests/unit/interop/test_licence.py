"""Whose licence a model is under, and what it asks."""

from __future__ import annotations

from pathlib import Path

import pytest

from yaongi.core.licences import UNSTATED, terms
from yaongi.interop.hf_licence import find_licence

CARD = "---\nlanguage: ko\n{}\n---\n# Name\nlicense: mit\n"


@pytest.mark.parametrize(
    ("card", "settings", "file", "expected"),
    [
        ("license: gemma", {}, "", "gemma"),
        ("license: other\nlicense_name: qwen-research", {}, "", "qwen-research"),
        ("license: other", {}, "", "other"),
        ("tags: [a]", {"license": "mit"}, "", "mit"),
        ("a: [broken", {}, "MIT License\n\nCopyright", "mit"),
        ("", {}, "                  Apache License\n   Version 2.0, January 2004", "apache-2.0"),
        ("", {}, "LLAMA 3.2 COMMUNITY LICENSE AGREEMENT\nLlama 3.2 Version", "llama3.2"),
        ("", {}, "LLAMA 2 COMMUNITY LICENSE AGREEMENT", "llama2"),
        ("", {}, "Creative Commons Attribution-NonCommercial 4.0", "cc-by-nc-4.0"),
        ("", {}, "All rights reserved", UNSTATED),
    ],
)
def test_where_it_is_written(tmp_path: Path, card, settings, file, expected) -> None:
    if card:
        (tmp_path / "README.md").write_text(CARD.format(card))
    if file:
        (tmp_path / "LICENSE.txt").write_text(file)
    assert find_licence(tmp_path, settings) == expected


@pytest.mark.parametrize("name", ["apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0", "cc0-1.0"])
def test_permissive_ones_ask_nothing(name: str) -> None:
    assert terms(name) == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("llama2", ["Built with Llama"]),
        ("llama3.1", ["Built with Llama", "begins with “Llama”"]),
        ("gemma", ["prohibited use policy"]),
        ("exaone", ["begins with “EXAONE”", "Not for commercial use"]),
        ("cc-by-nc-4.0", ["Not for commercial use"]),
        ("cc-by-nc-sa-4.0", ["Not for commercial use", "Share alike"]),
        ("cc-by-nd-4.0", ["No derivatives"]),
        ("qwen-research", ["Not for commercial use"]),
        ("mrl", ["Not for commercial use"]),
        ("gpl-3.0", ["Share alike"]),
        ("nvidia-open-model-license", ["Read its terms"]),
        (UNSTATED, ["Ask the model's authors"]),
    ],
)
def test_what_the_others_ask(name: str, words: list[str]) -> None:
    told = terms(name)
    assert len(told) == len(words)
    for text, word in zip(told, words, strict=True):
        assert word in text
