"""Batches: every token in its place, for pretraining, tuning and evaluation."""

import time

import numpy as np
import pytest
from byte_shards import EOT, PAD, byte_encoder, corpus_of, no_tokenizer

from yaongi.core.config import parse
from yaongi.core.errors import DataError
from yaongi.core.seeds import Seed
from yaongi.data.batches import (
    MixedBatches,
    PackedConversations,
    Stream,
    best_fit,
    eval_batches,
)
from yaongi.data.corpus import CorpusConfig, build_corpus, read_corpus
from yaongi.data.mix import DEFAULT_MIX
from yaongi.data.shards import Shards, ShardsConfig, build_shards


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(corpus, shards): two domains of text, one of conversations."""
    folder = tmp_path_factory.mktemp("batches")
    draw = np.random.default_rng(0)

    def text(i, most):
        return f"{i} " + "가" * int(draw.integers(1, most))

    def pair(i):
        return [
            {"role": "user", "content": f"{i}?"},
            {"role": "assistant", "content": text(i, 9)},
        ]

    domains = {
        "ko": [{"text": text(i, 40)} for i in range(120)],
        "en": [{"text": f"document {i}"} for i in range(40)],
        "chat": [{"messages": pair(i)} for i in range(90)]
        + [{"messages": [*pair(900), *pair(901), *pair(902)] * 3}],
    }
    corpus = corpus_of(folder, domains, val_fraction=0.2)
    tokenizer = no_tokenizer(folder)
    return corpus, build_shards(
        ShardsConfig(), corpus, tokenizer, folder / "shards", encoder=byte_encoder()
    )


def documents(shards, domain, split="train"):
    shard = Shards(shards).open(domain, split)
    return [
        tuple(shard.tokens[a:b].tolist())
        for a, b in zip(shard.offsets[:-1], shard.offsets[1:], strict=True)
    ]


def rows_of(batches, domain, n):
    """The first ``n`` rows of a domain: (inputs (n,T), targets (n,T))."""
    number = batches.domains.index(domain)
    ids, targets = [], []
    step = 0
    while len(ids) < n:
        batch = batches.batch(step)
        ids += list(batch.ids[batch.domains == number])
        targets += list(batch.targets[batch.domains == number])
        step += 1
    return np.array(ids[:n]), np.array(targets[:n])


def test_an_epoch_holds_every_document_once_and_the_next_in_another_order(made):
    _, shards = made
    there = documents(shards, "en")
    stream = Stream(Shards(shards).open("en"), Seed(0), seq_len=32)
    epochs = [stream.read(i * stream.length, (i + 1) * stream.length)[0] for i in range(3)]
    split = [[tuple(d) for d in np.split(e, np.flatnonzero(e == EOT)[1:])] for e in epochs]
    assert all(sorted(e) == sorted(there) for e in split)
    assert split[0] != split[1] != split[2]


def test_a_block_deals_every_row_of_the_stream_once_with_its_targets(made):
    _, shards = made
    batches = MixedBatches(shards, {"ko": 0.7, "en": 0.3}, 4, 32, Seed(0))
    stream = Stream(Shards(shards).open("ko"), Seed(0).split("order", "ko"), 32)
    n = stream.length // 32
    ids, targets = rows_of(batches, "ko", 3 * n)
    for block in range(3):  # the blocks drift over the ends of epochs, and lose nothing there
        expected = stream.read(block * n * 32, (block + 1) * n * 32 + 1)[0]
        pairs = np.stack([expected[:-1].reshape(n, 32), expected[1:].reshape(n, 32)], axis=1)
        dealt = np.stack([ids, targets], axis=1)[block * n : (block + 1) * n]
        assert sorted(map(bytes, dealt)) == sorted(map(bytes, pairs.astype(np.int64)))


def test_rows_of_a_long_document_do_not_follow_one_another(tmp_path):
    long = " ".join(str(i) for i in range(4000))
    domains = {"ko": [{"text": long}, *({"text": f"짧은 글 {i}"} for i in range(900))]}
    corpus = corpus_of(tmp_path, domains, val_fraction=0)
    shards = build_shards(
        ShardsConfig(), corpus, no_tokenizer(tmp_path), tmp_path / "s", encoder=byte_encoder()
    )
    ids, _ = rows_of(MixedBatches(shards, {"ko": 1}, 4, 64, Seed(0)), "ko", 400)
    long_rows = (ids != EOT).all(axis=1).reshape(8, 50).mean(axis=1)
    assert long_rows.min() > 0.3 and long_rows.max() < 0.8  # about half of every fifty


def test_targets_follow_inputs(made):
    batch = MixedBatches(made[1], {"ko": 0.7, "en": 0.3}, 4, 32, Seed(0)).batch(3)
    assert (batch.ids[:, 1:] == batch.targets[:, :-1]).all()
    assert (batch.weights == 1).all()
    assert batch.ids.dtype == batch.targets.dtype == np.int64
    assert batch.weights.dtype == np.float32 and batch.doc_ids.dtype == np.int32


def test_document_ids_change_where_a_document_opens(made):
    _, shards = made
    batches = MixedBatches(shards, {"en": 1}, 8, 64, Seed(0))
    batch = batches.batch(0)
    assert (batch.doc_ids[:, 0] == 0).all()
    opens = batch.ids[:, 1:] == EOT
    assert opens.any() and (np.diff(batch.doc_ids, axis=1) == opens).all()


def test_reached_shares_and_epochs_are_those_of_the_batches(made):
    _, shards = made
    batches = MixedBatches(shards, {"ko": 0.65, "en": 0.35}, 3, 16, Seed(0))
    seen = np.concatenate([batches.batch(step).domains for step in range(50)])
    shares = {d: float((seen == i).mean()) for i, d in enumerate(batches.domains)}
    assert batches.reached(50) == pytest.approx(shares)
    tokens = {d: Shards(shards).tokens(d) for d in shares}
    assert batches.epochs(50) == pytest.approx(
        {d: shares[d] * 150 * 16 / tokens[d] for d in shares}
    )
    assert batches.reached(0) == {"en": 0.0, "ko": 0.0}


def test_a_mix_without_data_is_refused(made):
    with pytest.raises(DataError, match=r"no data in .*: 'math'\. There is: chat, en, ko"):
        MixedBatches(made[1], {"ko": 1, "math": 1}, 4, 32, Seed(0))


def test_another_seed_gives_another_order(made):
    _, shards = made
    first, second = (MixedBatches(shards, {"ko": 1}, 4, 32, Seed(s)).batch(0) for s in (0, 1))
    assert (first.ids != second.ids).any()


@pytest.mark.serial
def test_a_batch_costs_less_than_a_millisecond(made):
    """8 x 512; the promise is for an idle machine, so the fastest of several tries counts."""
    batches = MixedBatches(made[1], {"ko": 0.7, "en": 0.3}, 8, 512, Seed(0))
    batches.batch(0)

    def tenth():
        start = time.perf_counter()
        for step in range(20):
            batches.batch(step)
        return (time.perf_counter() - start) / 20

    assert min(tenth() for _ in range(10)) < 1e-3


# --- conversations ---------------------------------------------------------------------------


def packed(shards, rows=4, seq_len=96, **settings):
    return PackedConversations(shards, rows, seq_len, Seed(0), domains=["chat"], **settings)


def conversations(batch):
    """The documents in the rows of a batch, padding left out."""
    found = []
    for ids, docs in zip(batch.ids, batch.doc_ids, strict=True):
        for i in range(docs.max() + 1):
            document = tuple(ids[docs == i].tolist())
            if set(document) != {PAD}:
                found.append(document)
    return found


def test_an_epoch_holds_every_conversation_once_and_whole(made):
    _, shards = made
    batches = packed(shards, rows=1)
    for epoch in range(3):
        first = epoch * batches.rows_per_epoch
        found = [
            c
            for s in range(batches.rows_per_epoch)
            for c in conversations(batches.batch(first + s))
        ]
        assert sorted(found) == sorted(d for d in documents(shards, "chat") if len(d) <= 96)
    assert (batches.batch(0).ids != batches.batch(batches.rows_per_epoch).ids).any()


def test_only_what_is_learnt_has_weight(made):
    _, shards = made
    batch = packed(shards).batch(0)
    shard = Shards(shards).open("chat")
    masks = {d: shard.mask[a:b] for d, a, b in zip(
        documents(shards, "chat"), shard.offsets[:-1], shard.offsets[1:], strict=True)}  # fmt: skip
    assert 0 < batch.weights.sum() < batch.weights.size
    for ids, targets, weights, docs in zip(
        batch.ids, batch.targets, batch.weights, batch.doc_ids, strict=True
    ):
        assert (targets[:-1] == ids[1:]).all()
        for i in range(docs.max() + 1):
            at = np.flatnonzero(docs == i)
            mask = masks.get(tuple(ids[at].tolist()))
            if mask is None:
                assert not weights[at].any() and (ids[at] == PAD).all()
            else:
                assert weights[at].tolist() == [*mask[1:].tolist(), 0]


def test_too_long_conversations_are_counted(made):
    _, shards = made
    lengths = [len(d) for d in documents(shards, "chat")]
    long = sum(n > 96 for n in lengths)
    assert long == 1
    report = packed(shards).report
    assert (report.conversations, report.too_long) == (len(lengths) - long, long)
    cut = packed(shards, truncate=True).report
    assert (cut.conversations, cut.too_long) == (len(lengths), long)
    assert 0 <= report.padding < 0.1
    with pytest.raises(DataError, match=r"No conversation of chat fits into seq_len 4"):
        packed(shards, seq_len=4)


@pytest.mark.parametrize("domain", ["chat", "en"])
def test_the_report_counts_what_an_epoch_learns(made, domain):
    """Also of plain text, where every token but the opener is learnt."""
    batches = PackedConversations(made[1], 1, 96, Seed(0), domains=[domain])
    rows = [batches.batch(s) for s in range(batches.rows_per_epoch)]
    assert batches.report.learnt == sum(row.weights.sum() for row in rows)
    there = [d for d in documents(made[1], domain) if len(d) <= 96]
    full = sum(len(d) for d in there)
    assert batches.report.padding == pytest.approx(1 - full / (96 * len(rows)))
    if domain == "en":
        assert batches.report.learnt == full - len(there)


def test_best_fit_is_exact_and_tight():
    lengths = sorted(np.random.default_rng(0).integers(1, 50, 300).tolist(), reverse=True)
    rows = best_fit(lengths, 64)
    assert sorted(i for row in rows for i in row) == list(range(300))
    assert all(sum(lengths[i] for i in row) <= 64 for row in rows)
    assert len(rows) <= 1.02 * sum(lengths) / 64 + 1
    assert [row.tolist() for row in best_fit([6, 5, 4, 3, 2], 10)] == [[0, 2], [1, 3, 4]]


# --- evaluation ------------------------------------------------------------------------------


def test_evaluation_covers_every_byte_once(made):
    corpus, shards = made
    texts = [d.text for d in read_corpus(corpus, "val", "ko")]
    for seq_len in (8, 33, 1000):
        said = b""
        size = 0
        for batch in eval_batches(shards, "ko", 3, seq_len):
            assert batch.ids.shape == (3, seq_len)
            said += bytes((batch.targets[batch.weights > 0] - 2).astype(np.uint8))
            size += batch.text_bytes
        assert said.decode() == "".join(texts)
        assert size == len(said)


def test_an_evaluated_token_sees_its_document_from_the_start(made):
    _, shards = made
    there = documents(shards, "en", "val")
    found = []
    for batch in eval_batches(shards, "en", 2, 64):
        found += conversations(batch)
        assert (batch.ids[:, 1:][batch.weights[:, :-1] > 0]
                == batch.targets[:, :-1][batch.weights[:, :-1] > 0]).all()  # fmt: skip
    assert found == there


def test_evaluation_stops_at_the_tokens_asked_for(made):
    _, shards = made
    whole = [b.targets[b.weights > 0] for b in eval_batches(shards, "ko", 2, 32)]
    for most in (1, 31, 32, 33, 100):
        part = list(eval_batches(shards, "ko", 2, 32, most))
        targets = np.concatenate([b.targets[b.weights > 0] for b in part])
        assert len(targets) == most
        assert (targets == np.concatenate(whole)[:most]).all()
        assert sum(b.text_bytes for b in part) == most  # a byte a token here


def test_evaluation_of_conversations_counts_what_is_learnt(made):
    _, shards = made
    shard = Shards(shards).open("chat", "val")
    weight = sum(b.weights.sum() for b in eval_batches(shards, "chat", 2, 50))
    assert weight == shard.mask.sum()


def test_evaluation_needs_held_out_text(made):
    with pytest.raises(DataError, match=r"val: 'math'"):
        list(eval_batches(made[1], "math", 2, 32))


def test_the_default_mix_on_real_files(yaongi_data, tmp_path):
    """Small real files: shares as asked, text that can be read back."""
    domains = {}
    for domain, name in [("ko", "ko_prompt_guide"), ("en", "en_debian_handbook"),
                         ("code", "code_thealgorithms_c"), ("math", "math_napkin")]:  # fmt: skip
        domains[domain] = f"train/{name}.jsonl.zst"
    sources = [{"path": p, "domain": d, "licence": "see catalogue"} for d, p in domains.items()]
    cfg = parse(CorpusConfig, {"root": str(yaongi_data), "sources": sources})
    corpus = build_corpus(cfg, tmp_path / "corpus", Seed(0))
    shards = build_shards(
        ShardsConfig(), corpus, no_tokenizer(tmp_path), tmp_path / "shards", encoder=byte_encoder()
    )
    batches = MixedBatches(shards, DEFAULT_MIX, 8, 512, Seed(0))
    assert batches.reached(100) == pytest.approx(DEFAULT_MIX, abs=0.001)
    row = batches.batch(0).ids[0]
    text = bytes((row[row > PAD] - 2).astype(np.uint8)).decode(errors="replace")
    assert len(text) > 100
