"""Tokenizers that imported models bring along."""

from __future__ import annotations

from pathlib import Path

import foreign_tokenizers
import pytest
import tiny

from yaongi.core.errors import DataError, TokenizerError
from yaongi.text.foreign import ForeignTokenizer, open_tokenizer
from yaongi.text.tokenizer import Tokenizer

TEXTS = ["안녕하세요. 뷁 漢字 👨‍👩‍👧", "The cat 12", "", "a <|end|> b"]


@pytest.fixture
def foreign(tmp_path: Path) -> ForeignTokenizer:
    foreign_tokenizers.make(tmp_path, foreign_tokenizers.LLAMA_LIKE)
    found = open_tokenizer(tmp_path)
    assert isinstance(found, ForeignTokenizer)
    return found


@pytest.mark.parametrize("text", TEXTS)
def test_round_trip_and_no_typed_control_tokens(foreign: ForeignTokenizer, text: str) -> None:
    ids = foreign.encode(text)
    assert not set(ids) & foreign.control_ids
    assert foreign.text_ids(text) == [0, *ids]
    assert foreign.decode(ids) == text
    stream = foreign.stream()
    assert "".join(map(stream.push, [0, *ids])) + stream.flush() == text


def test_what_is_in_the_folder(foreign: ForeignTokenizer) -> None:
    assert foreign.control_ids == {0, 1, 2} and foreign.stop_ids == {1}
    assert foreign.vocab_size <= 330


def test_stops_come_from_the_generation_settings(tmp_path: Path) -> None:
    foreign_tokenizers.make(tmp_path, None)
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [2, 5]}')
    assert ForeignTokenizer(tmp_path).stop_ids == {2, 5}
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": 2}')
    assert ForeignTokenizer(tmp_path).stop_ids == {2}


def test_a_chat(foreign: ForeignTokenizer) -> None:
    messages = [{"role": "user", "content": "  안녕? \n"}]
    text = foreign.render(messages)
    assert text == "<|begin|><|head|>user\n\n안녕?<|end|><|head|>assistant\n\n"
    ids = foreign.chat_ids(messages)
    assert ids[:2] == [0, 2] and foreign.decode(ids, control=True) == text


def test_a_template_can_refuse(foreign: ForeignTokenizer) -> None:
    with pytest.raises(DataError, match="roles must be user, assistant or system"):
        foreign.chat_ids([{"role": "tool", "content": "1"}])


def test_no_template(tmp_path: Path) -> None:
    foreign_tokenizers.make(tmp_path, None)
    with pytest.raises(TokenizerError, match="no chat template"):
        ForeignTokenizer(tmp_path).chat_ids([{"role": "user", "content": "?"}])


@pytest.mark.parametrize(
    "program",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{% for %}",
    ],
)
def test_a_template_is_kept_in_its_sandbox(tmp_path: Path, program: str) -> None:
    foreign_tokenizers.make(tmp_path, program)
    with pytest.raises(TokenizerError, match="cannot be run"):
        ForeignTokenizer(tmp_path).render([{"role": "user", "content": "?"}])


def test_ours_is_ours_and_a_damaged_one_is_told(tmp_path: Path) -> None:
    assert open_tokenizer(tmp_path) is None
    tiny.tokenizer().save(tmp_path)
    assert isinstance(open_tokenizer(tmp_path), Tokenizer)
    path = tmp_path / "tokenizer.json"
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(TokenizerError, match="cut short"):
        open_tokenizer(tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    with pytest.raises(TokenizerError, match="cut short"):
        open_tokenizer(tmp_path)
