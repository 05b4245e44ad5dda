"""Bytes of other projects' tokens: what bits per byte divides by."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import foreign_tokenizers
import pytest

from yaongi.core.errors import TokenizerError
from yaongi.text.foreign import ForeignTokenizer
from yaongi.text.normalize import nfc
from yaongi.text.pieces import PROBE

TEXTS = [
    PROBE,
    "가각 나는 밥을 먹었다. 뷁",
    "漢字 ㅋㅋㅋ 👨‍👩‍👧",
    "The cat\n\n\t said  hello",
    " a",
    "x",
]
MAKERS: list[tuple[Callable[..., None], int]] = [
    (lambda folder: foreign_tokenizers.make(folder, None), 0),
    (foreign_tokenizers.make_sentencepiece, 1),
]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize(("make", "lead"), MAKERS, ids=["byte-level", "sentencepiece"])
def test_tokens_give_the_bytes_of_the_text(
    tmp_path: Path, make: Callable[..., None], lead: int, text: str
) -> None:
    make(tmp_path)
    tok = ForeignTokenizer(tmp_path)
    assert tok.lead_bytes == lead
    found = b"".join(map(tok.token_bytes, tok.encode(text)))
    assert found == b" " * lead + text.encode()
    assert [tok.encode(text)] == tok.encode_batch([text])
    assert all(tok.token_bytes(i) == b"" for i in tok.control_ids)


def test_the_probe_is_composed_and_holds_what_is_folded() -> None:
    assert nfc(PROBE) == PROBE and PROBE.casefold() != PROBE


def test_tokens_that_are_no_bytes_are_refused_with_the_reason(tmp_path: Path) -> None:
    foreign_tokenizers.make_sentencepiece(tmp_path / "sp", fallback=False)
    with pytest.raises(TokenizerError, match="neither byte-level nor SentencePiece with byte fal"):
        ForeignTokenizer(tmp_path / "sp").token_bytes(3)
    foreign_tokenizers.make_lowercase(tmp_path / "lower")
    tok = ForeignTokenizer(tmp_path / "lower")
    with pytest.raises(TokenizerError, match="it changes texts"):
        tok.lead_bytes  # noqa: B018
    with pytest.raises(TokenizerError, match="is not a token id"):
        tok.token_bytes(tok.vocab_size)
