"""Merges learnt by us are the library's, and go on from any symbols."""

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers, trainers

from yaongi.text.bpe import count_words, learn_merges

WORDS = st.dictionaries(st.text("ab", min_size=1, max_size=9), st.integers(1, 6), min_size=1)


def library(words, most):
    """The merges of ``tokenizers`` on the same words."""
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Split(" ", "removed")
    trainer = trainers.BpeTrainer(
        vocab_size=2 + most, min_frequency=2, initial_alphabet=["a", "b"], show_progress=False
    )
    backend.train_from_iterator([" ".join([word] * n) for word, n in words.items()], trainer)
    return [tuple(merge) for merge in json.loads(backend.to_str())["model"]["merges"]]


def spelled(merges, names):
    names, found = list(names), []
    for left, right in merges:
        found.append((names[left], names[right]))
        names.append(names[left] + names[right])
    return found, names


@given(WORDS, st.integers(0, 12))
def test_the_merges_are_the_librarys(words, most):
    found = learn_merges([["ab".index(c) for c in w] for w in words], words.values(), 2, most)
    merges, names = spelled(found, "ab")
    assert merges == library(words, most)
    assert len(set(names)) == len(names)


@given(WORDS, st.integers(1, 4), st.integers(0, 6))
def test_going_on_from_merges_is_learning_them_all(words, first, more):
    """Learning stopped and begun again on words merged so far finds the same list."""
    symbols = [["ab".index(c) for c in w] for w in words]
    whole = learn_merges(symbols, words.values(), 2, first + more)
    start = learn_merges(symbols, words.values(), 2, first)
    for k, pair in enumerate(start):
        symbols = [applied(word, pair, 2 + k) for word in symbols]
    rest = learn_merges(symbols, words.values(), 2 + len(start), first + more - len(start))
    assert start + rest == whole


def applied(word, pair, merged):
    found = []
    for symbol in word:
        if found and (found[-1], symbol) == pair:
            found[-1] = merged
        else:
            found.append(symbol)
    return found


def test_nothing_is_learnt_from_nothing():
    assert learn_merges([], [], 2, 10) == []
    assert learn_merges([[0], [1]], [5, 5], 2, 10) == []
    assert learn_merges([[0, 1]], [1], 2, 10) == []
    assert learn_merges([[0, 1]], [1], 2, 10, min_count=1) == [(0, 1)]


def test_counts_beyond_32_bits_are_kept():
    assert learn_merges([[0, 1], [1, 0]], [2**40, 2**40 + 1], 2, 1) == [(1, 0)]


def test_words_are_counted_exactly_while_they_fit():
    texts = ["a b a", "b c", ""]
    assert count_words(texts, str.split, 3) == {"a": 2, "b": 2, "c": 1}


def test_when_there_are_too_many_words_the_rarest_go():
    assert count_words(["a a a b b c c d", "e"], str.split, 4) == {"a": 3}
    assert count_words(["a a a b b c d", "e", "b"], str.split, 4) == {"a": 3, "b": 3}
    stream = [f"가 나 {i}" for i in range(1000)]
    kept = count_words(stream, str.split, 10)
    assert len(kept) <= 11
    assert kept["가"] == kept["나"] == 1000


@pytest.mark.parametrize("limit", [2, 3, 8])
def test_no_count_is_too_high(limit):
    texts = [f"w{i % 7} w{i % 3} x{i}" for i in range(200)]
    exact = Counter(word for text in texts for word in text.split())
    for word, n in count_words(texts, str.split, limit).items():
        assert n <= exact[word]
