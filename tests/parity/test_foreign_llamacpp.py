"""Other projects' byte-level tokenizers in an exported file: the same ids on Korean and others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import foreign_tokenizers
import llamacpp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from text_sample import CHATS, HARD_TEXTS

from yaongi.core.errors import TokenizerError
from yaongi.interop.gguf import export_gguf
from yaongi.interop.gguf.header import read_header
from yaongi.interop.gguf.pretokenizer import PRE_TOKENIZERS
from yaongi.interop.gguf.tokenizer import tokenizer_of
from yaongi.model.io import save_model
from yaongi.model.lm import LM, LMConfig
from yaongi.text.foreign import ForeignTokenizer
from yaongi.text.normalize import nfc
from yaongi.text.tokenizer import IGNORE_MERGES

REGEXES = {(name, regexes[-1]): regexes for regexes, name in PRE_TOKENIZERS.items()}


def model_folder(folder: Path, pre: str, regexes: tuple[str, ...]) -> Path:
    """The smallest model there is, with a tokenizer of that kind and one token of a user's."""
    cuts = () if pre == "gpt-2" else regexes  # the library's own word for that regex
    foreign_tokenizers.make(folder, foreign_tokenizers.LLAMA_LIKE, regexes=cuts)
    path = folder / "tokenizer.json"
    spec = json.loads(path.read_text("utf-8"))
    spec["model"]["ignore_merges"] = pre in IGNORE_MERGES
    last = 1 + max(spec["model"]["vocab"].values())
    shape = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    spec["added_tokens"].append({"id": last, "content": "<tool>", "special": False, **shape})
    path.write_text(json.dumps(spec), "utf-8")
    data = {"vocab_size": last + 3, "d_model": 8, "pattern": "M",
            "mamba": {"n_heads": 1, "head_dim": 8, "d_state": 4}}  # fmt: skip
    save_model(LM(LMConfig.model_validate(data)), folder)
    return folder


@pytest.fixture(params=sorted(REGEXES), ids=lambda key: key[0], scope="module")
def pair(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("foreign")
    model_folder(folder / "m", request.param[0], REGEXES[request.param])
    export_gguf(folder / "m", folder / "m.gguf", context_len=512)
    with llamacpp.opened(folder / "m.gguf", 512) as theirs:
        yield ForeignTokenizer(folder / "m"), theirs


@pytest.mark.parametrize(
    "text", [*HARD_TEXTS, "안녕하세요. 고양이가 야옹 <tool> 하고", "a<|end|>b"]
)
def test_text_has_the_same_ids(pair: Any, text: str) -> None:
    ours, theirs = pair
    assert theirs.tokenize(nfc(text)) == ours.encode(nfc(text))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=40))
def test_any_text_has_the_same_ids(pair: Any, text: str) -> None:
    ours, theirs = pair
    assert theirs.tokenize(nfc(text)) == ours.encode(nfc(text))


def test_beginnings_and_conversations(pair: Any) -> None:
    ours, theirs = pair
    assert theirs.tokenize("가", start=True) == ours.text_ids("가")
    for i in ours.control_ids:
        assert theirs.tokenize(ours.decode([i], control=True), control=True) == [i]
    for chat in CHATS:
        prompt = theirs.post("/apply-template", messages=chat)["prompt"]
        found = theirs.tokenize(prompt, start=True, control=True)
        assert found == ours.chat_ids(chat)


@pytest.mark.parametrize("key", sorted(REGEXES), ids=lambda key: key[0])
def test_the_tokenizer_comes_back_out_of_the_file(key: tuple[str, str], tmp_path: Path) -> None:
    model_folder(tmp_path / "m", key[0], REGEXES[key])
    export_gguf(tmp_path / "m", tmp_path / "m.gguf", context_len=512)
    ours, back = ForeignTokenizer(tmp_path / "m"), tokenizer_of(read_header(tmp_path / "m.gguf"))
    for text in [*HARD_TEXTS, "안녕하세요. 고양이가 야옹 <tool> 하고", "a<|end|>b"]:
        assert back.encode(nfc(text)) == ours.encode(nfc(text))
        assert back.text_ids(nfc(text)) == ours.text_ids(nfc(text))
    for chat in CHATS:
        assert back.chat_ids(chat) == ours.chat_ids(chat)
    assert back.control_ids == ours.control_ids
    assert back.stop_ids >= ours.stop_ids and (back.eot_id, back.vocab_size) == (
        ours.eot_id,
        ours.vocab_size,
    )


def test_the_end_of_a_turn_ends_a_generation(pair: Any) -> None:
    _, theirs = pair
    said = theirs.complete([0], 3, logit_bias=[[1, 1e6]])
    assert said["stop_type"] == "eos" and said["tokens_predicted"] == 1


BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
HANGUL = {
    "type": "Split",
    "pattern": {"Regex": r"\p{Hangul}+"},
    "behavior": "Isolated",
    "invert": False,
}
REFUSED = [
    (
        {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [HANGUL, BYTES]}},
        r"no pre-tokenizer with the regex \\p\{Hangul\}\+",
    ),
    (
        {"pre_tokenizer": {**BYTES, "add_prefix_space": True}},
        r"it cuts text with .*add_prefix_space",
    ),
    ({"normalizer": {"type": "NFKC"}}, "its normalizer is NFKC"),
    ({"decoder": {"type": "Fuse"}}, "no byte-level BPE"),
    ({"pre_tokenizer": None}, r"the regex \(none\)"),
]


@pytest.mark.parametrize(
    ("change", "message"), REFUSED, ids=["regex", "space", "nfkc", "bytes", "none"]
)
def test_others_are_refused_with_the_reason(tmp_path: Path, change: Any, message: str) -> None:
    folder = model_folder(
        tmp_path / "m", "gpt-2", REGEXES[("gpt-2", next(iter(PRE_TOKENIZERS))[0])]
    )
    path = folder / "tokenizer.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **change}), "utf-8")
    with pytest.raises(TokenizerError, match=message):
        export_gguf(folder, tmp_path / "m.gguf", context_len=8)


def test_merges_and_surroundings_must_agree(tmp_path: Path) -> None:
    name, regexes = next((n, r) for r, n in PRE_TOKENIZERS.items() if n == "llama-bpe")
    folder = model_folder(tmp_path / "m", name, regexes)
    path = folder / "tokenizer.json"
    spec = json.loads(path.read_text("utf-8"))
    spec["model"]["ignore_merges"] = False
    path.write_text(json.dumps(spec), "utf-8")
    with pytest.raises(TokenizerError, match=r"ignore_merges is not that of .* llama-bpe"):
        export_gguf(folder, tmp_path / "m.gguf", context_len=8)
    spec["model"]["ignore_merges"] = True
    end = {"SpecialToken": {"id": "<|end|>", "type_id": 0}}
    spec["post_processor"]["single"].append(end)
    ids = spec["post_processor"]["special_tokens"]
    ids["<|end|>"] = {"id": "<|end|>", "ids": [1], "tokens": ["<|end|>"]}
    path.write_text(json.dumps(spec), "utf-8")
    with pytest.raises(TokenizerError, match="1 before, 1 behind"):
        export_gguf(folder, tmp_path / "m.gguf", context_len=8)
