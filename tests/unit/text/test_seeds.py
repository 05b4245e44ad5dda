"""A large vocabulary has every KS X 1001 syllable and every indentation as one token."""

import functools
import itertools
import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from text_sample import HARD_TEXTS, TEXTS

from yaongi.text.control import CONTROL
from yaongi.text.learn import learn, word_counts
from yaongi.text.normalize import nfc
from yaongi.text.seeds import PUNCTUATION, SEEDED_FROM, ks_x_1001, seed_merges
from yaongi.text.tokenizer import MIN_VOCAB, REGEXES, Tokenizer

SYLLABLES = ks_x_1001()
SEEDED = MIN_VOCAB + len(seed_merges())


@functools.cache
def seeded(regex="qwen2"):
    """Some learnt merges behind the seeds."""
    return Tokenizer.train(TEXTS * 20, SEEDED_FROM, regex=regex, allow_smaller=True)


@pytest.fixture(params=sorted(REGEXES))
def tok(request):
    return seeded(request.param)


def test_there_are_2350_syllables():
    assert len(set(SYLLABLES)) == 2350
    assert (SYLLABLES[0], SYLLABLES[-1]) == ("가", "힝")
    assert all(len(s.encode("euc_kr")) == 2 for s in SYLLABLES)
    assert "똠" not in SYLLABLES


@pytest.mark.parametrize("shape", ["{}", " {}", "갃{}갃", "A{}!", "\n{}", "({})", "1{}2"])
def test_a_syllable_is_never_cut(tok, shape):
    """Alone it is one id; inside words it is a whole token or part of a longer one."""
    for syllable in SYLLABLES:
        text = shape.format(syllable)
        ids = tok.encode(text)
        assert tok.decode(ids) == text
        assert sum(syllable.encode() in tok.token_bytes(i) for i in ids) == 1, text
    assert all(len(tok.encode(s)) == 1 for s in SYLLABLES)


def test_random_words_of_whole_syllables_have_only_whole_tokens(tok):
    rng = random.Random(0)
    for _ in range(300):
        word = "".join(rng.choices(SYLLABLES, k=rng.randint(1, 9)))
        for i in tok.encode(f" {word}, {word}"):
            tok.token_bytes(i).decode()  # raises if it begins or ends inside a character


@pytest.mark.parametrize("char", PUNCTUATION)
def test_full_width_punctuation_is_one_token(tok, char):
    assert len(tok.encode(char)) == 1
    assert len(tok.encode(f"정답{char}")) <= 3


@pytest.mark.parametrize("n", range(1, 17))
def test_indentation_is_one_token(tok, n):
    """The last space or tab belongs to the word: "    return" is three spaces and " return"."""
    runs = [" " * n, "\t" * n] if n <= 8 else [" " * n]
    for run in runs:
        assert len(tok.encode(run)) == 1
        if n > 1:
            assert tok.token_bytes(tok.encode(f"x\n{run}가")[2]) == run[1:].encode()
    assert len(tok.encode("\n" + " " * n)) == 2


def test_small_vocabularies_have_no_seeds():
    small = Tokenizer.train(TEXTS, SEEDED_FROM - 1, allow_smaller=True)
    assert small.vocab_size < SEEDED
    assert len(small.encode("힝")) == 3
    assert SEEDED < SEEDED_FROM, "seeds always fit"


def test_first_merges_are_shared_and_every_token_is_made_once():
    merges = seed_merges()
    made = [left + right for left, right in merges]
    assert len(set(made)) == len(made)
    assert len([data for data in made if len(data) == 2 and 0xEA <= data[0] <= 0xED]) == 175
    known = {bytes([b]) for b in range(256)}
    for left, right in merges:
        assert {left, right} <= known, "a merge of tokens that are not there yet"
        known.add(left + right)


def bpe(word, ranks):
    """Byte-pair encoding as the paper has it: merge the pair of lowest rank, again and again."""
    while True:
        pairs = [p for p in itertools.pairwise(word) if p in ranks]
        if not pairs:
            return word
        best, found = min(pairs, key=ranks.__getitem__), []
        for symbol in word:
            if found and (found[-1], symbol) == best:
                found[-1] = (found[-1] + symbol,)  # merged: may not merge again in this pass
            else:
                found.append(symbol)
        word = [s[0] if isinstance(s, tuple) else s for s in found]


ALPHABET = st.sampled_from(
    [*"가각뷁똠동해물과백두산 \t\n", "    ", "：", "a", "漢", "ㅋ", "😀", "1"]
)


@settings(max_examples=200)
@given(st.lists(ALPHABET, max_size=12).map("".join))
def test_encoding_is_byte_pair_encoding_with_these_merges(text):
    spec = json.loads(seeded()._data)["model"]
    ranks = {tuple(merge): k for k, merge in enumerate(spec["merges"])}
    names = {i: piece for piece, i in spec["vocab"].items()}
    backend = seeded()._backend
    words = [word for word, _ in backend.pre_tokenizer.pre_tokenize_str(nfc(text))]
    expected = [symbol for word in words for symbol in bpe(list(word), ranks)]
    assert [names[i] for i in seeded().encode(text)] == expected


@pytest.mark.parametrize("text", HARD_TEXTS)
def test_round_trip(tok, text):
    assert tok.decode(tok.encode(text)) == nfc(text)


def test_ignore_merges_changes_nothing_for_a_vocabulary_of_ours():
    """llama.cpp takes whole known words before merging for llama-bpe; every token of ours is
    what merging gives as well, so programs that do not know the rule agree."""
    tok = seeded("llama-bpe")
    spec = json.loads(tok._data)
    assert spec["model"]["ignore_merges"] is True
    start = len(CONTROL) + 256
    merged = {left + right for left, right in spec["model"]["merges"]}
    tokens = {piece for piece, i in spec["model"]["vocab"].items() if i >= start}
    assert tokens == merged
    ranks = {tuple(merge): k for k, merge in enumerate(spec["model"]["merges"])}
    for piece in tokens:
        assert bpe(list(piece), ranks) == [piece]


def test_texts_are_learnt_after_the_seeds():
    words = word_counts(["깊은 바다 깊은 바다"] * 3, "qwen2")
    backend = learn(words, SEEDED_FROM, regex="qwen2", allow_smaller=True)
    known = Tokenizer(backend.to_str().encode())
    assert [known.decode([i]) for i in known.encode("깊은 바다")] == ["깊은", " 바다"]
    assert known.vocab_size == SEEDED + 4  # 깊은, 바다, and both behind a space
