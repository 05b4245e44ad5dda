"""Promises of an extended tokenizer, for any text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import extended
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yaongi.text.extend import ExtendConfig, stage
from yaongi.text.extension import Extension
from yaongi.text.foreign import load_tokenizer
from yaongi.text.normalize import nfc

WORDS = st.lists(st.sampled_from([*" ".join(extended.TEXTS[:5] + extended.PLAIN).split(" "), "\n"]))
TEXTS = st.one_of(st.text(max_size=60), WORDS.map(" ".join), WORDS.map("".join))


@pytest.fixture(params=extended.KINDS, scope="module")
def pair(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = tmp_path_factory.mktemp("extended")
    extended.make(folder / "old", request.param)
    stage(ExtendConfig(add=60), folder / "old", extended.TEXTS, folder / "new")
    extension = Extension.read(folder / "new")
    return request.param, load_tokenizer(folder / "old"), load_tokenizer(folder / "new"), extension


@settings(max_examples=150)
@given(text=TEXTS)
def test_any_text(pair: Any, text: str) -> None:
    kind, old, new, extension = pair
    try:
        before = old.encode(text)
    except UnicodeEncodeError:
        return
    after = new.encode(text)
    assert len(after) <= len(before)
    assert new.decode(after) == old.decode(before)
    if kind == "ours":
        assert new.decode(after) == nfc(text)
    if not any(i >= extension.old_size for i in after):
        assert after == before
    if kind != "llama-bpe":  # there a whole word is one token, whatever it was made of
        assert extended.expanded(after, extension) == before


@given(text=st.text(st.characters(max_codepoint=0xFFF, exclude_categories=["Cs"]), max_size=60))
def test_text_without_hangul_keeps_its_ids(pair: Any, text: str) -> None:
    _, old, new, _ = pair
    assert new.encode(text) == old.encode(text)
