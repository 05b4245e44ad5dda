"""Sample weights, from a row of a file to the loss weights of a batch."""

import foreign_tokenizers
import numpy as np
import pytest
from byte_shards import corpus_of, no_tokenizer
from tiny import tokenizer

from yaongi.core.errors import DataError
from yaongi.core.seeds import Seed
from yaongi.data.batches import PackedConversations, eval_batches
from yaongi.data.shards import Shards, ShardsConfig, build_shards, document_encoder
from yaongi.data.weights import token_weights
from yaongi.text.foreign import load_tokenizer


def pair(i, **said):
    return [
        {"role": "user", "content": f"{i} 더하기 {i}는?"},
        {"role": "assistant", "content": f"{2 * i}입니다.", **said},
    ]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Shards of usual conversations, then weighted ones; and of usual ones alone."""
    folder = tmp_path_factory.mktemp("weights")
    rows = [{"messages": pair(i)} for i in range(20)]
    rows += [{"messages": pair(i), "weight": 0.25} for i in range(100, 120)]
    rows += [{"messages": [*pair(i, weight=0), *pair(i + 1)], "weight": 2} for i in range(200, 220)]
    rows += [{"messages": pair(300), "weight": 0}]
    plain = [{"messages": pair(i)} for i in range(400, 410)]
    corpus = corpus_of(folder, {"chat": rows, "plain": plain}, val_fraction=0.1)
    encoder = document_encoder(tokenizer())
    tok = no_tokenizer(folder)
    return build_shards(ShardsConfig(), corpus, tok, folder / "shards", encoder=encoder)


def conversations(batches):
    """(text, learnt text by weight) of every conversation of an epoch."""
    tok, found = tokenizer(), []
    for step in range(batches.steps_per_epoch):
        batch = batches.batch(step)
        for row in range(min(len(batch.ids), batches.rows_per_epoch - step * batches.batch_rows)):
            for i in range(batch.doc_ids[row].max() + 1):
                at = np.flatnonzero(batch.doc_ids[row] == i)
                weights, targets = batch.weights[row, at], batch.targets[row, at]
                by_weight = {
                    float(w): tok.decode(targets[weights == w].tolist())
                    for w in np.unique(weights)
                    if w
                }
                found.append((tok.decode(batch.ids[row, at].tolist()), by_weight))
    return [item for item in found if item[0]]


def test_weights_reach_the_loss_weights_of_batches(made):
    batches = PackedConversations(made, 2, 256, Seed(0), domains=["chat"])
    seen = conversations(batches)
    assert len(seen) == batches.report.conversations > 40
    for text, learnt in seen:
        number = int(text.split()[1])  # behind "user"
        weight, answer = (
            (1.0, f"{2 * number}입니다.") if number < 100
            else (0.25, f"{2 * number}입니다.") if number < 200
            else (2.0, f"{2 * number + 2}입니다.")
        )  # fmt: skip
        assert learnt == {weight: answer}
    assert {next(iter(learnt)) for _, learnt in seen} == {1.0, 0.25, 2.0}


def test_what_counts_nothing_is_not_learnt(made):
    """Neither counted as learnt, nor evaluated; a conversation of weight 0 is left out."""
    shard = Shards(made).open("chat")
    assert ((shard.weights > 0) == (shard.mask == 1)).all()
    everything = [Shards(made).open("chat", split) for split in ("train", "val")]
    silent = sum(
        not shard.mask[a:b].any()
        for shard in everything
        for a, b in zip(shard.offsets[:-1], shard.offsets[1:], strict=True)
    )
    assert silent == 1
    report = PackedConversations(made, 2, 256, Seed(0), domains=["chat"]).report
    assert report.learnt == shard.mask.sum() and report.untrained <= 1


def test_weights_are_stored_only_where_there_are_some(made):
    assert Shards(made).open("plain").weights is None
    assert Shards(made).open("chat").weights.dtype == np.float32


def test_held_out_conversations_are_measured_without_weights(made):
    for batch in eval_batches(made, "chat", 2, 128):
        assert set(np.unique(batch.weights)) <= {0.0, 1.0}


@pytest.mark.parametrize(
    ("make", "template"),
    [("make", "LLAMA_LIKE"), ("make", "CHATML"), ("make_sentencepiece", "LLAMA2")],
)
def test_weights_follow_an_imported_template(tmp_path, make, template):
    getattr(foreign_tokenizers, make)(tmp_path, getattr(foreign_tokenizers, template))
    tok = load_tokenizer(tmp_path)
    messages = [*pair(1, weight=0.5), *pair(2), *pair(3, weight=0)]
    ids, mask = tok.conversation(messages)
    weights = token_weights(mask, {"messages": messages, "weight": 3})
    said = {w: tok.decode(np.asarray(ids)[weights == w].tolist()) for w in np.unique(weights)}
    assert set(said) == {0.0, 1.5, 3.0}
    assert "2입니다." in said[1.5] and "4입니다." in said[3.0]
    assert "6입니다." in said[0.0] and "더하기" in said[0.0]


def test_a_template_whose_answers_cannot_be_told_apart():
    messages = [*pair(1, weight=0.5), *pair(2)]
    assert token_weights([0, 1, 1, 0, 1], {"messages": messages}).tolist() == [0, 0.5, 0.5, 0, 1]
    assert token_weights([0, 1, 1, 0, 1], {"messages": pair(1)}) is None
    with pytest.raises(DataError, match="1 answers of a conversation that has 2"):
        token_weights([0, 1, 1, 1, 1], {"messages": messages})
