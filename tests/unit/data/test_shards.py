"""Token files: what goes in comes out, in a type that fits."""

import numpy as np
import pytest
from byte_shards import byte_encoder, corpus_of, no_tokenizer

from yaongi.core.artifact import Artifact, draft
from yaongi.core.config import parse
from yaongi.core.errors import ArtifactError, DataError
from yaongi.data.corpus import read_corpus
from yaongi.data.shards import (
    Shards,
    ShardsConfig,
    build_shards,
    document_encoder,
)
from yaongi.text.normalize import nfc
from yaongi.text.tokenizer import Tokenizer

QUESTION = {"role": "user", "content": "<|im_end|> 서울은?"}
ANSWER = {"role": "assistant", "content": "맑아요."}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(corpus, shards, tokenizer) of text, conversations and preferences."""
    folder = tmp_path_factory.mktemp("shards")
    domains = {
        "ko": [{"text": f"가각 힣 {i} ㅋㅋㅋ 漢字 🙂"} for i in range(60)],
        "chat": [{"messages": [QUESTION, {**ANSWER, "content": f"{i}도"}]} for i in range(40)]
        + [{"text": "그냥 글"}],
        "pref": [{"prompt": "?", "chosen": "네", "rejected": f"{i}"} for i in range(10)],
    }
    corpus = corpus_of(folder, domains, val_fraction=0.1)
    tokenizer = Tokenizer.train((d.text for d in read_corpus(corpus, "train")), 400,
                                allow_smaller=True)  # fmt: skip
    with draft(folder / "tokenizer", "tokenizer", config={}) as work:
        tokenizer.save(work.path)
        saved = work.finish()
    return corpus, build_shards(ShardsConfig(), corpus, saved, folder / "shards"), tokenizer


def test_documents_come_back_in_order(made):
    corpus, artifact, tokenizer = made
    for split in ("train", "val"):
        shard = Shards(artifact).open("ko", split)
        documents = list(read_corpus(corpus, split, "ko"))
        assert len(shard.lengths) == len(documents)
        for i, document in enumerate(documents):
            ids = shard.tokens[shard.offsets[i] : shard.offsets[i + 1]].tolist()
            assert ids[0] == tokenizer.eot_id and tokenizer.eot_id not in ids[1:]
            assert tokenizer.decode(ids[1:]) == nfc(document.text)


def test_conversations_learn_what_the_assistant_says(made):
    corpus, artifact, tokenizer = made
    shard = Shards(artifact).open("chat")
    assert shard.mask is not None and len(shard.mask) == len(shard.tokens)
    for i, document in enumerate(read_corpus(corpus, "train", "chat")):
        part = slice(*shard.offsets[i : i + 2])
        ids, mask = shard.tokens[part], shard.mask[part]
        if "messages" not in document.metadata:
            assert mask.all()
            continue
        said = tokenizer.decode(ids[mask > 0].tolist(), control=True)
        assert said == document.metadata["messages"][1]["content"] + "<|im_end|>"
        # the user's literal <|im_end|> is text: two turns, two control tokens
        assert (ids == tokenizer.im_end_id).sum() == 2


def test_counts_and_bytes(made):
    corpus, artifact, _ = made
    counts = artifact.manifest.counts
    assert counts["dtype"] == "uint16"
    ko = counts["domains"]["ko"]
    for split in ("train", "val"):
        texts = [nfc(d.text) for d in read_corpus(corpus, split, "ko")]
        assert ko[split]["documents"] == len(texts)
        assert ko[split]["bytes"] == sum(len(t.encode()) for t in texts)
        assert ko[split]["tokens"] == len(Shards(artifact).open("ko", split).tokens)
    chat = counts["domains"]["chat"]["train"]
    assert 0 < chat["learnt"] < chat["tokens"]


def test_preferences_are_kept_for_later(made):
    _, artifact, _ = made
    assert Shards(artifact).domains() == ["chat", "ko"]
    assert not list(artifact.path.glob("*/pref*"))
    with pytest.raises(DataError, match=r"no data in .*: 'pref'\. There is: chat, ko\.$"):
        Shards(artifact).open("pref")


def test_every_file_is_in_the_manifest_and_verifies(made):
    _, artifact, _ = made
    artifact.verify()
    assert {"token_bytes.npy", "train/ko.tokens.bin", "val/chat.mask.bin"} <= set(
        artifact.manifest.files
    )


@pytest.mark.parametrize(
    ("asked", "size", "stored"),
    [("auto", 65_536, "uint16"), ("auto", 65_537, "uint32"), ("uint32", 300, "uint32")],
)
def test_the_type_fits_the_vocabulary(tmp_path, asked, size, stored):
    corpus = corpus_of(tmp_path, {"ko": [{"text": "가나다"}]}, val_fraction=0)
    cfg, encoder = parse(ShardsConfig, {"dtype": asked}), byte_encoder(size)
    artifact = build_shards(
        cfg, corpus, no_tokenizer(tmp_path), tmp_path / "shards", encoder=encoder
    )
    shard = Shards(artifact).open("ko")
    assert shard.tokens.dtype == np.dtype(stored)
    assert bytes((shard.tokens[1:] - 2).astype(np.uint8)).decode() == "가나다"


def test_a_vocabulary_too_large_for_the_type_asked_for(tmp_path):
    corpus = corpus_of(tmp_path, {"ko": [{"text": "가"}]})
    cfg = parse(ShardsConfig, {"dtype": "uint16"})
    with pytest.raises(DataError, match="65537 tokens does not fit the shard type uint16") as error:
        build_shards(
            cfg, corpus, no_tokenizer(tmp_path), tmp_path / "s", encoder=byte_encoder(65_537)
        )
    assert error.value.exit_code == 2 and not (tmp_path / "s").exists()


def test_large_batches_change_nothing(tmp_path, monkeypatch):
    corpus = corpus_of(tmp_path, {"ko": [{"text": f"문서 {i}"} for i in range(100)]})
    tokenizer = no_tokenizer(tmp_path)
    whole = build_shards(ShardsConfig(), corpus, tokenizer, tmp_path / "a", encoder=byte_encoder())
    monkeypatch.setattr("yaongi.data.shards._BATCH_DOCUMENTS", 7)
    again = build_shards(ShardsConfig(), corpus, tokenizer, tmp_path / "b", encoder=byte_encoder())
    assert whole.hash == again.hash


def test_unchanged_shards_are_not_made_again(made):
    corpus, artifact, _ = made
    tokenizer = Artifact(artifact.path.parent / "tokenizer", artifact.manifest)
    with pytest.raises(ArtifactError, match="has changed"):
        build_shards(ShardsConfig(), corpus, tokenizer, artifact.path)


def test_bytes_of_tokens_are_those_of_the_tokenizer(made):
    _, artifact, tokenizer = made
    encoder = document_encoder(tokenizer)
    assert encoder.token_bytes[: tokenizer.pad_id + 1] == [0, 0]
    ids = tokenizer.encode("가각 ㅋㅋ")
    assert Shards(artifact).token_bytes[ids].sum() == len("가각 ㅋㅋ".encode())
