"""The tokenizer inside an exported file gives our ids: text, control tokens, conversations."""

from __future__ import annotations

import json
from pathlib import Path

import llamacpp
import pytest
import text_sample
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from yaongi.interop.gguf import export_gguf
from yaongi.model.io import save_model
from yaongi.model.lm import LM, LMConfig
from yaongi.text.chat import encode_chat
from yaongi.text.control import CONTROL
from yaongi.text.normalize import nfc
from yaongi.text.seeds import PUNCTUATION, SEEDED_FROM, ks_x_1001
from yaongi.text.tokenizer import REGEXES, Tokenizer

pytest.importorskip("xllamacpp", reason=llamacpp.REASON)

DECOMPOSED = "\u1100\u1161\u11a8 \u1112\u1161\u11ab\u1100\u1173\u11af"


def exported(tokenizer: Tokenizer, folder: Path) -> Path:
    """The smallest model with this tokenizer, and an id more than it has."""
    data = {"vocab_size": tokenizer.vocab_size + 1, "d_model": 8, "pattern": "M",
            "mamba": {"n_heads": 1, "head_dim": 8, "d_state": 4}}  # fmt: skip
    save_model(LM(LMConfig.model_validate(data)), folder / "m")
    tokenizer.save(folder / "m")
    export_gguf(folder / "m", folder / "model.gguf", context_len=512)
    return folder / "model.gguf"


@pytest.fixture(params=sorted(REGEXES), scope="module")
def pair(request, tmp_path_factory):
    ours = text_sample.tokenizer(request.param)
    with llamacpp.opened(exported(ours, tmp_path_factory.mktemp(request.param)), 512) as theirs:
        yield ours, theirs


@pytest.mark.parametrize("text", text_sample.HARD_TEXTS)
def test_text_has_the_same_ids(pair, text):
    ours, theirs = pair
    assert theirs.tokenize(nfc(text)) == ours.encode(text)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=40))
def test_any_text_has_the_same_ids(pair, text):
    ours, theirs = pair
    assert theirs.tokenize(nfc(text)) == ours.encode(text)


def test_text_must_be_composed_before(pair):
    """llama.cpp does not compose; decomposed jamo stay other ids (docs/gguf.md says so)."""
    ours, theirs = pair
    found = theirs.tokenize(DECOMPOSED)
    assert found != ours.encode(DECOMPOSED)
    assert ours.decode(found) == DECOMPOSED


def test_control_tokens_are_read_only_when_asked_for(pair):
    ours, theirs = pair
    for i, name in enumerate(CONTROL):
        assert theirs.tokenize(name, control=True) == [i]
        assert theirs.tokenize(name) == ours.encode(name)


def test_a_text_starts_as_every_document_does(pair):
    ours, theirs = pair
    assert theirs.tokenize("가", start=True) == [ours.eot_id, *ours.encode("가")]


@pytest.mark.parametrize("chat", text_sample.CHATS)
def test_conversations_have_the_ids_of_the_chat_template(pair, chat):
    ours, theirs = pair
    ids, _ = encode_chat(ours, chat, generation_prompt=True)
    prompt = theirs.post("/apply-template", messages=chat)["prompt"]
    assert theirs.tokenize(prompt, start=True, control=True) == [ours.eot_id, *ids]


def test_thinking_is_told_apart_from_the_answer(pair):
    """llama.cpp finds our thinking marks by trying the template with its own field for them."""
    ours, theirs = pair
    think, message = ours.control_id("<think>"), {"role": "user", "content": "가"}
    reply = theirs.post(
        "/v1/chat/completions", messages=[message], max_tokens=3, logit_bias=[[think, 1e6]]
    )
    assert reply["choices"][0]["message"]["reasoning_content"]
    again = [message, {"role": "assistant", "content": "나", "reasoning_content": "음"}]
    assert "<think>\n음\n</think>\n\n나" in theirs.post("/apply-template", messages=again)["prompt"]


@pytest.mark.parametrize("regex", sorted(REGEXES))
def test_a_seeded_vocabulary_has_the_same_ids(regex, tmp_path):
    """Every syllable of KS X 1001 alone, in words and behind spaces; indentation; punctuation."""
    ours = Tokenizer.train(text_sample.TEXTS, SEEDED_FROM, regex=regex, allow_smaller=True)
    syllables, runs = ks_x_1001(), [" " * n + "x\n" + "\t" * n + "가\n" for n in range(20)]
    texts = ["\n".join(syllables), " ".join(syllables), "".join(syllables), "".join(runs)]
    texts += [f"정답{char} {char}{char}가" for char in PUNCTUATION]
    with llamacpp.opened(exported(ours, tmp_path), 512) as theirs:
        for text in texts:
            assert theirs.tokenize(text) == ours.encode(text)


def test_real_text(yaongi_data, tmp_path):
    """A vocabulary large enough that wrong cuts would show, on text it was not trained on."""
    files = sorted((yaongi_data / "train").glob("*.jsonl.zst"))
    texts = [text for file in files for text in first_texts(file, 12)]
    ours = Tokenizer.train(texts[::2], 4000)
    with llamacpp.opened(exported(ours, tmp_path), 512) as theirs:
        for text in texts[1::2]:
            assert theirs.tokenize(nfc(text)) == ours.encode(text), text
    assert len(texts) > 100


def first_texts(file: Path, count: int) -> list[str]:
    """Some rows of a file, as they are written: text, code and JSON alike."""
    with zstandard.open(file, "rt", encoding="utf-8") as stream:
        rows = [json.loads(line) for line, _ in zip(stream, range(count), strict=False)]
    return [str(row.get("text", row))[:1000] for row in rows]
