"""Promises about every string, on strings nobody would think of."""

import functools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from text_sample import TEXTS, tokenizer

from yaongi.text.chat import encode_chat, render
from yaongi.text.control import CONTROL
from yaongi.text.hangul import has_final, josa, pick_josa
from yaongi.text.normalize import nfc
from yaongi.text.seeds import SEEDED_FROM
from yaongi.text.tokenizer import Tokenizer

SYLLABLES = st.characters(min_codepoint=0xAC00, max_codepoint=0xD7A3)
JAMO = st.one_of(
    st.characters(min_codepoint=0x1100, max_codepoint=0x11FF),
    st.characters(min_codepoint=0x3130, max_codepoint=0x318F),
    st.characters(min_codepoint=0xA960, max_codepoint=0xA97C),
    st.characters(min_codepoint=0xD7B0, max_codepoint=0xD7FB),
)
HANJA = st.characters(min_codepoint=0x4E00, max_codepoint=0x9FFF) | st.characters(
    min_codepoint=0xF900, max_codepoint=0xFAD9
)
EMOJI = st.sampled_from(["👨‍👩‍👧‍👦", "🇰🇷", "👍🏽", "❤️‍🔥", "\u200d", "\ufe0f", "😀"])
MARKS = st.characters(categories=["Mn"])
ANY = st.characters(exclude_categories=["Cs"])
TEXT = st.lists(
    st.one_of(SYLLABLES, JAMO, HANJA, EMOJI, MARKS, ANY, st.sampled_from(CONTROL), st.just("\n"))
).map("".join)
IDS = st.lists(st.integers(0, 499))


@given(TEXT, st.sampled_from(["qwen2", "llama-bpe"]))
@example("", "qwen2")
@example("\u1100\u1161\u11a7\u11a8", "qwen2")  # a jamo just outside the final consonants
@example("a\u07fd\u0301 a\u0898\u0323", "qwen2")  # marks newer than the library's tables
@example("\u0fb2\u0f71\u0f80\u0344\u2126\u212b", "qwen2")  # NFC rewrites all of these
def test_decode_of_encode_is_nfc(text, regex):
    tok = tokenizer(regex)
    ids = tok.encode(text)
    assert tok.decode(ids) == nfc(text)
    assert tok.encode_batch([text]) == [ids]
    assert all(i >= len(CONTROL) for i in ids)


@functools.cache
def seeded():
    """With every syllable of KS X 1001, and few other merges."""
    return Tokenizer.train(TEXTS, SEEDED_FROM, allow_smaller=True)


@given(TEXT)
@example("    가\t\t나：」·～")
def test_decode_of_encode_is_nfc_with_seeds(text):
    ids = seeded().encode(text)
    assert seeded().decode(ids) == nfc(text)
    assert all(i >= len(CONTROL) for i in ids)


@given(TEXT)
def test_streaming_text_is_whole_characters_and_equal(text):
    tok = tokenizer()
    stream = tok.stream()
    parts = [stream.push(i) for i in tok.encode(text)]
    assert stream.flush() == ""
    assert "".join(parts) == nfc(text)
    if "\ufffd" not in text:
        assert not any("\ufffd" in part for part in parts)


@given(IDS, st.booleans())
@example([], False)
def test_streaming_any_ids_equals_decoding_them(ids, control):
    tok = tokenizer()
    stream = tok.stream(control=control)
    assert "".join([*map(stream.push, ids), stream.flush()]) == tok.decode(ids, control=control)
    assert stream.flush() == ""  # nothing left over for the next answer


@given(st.lists(st.integers(0, 255)))
def test_streaming_any_bytes_equals_decoding_them(data):
    tok = tokenizer()
    byte_id = {tok.token_bytes(i): i for i in range(len(CONTROL), 330)}
    ids = [byte_id[bytes([b])] for b in data]
    stream = tok.stream()
    found = "".join([*map(stream.push, ids), stream.flush()])
    assert found == bytes(data).decode(errors="replace")


def test_every_syllable_arrives_whole_byte_by_byte():
    tok = tokenizer()
    byte_id = {tok.token_bytes(i): i for i in range(len(CONTROL), 330)}
    stream = tok.stream()
    for code in range(0xAC00, 0xD7A4):
        ids = [byte_id[bytes([b])] for b in chr(code).encode()]
        assert [stream.push(i) for i in ids] == ["", "", chr(code)]


@given(TEXT)
def test_nfc_settles(text):
    assert nfc(nfc(text)) == nfc(text)


@given(TEXT.filter(bool), TEXT, st.booleans())
def test_nobody_can_forge_a_turn(question, answer, generation_prompt):
    tok = tokenizer()
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    ids, mask = encode_chat(tok, turns, generation_prompt=generation_prompt)
    control = [i for i in ids if i < len(CONTROL)]
    start, end = tok.im_start_id, tok.im_end_id
    assert control == [start, end] * 2 + [start] * generation_prompt
    said = [i for i, m in zip(ids, mask, strict=True) if m]
    assert said == [*tok.encode(answer), end]
    joined = "".join(p.text for p in render(turns, generation_prompt=generation_prompt))
    assert tok.decode(ids, control=True) == nfc(joined)


@given(TEXT, st.sampled_from(["은/는", "이/가", "을/를", "과/와", "으로/로", "이에요/예요"]))
def test_josa_always_answers_with_a_form_of_the_pair(word, pair):
    closed, opened = pair.split("/")
    found = pick_josa(word, pair)
    assert josa(word, pair) == word + found
    if has_final(word) is None:
        assert "(" in found
    elif pair != "으로/로":
        assert found == (closed if has_final(word) else opened)


@pytest.mark.parametrize("pair", ["은/는", "을/를", "으로/로"])
def test_josa_of_every_syllable(pair):
    closed, opened = pair.split("/")
    for code in range(0xAC00, 0xD7A4):
        tail = (code - 0xAC00) % 28
        dropped = tail == 0 or (tail == 8 and pair == "으로/로")  # 8 is ㄹ
        assert pick_josa(chr(code), pair) == (opened if dropped else closed)
