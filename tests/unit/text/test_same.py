"""Two folders hold the same tokenizer when every text has the same ids, whatever the files say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
from tokenizers import Tokenizer as Backend

from yaongi.core.errors import TokenizerError
from yaongi.text.same import check_same_tokenizer


def folder(place: Path, change: Callable[[dict[str, Any]], object] = lambda spec: None) -> Path:
    """The tiny tokenizer's file, with a change."""
    tiny.tokenizer().save(place)
    path = place / "tokenizer.json"
    spec = json.loads(path.read_text("utf-8"))
    change(spec)
    path.write_text(json.dumps(spec, ensure_ascii=True, indent=7), "utf-8")
    return place


def test_another_spelling_of_the_file_is_the_same(tmp_path: Path) -> None:
    one, other = folder(tmp_path / "one"), folder(tmp_path / "other")
    tiny.tokenizer().save(one)
    path = other / "tokenizer.json"
    Backend.from_file(str(path)).save(str(path))
    assert (one / "tokenizer.json").read_bytes() != path.read_bytes()
    check_same_tokenizer(one, other)
    check_same_tokenizer(other, one)


def swap_ids(spec: dict[str, Any]) -> None:
    vocab = spec["model"]["vocab"]
    a, b = sorted(vocab, key=vocab.get)[-2:]
    vocab[a], vocab[b] = vocab[b], vocab[a]


def swap_merges(spec: dict[str, Any]) -> None:
    merges = spec["model"]["merges"]
    merges[0], merges[1] = merges[1], merges[0]


def lose_one(spec: dict[str, Any]) -> None:
    vocab = spec["model"]["vocab"]
    last = max(vocab, key=vocab.get)
    del vocab[last]
    spec["model"]["merges"] = [m for m in spec["model"]["merges"] if "".join(m) != last]


def no_normalizer(spec: dict[str, Any]) -> None:
    spec["normalizer"] = None if spec["normalizer"] else {"type": "NFC"}


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (swap_ids, r"id \d+ is '.+' in one and '.+' in the other"),
        (swap_merges, r"the same tokens, but another 'merges'"),
        (lose_one, r"\d+ and \d+ tokens"),
        (no_normalizer, r"the same tokens, but another 'normalizer'"),
    ],
)
def test_a_difference_that_changes_ids_is_named(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], difference: str
) -> None:
    one, other = folder(tmp_path / "one"), folder(tmp_path / "other", change)
    with pytest.raises(TokenizerError, match=rf"one and .*other have .*: {difference}\. Only"):
        check_same_tokenizer(one, other)


def test_a_folder_without_one_is_named(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=r"none/tokenizer\.json is missing"):
        check_same_tokenizer(folder(tmp_path / "one"), tmp_path / "none")
