"""Adding Korean tokens to a tokenizer: what changes, and what must not."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import extended
import foreign_tokenizers
import numpy as np
import pytest
import text_sample
from tokenizers import Tokenizer as Tokenizers
from tokenizers import models

from yaongi.core.artifact import draft, open_artifact
from yaongi.core.errors import ArtifactError, TokenizerError
from yaongi.text.canonical import canonical_ids
from yaongi.text.extend import Extendable, ExtendConfig, stage
from yaongi.text.extension import Extension, padded
from yaongi.text.foreign import ForeignTokenizer, load_tokenizer
from yaongi.text.merges import Merge, bytes_of, has_hangul, korean_words, learn
from yaongi.text.tokenizer import Tokenizer
from yaongi.text.unchanged import check_unchanged, samples
from yaongi.text.vectors import Similar, similar_tokens, sparsemax

TEXTS = extended.TEXTS


@pytest.fixture(params=extended.KINDS)
def pair(request: Any, tmp_path: Path) -> tuple[Path, Path]:
    """A tokenizer folder, and the one extended from it."""
    extended.make(tmp_path / "old", request.param)
    stage(ExtendConfig(add=40), tmp_path / "old", TEXTS, tmp_path / "new")
    return tmp_path / "old", tmp_path / "new"


def test_every_text_keeps_its_ids_where_no_token_is_new(pair: tuple[Path, Path]) -> None:
    old, new = map(load_tokenizer, pair)
    extension = Extension.read(pair[1])
    assert (extension.old_size, extension.new_size) == (old.vocab_size, old.vocab_size + 40)
    assert new.vocab_size == extension.new_size
    for text in [*extended.PLAIN, *text_sample.HARD_TEXTS, *TEXTS]:
        assert extended.expanded(new.encode(text), extension) == old.encode(text)
        assert new.decode(new.encode(text)) == old.decode(old.encode(text))
    assert all(new.encode(text) == old.encode(text) for text in extended.PLAIN)
    assert sum(len(new.encode(t)) for t in TEXTS) < 0.8 * sum(len(old.encode(t)) for t in TEXTS)


def test_old_ranks_control_tokens_and_template_stay(pair: tuple[Path, Path]) -> None:
    old, new = (json.loads((p / "tokenizer.json").read_bytes()) for p in pair)
    ranks = [[tuple(m.split() if isinstance(m, str) else m) for m in s["model"]["merges"]]
             for s in (old, new)]  # fmt: skip
    assert ranks[1][: len(ranks[0])] == ranks[0] and len(ranks[1]) == len(ranks[0]) + 40
    assert old["added_tokens"] == new["added_tokens"]
    assert old["model"]["vocab"].items() <= new["model"]["vocab"].items()
    before, after = map(load_tokenizer, pair)
    for chat in text_sample.CHATS[:1]:
        assert before.decode(before.chat_ids(chat), control=True) == after.decode(
            after.chat_ids(chat), control=True
        )
    assert before.stop_ids == after.stop_ids and before.control_ids == after.control_ids
    backends = [Tokenizers.from_file(str(folder / "tokenizer.json")) for folder in pair]
    for i, token in backends[0].get_added_tokens_decoder().items():
        assert backends[1].token_to_id(token.content) == i
    if isinstance(after, Tokenizer):
        extension = Extension.read(pair[1])
        assert extension.canonical == canonical_ids(after)
        assert extension.canonical[: before.vocab_size] == canonical_ids(before)  # pyright: ignore


def test_the_ids_are_those_of_plain_byte_pair_encoding(pair: tuple[Path, Path]) -> None:
    """Computed here pair by pair, lowest rank first, whole known words first for llama-bpe."""
    spec = json.loads((pair[1] / "tokenizer.json").read_bytes())
    backend = Tokenizers.from_file(str(pair[1] / "tokenizer.json"))
    model = spec["model"]
    rank = {tuple(m.split() if isinstance(m, str) else m): i for i, m in enumerate(model["merges"])}
    tokenizer = load_tokenizer(pair[1])
    for text in TEXTS:
        wanted: list[int] = []
        for word, _ in backend.pre_tokenizer.pre_tokenize_str(text):
            whole = model.get("ignore_merges") and word in model["vocab"]
            parts = [word] if whole else extended.merged(list(word), rank)
            wanted += [model["vocab"][part] for part in parts]
        assert tokenizer.encode(text) == wanted


def test_each_merge_is_the_commonest_there_is(tmp_path: Path) -> None:
    """Greedy, as byte-pair encoding is: counted anew after each merge."""
    extended.make(tmp_path, "gpt-2")
    old = Extendable.open(tmp_path)
    words = korean_words(old.backend, TEXTS)
    taken = old.taken
    split = {word: [t.value for t in old.backend.model.tokenize(word)] for word in words}
    for merge in learn(old.backend, words, 40, taken):
        pairs: Counter[Merge] = Counter()
        for word, n in words.items():
            for left, right in itertools.pairwise(split[word]):
                pairs[Merge(left, right)] += n
        allowed = [m for m in pairs if m.token not in taken and has_hangul(m.token)]
        assert merge in allowed and pairs[merge] == max(pairs[m] for m in allowed)
        taken.add(merge.token)
        split = {w: extended.merged(parts, {merge: 0}) for w, parts in split.items()}


def test_no_new_token_is_an_old_one_or_the_name_of_an_added_one(tmp_path: Path) -> None:
    extended.make(tmp_path / "old", "gpt-2", added="야옹")
    old = Extendable.open(tmp_path / "old")
    merges = learn(old.backend, korean_words(old.backend, ["야옹이 야옹 했다"] * 9), 40, old.taken)
    tokens = [bytes_of(merge.token).strip() for merge in merges]
    assert "야옹".encode() not in tokens and "했다".encode() in tokens
    assert len({merge.token for merge in merges} | old.taken) == len(merges) + len(old.taken)


def test_only_tokens_with_hangul_are_learnt(tmp_path: Path) -> None:
    extended.make(tmp_path / "old", "gpt-2")
    text = "QZXJ를 “QZXJ는” QZXJ가 “QZXJ에서” " * 5
    stage(ExtendConfig(add=4), tmp_path / "old", [text], tmp_path / "new")
    extension, new = Extension.read(tmp_path / "new"), load_tokenizer(tmp_path / "new")
    tokens = [new.token_bytes(i) for i in range(extension.old_size, extension.new_size)]
    assert len(tokens) == 4 and all(re.search(rb"[\xea-\xed]", token) for token in tokens)
    plain = "“QZXJ” – QZXJ, naïve Ωμέγα 漢字 かな"
    assert new.encode(plain) == load_tokenizer(tmp_path / "old").encode(plain)


def test_what_the_artifact_says(tmp_path: Path) -> None:
    extended.make(tmp_path / "old", "qwen2")
    (tmp_path / "LICENSE").write_text("do good")
    with draft(tmp_path / "corpus", "corpus", config={}) as work:
        corpus = work.finish(licences=["CC0-1.0"])
    args: Any = (ExtendConfig(add=40), tmp_path / "old", TEXTS, tmp_path / "new")
    more: Any = {"held_out": TEXTS[:4], "parents": [corpus], "beside": [tmp_path / "LICENSE"]}
    made = stage(*args, **more, licences=["llama3"])
    m = made.manifest
    assert m.kind == "tokenizer" and m.licences == ["llama3"]
    old_size = load_tokenizer(tmp_path / "old").vocab_size
    assert m.counts["vocab_size"] == old_size + 40 <= m.counts["padded_size"]
    assert m.counts["padded_size"] == padded(old_size + 40) and m.counts["padded_size"] % 64 == 0
    assert m.metrics["tokens_per_syllable_after"] < m.metrics["tokens_per_syllable_before"]
    assert m.metrics["bytes_per_token_after"] > m.metrics["bytes_per_token_before"]
    assert m.metrics["unchanged"] == {"english": 1.0, "code": 1.0}
    assert (made.path / "LICENSE").read_text() == "do good"
    assert (made.path / "chat_template.jinja").is_file()
    assert not (made.path / "merges.txt").exists()  # it would be the old one
    base = Extension.read(made.path).base
    assert base["path"] == str(tmp_path / "old") and len(base["sha256"]) == 64
    open_artifact(made.path).verify()
    again = stage(*args[:2], iter(()), tmp_path / "new", **more)  # nothing is read again
    assert again.hash == made.hash
    second = stage(*args[:3], tmp_path / "second", **more, licences=["llama3"])
    assert second.hash == made.hash
    with pytest.raises(ArtifactError, match="add: 40 -> 41"):
        stage(ExtendConfig(add=41), *args[1:], **more)


def test_an_extension_can_be_extended(tmp_path: Path) -> None:
    extended.make(tmp_path / "old", "qwen2")
    stage(ExtendConfig(add=20), tmp_path / "old", TEXTS, tmp_path / "a")
    stage(ExtendConfig(add=20), tmp_path / "a", TEXTS, tmp_path / "b")
    stage(ExtendConfig(add=40), tmp_path / "old", TEXTS, tmp_path / "c")
    twice, once = (load_tokenizer(tmp_path / name) for name in "bc")
    assert [twice.encode(t) for t in TEXTS] == [once.encode(t) for t in TEXTS]


def test_more_than_the_text_holds(tmp_path: Path) -> None:
    extended.make(tmp_path / "old", "gpt-2")
    with pytest.raises(TokenizerError, match=r"hold only (\d+) new tokens .* --add \1") as caught:
        stage(ExtendConfig(add=100_000), tmp_path / "old", TEXTS, tmp_path / "new")
    found = caught.value.fields["found"]
    stage(ExtendConfig(add=found), tmp_path / "old", TEXTS, tmp_path / "new")
    with pytest.raises(TokenizerError, match="only 0 new"):
        stage(ExtendConfig(add=1), tmp_path / "old", ["English only"] * 9, tmp_path / "none")
    with pytest.raises(TokenizerError, match="lone surrogate"):
        stage(ExtendConfig(add=1), tmp_path / "old", ["\ud800"], tmp_path / "none")
    assert not (tmp_path / "none").exists()


def _unigram(folder: Path) -> None:
    backend = Tokenizers(models.Unigram([("<unk>", 0.0), ("가", -1.0)], unk_id=0))
    folder.mkdir()
    backend.save(str(folder / "tokenizer.json"))


def _no_words(folder: Path) -> None:
    extended.make(folder, "gpt-2")
    _change(folder, pre_tokenizer=None)


def _dropout(folder: Path) -> None:
    extended.make(folder, "gpt-2")
    spec = json.loads((folder / "tokenizer.json").read_bytes())
    _change(folder, model={**spec["model"], "dropout": 0.1})


def _change(folder: Path, **parts: Any) -> None:
    spec = json.loads((folder / "tokenizer.json").read_bytes())
    (folder / "tokenizer.json").write_text(json.dumps({**spec, **parts}), "utf-8")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_unigram, "it is a Unigram model, which has no ranked merges"),
        (foreign_tokenizers.make_sentencepiece, "pieces of text .SentencePiece."),
        (foreign_tokenizers.make_lowercase, "it changes texts"),
        (_no_words, "does not cut texts into words"),
        (_dropout, "it has dropout"),
    ],
)
def test_others_are_refused_with_the_reason(tmp_path: Path, make: Any, reason: str) -> None:
    make(tmp_path / "old")
    with pytest.raises(TokenizerError, match=f"{reason}.*Only byte-level BPE can"):
        stage(ExtendConfig(add=1), tmp_path / "old", TEXTS, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_folder_without_a_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=r"tokenizer.json is missing"):
        stage(ExtendConfig(add=1), tmp_path, TEXTS, tmp_path / "new")


def test_the_check_finds_a_changed_word(tmp_path: Path) -> None:
    extended.make(tmp_path / "a", "gpt-2")
    old = Extendable.open(tmp_path / "a")
    spec = json.loads((tmp_path / "a/tokenizer.json").read_bytes())
    spec["model"]["merges"] = spec["model"]["merges"][5:]
    changed = Tokenizers.from_str(json.dumps(spec))
    with pytest.raises(TokenizerError, match="before it was"):
        check_unchanged(old.backend, changed, old.size)
    assert sum(len(t) for t in samples()["english"]) > 100_000
    assert sum(len(t) for t in samples()["code"]) > 100_000


def test_a_name_that_would_become_a_control_token_is_noticed(tmp_path: Path) -> None:
    """With ignore_merges a whole word is looked up, and added tokens have to be in the table."""
    extended.make(tmp_path / "old", "llama-bpe", added="PADDING", special=True)
    with pytest.raises(TokenizerError, match="'PADDING' as"):
        stage(ExtendConfig(add=5), tmp_path / "old", TEXTS, tmp_path / "new")


def test_a_damaged_extension(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="not made by"):
        Extension.read(tmp_path)
    (tmp_path / "extension.json").write_text('{"old_size": 1}')
    with pytest.raises(ArtifactError, match="must hold base, canonical, new_size"):
        Extension.read(tmp_path)
    with pytest.raises(TokenizerError, match="4 ids before, 5 after and 5 padded"):
        Extension(4, 5, 5, [])
    with pytest.raises(TokenizerError, match="No extension"):
        Extension(4, 5, 5, [[4]])


def test_an_extension_reads_as_it_was_written(tmp_path: Path) -> None:
    similar = Similar(np.array([[1, 2]]), np.array([[0.5, 0.5]], np.float32))
    wrote = Extension(4, 5, 64, [[1, 2]], [0, 1, 2, 3, 3], {"path": "a"}, similar)
    wrote.write(tmp_path)
    read = Extension.read(tmp_path)
    assert read.similar is not None and np.array_equal(read.similar.ids, similar.ids)
    assert read.similar.weights.tolist() == [[0.5, 0.5]] and read.new_rows == slice(4, 5)
    assert (read.pieces, read.canonical, read.base) == (wrote.pieces, wrote.canonical, wrote.base)


def test_sparsemax() -> None:
    assert sparsemax(np.array([0.0, 2.0, 0.5])).tolist() == [0, 1, 0]
    assert np.allclose(sparsemax(np.array([1.0, 0.8, -3.0])), [0.6, 0.4, 0])


def test_similar_tokens_stand_in_the_same_places() -> None:
    """Old tokens 0..9; new 10 is used like 3, never like 4; 11 was not seen."""
    rng = np.random.default_rng(0)
    documents = []
    for _ in range(300):
        documents += [[1, rng.choice([3, 10]), 2, 1], [5, 4, 6, 5]]
    found = similar_tokens(documents, 10, [[7, 8], [8, 8, 9]])
    assert found.ids.shape == found.weights.shape == (2, 32)
    best = found.ids[0, np.argmax(found.weights[0])]
    assert best in (3, 7, 8)  # 7 and 8 are its own pieces
    weight = dict(zip(found.ids[0].tolist(), found.weights[0].tolist(), strict=True))
    assert weight.get(3, 0) > 0.1 and 4 not in {i for i, w in weight.items() if w > 0.01}
    assert np.allclose(found.weights.sum(1), 1)
    assert found.ids[1, :3].tolist() == [8, 8, 9] and np.allclose(found.weights[1, :3], 1 / 3)


def test_real_english_and_code_keep_their_ids(tmp_path: Path, yaongi_data: Path) -> None:
    names = "en_wikipedia_demo", "code_thealgorithms_c", "math_napkin", "ko_news_sentences"
    texts = {name: extended.real(yaongi_data, name, 30_000) for name in names}
    plain = [*texts["en_wikipedia_demo"], *texts["code_thealgorithms_c"]]
    Tokenizer.train(plain, 1000).save(tmp_path / "old")
    korean = texts.pop("ko_news_sentences")
    stage(ExtendConfig(add=300), tmp_path / "old", korean, tmp_path / "new")
    old, new = load_tokenizer(tmp_path / "old"), load_tokenizer(tmp_path / "new")
    for name, group in texts.items():
        assert new.encode_batch(group) == old.encode_batch(group), name
    assert isinstance(new, Tokenizer) and not isinstance(new, ForeignTokenizer)
    lengths = [sum(map(len, t.encode_batch(korean))) for t in (old, new)]
    assert lengths[1] < 0.5 * lengths[0]
