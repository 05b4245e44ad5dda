"""Pairs of answers: every one in its place, none torn apart, none counted twice."""

import numpy as np
import pytest
import tiny_pairs

from yaongi.core.errors import ArtifactError, DataError
from yaongi.core.seeds import Seed
from yaongi.data.batches import PackedConversations
from yaongi.data.corpus import read_corpus
from yaongi.data.pair_batches import PackedPairs
from yaongi.data.pairs import build_pairs
from yaongi.data.shards import ShardsConfig
from yaongi.text.tokenizer import Tokenizer

LONG = {"prompt": "긴 글?", "chosen": "가 " * 90, "rejected": "나 " * 90}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    lines = [
        *tiny_pairs.rows(),
        {"prompt": "다시?", "chosen": "네.", "rejected": " 네.\n"},
        {"prompt": "빈 답?", "chosen": "", "rejected": "네."},
        {"prompt": "빈 답?", "chosen": [{"role": "assistant", "content": " "}], "rejected": "네."},
    ]
    return tiny_pairs.road(tmp_path_factory.mktemp("pairs"), lines)


def packed(made, **changes):
    settings = {"batch_rows": 3, "seq_len": 96, "seed": Seed(0), **changes}
    return PackedPairs(made["pairs"], **settings)


def pairs_in(batch):
    """(number, chosen tokens, rejected tokens, chosen answer, rejected answer) of every pair."""
    for ids, targets, weights, docs in zip(
        batch.ids, batch.targets, batch.weights, batch.doc_ids, strict=True
    ):
        for p in np.unique(docs[weights > 0] // 2):
            sides = [docs == 2 * p, docs == 2 * p + 1]
            said = [targets[s & (weights > 0)].tolist() for s in sides]
            yield int(p), *(ids[s].tolist() for s in sides), *said


def expected(made, split="train", seq_len=96):
    """What is to be found: chosen and rejected conversation, and their answers."""
    tok = Tokenizer.load(made["tokenizer"].path)
    found = []
    for document in read_corpus(made["corpus"], split):
        row = document.metadata
        one = []
        for which in ("chosen", "rejected"):
            turns = [*row["prompt"], {"role": "assistant", "content": row[which]}]
            one.append(tok.conversation(turns)[0])
        answers = [
            [*tok.encode(row[k]), tok.control_id("<|im_end|>")] for k in ("chosen", "rejected")
        ]
        if max(map(len, one)) <= seq_len:
            found.append((*one, *answers))
    return found


def test_every_pair_is_there_once_with_its_answers(made):
    batches = packed(made)
    found = [pair for batch in batches.in_order() for pair in pairs_in(batch)]
    assert sorted(p for p, *_ in found) == list(range(len(batches)))
    in_order = [tuple(rest) for _, *rest in sorted(found)]
    assert in_order == expected(made)  # pair p is the p-th of the file that fits


def test_the_weight_of_a_batch_is_its_number_of_pairs(made):
    for batch in packed(made).in_order():
        n = len(list(pairs_in(batch)))
        assert batch.weights.sum(dtype=np.float64) == pytest.approx(n, abs=1e-6)
    assert packed(made).report.pairs > packed(made).report.rows  # several in a row


def test_nothing_but_the_last_answer_is_learnt(made):
    tok = Tokenizer.load(made["tokenizer"].path)
    for batch in packed(made).in_order():
        learnt = tok.decode(batch.targets[batch.weights > 0].tolist(), control=True)
        assert "네!" not in learnt  # said by the assistant earlier, in the prompt
        assert "더하기" not in learnt and "<|im_start|>" not in learnt


def test_a_batch_is_a_function_of_seed_and_step(made):
    one, two, other = packed(made), packed(made), packed(made, seed=Seed(1))
    steps = [5, 0, 3, 5]
    for step in steps:
        a, b = one.batch(step), two.batch(step)
        assert all(
            np.array_equal(getattr(a, k), getattr(b, k)) for k in vars(a) if k != "text_bytes"
        )
    assert not np.array_equal(one.batch(0).ids, other.batch(0).ids)


def test_an_epoch_deals_every_pair_once_in_another_order(made):
    batches = packed(made, batch_rows=1)
    n = batches.rows_per_epoch
    epochs = [[p for s in range(e * n, e * n + n) for p, *_ in pairs_in(batches.batch(s))]
              for e in (0, 1)]  # fmt: skip
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(len(batches)))
    assert epochs[0] != epochs[1]


def test_bad_rows_are_counted_with_their_reason(made):
    counted = str(made["corpus"].manifest.counts)
    assert "'chosen is empty': 2" in counted
    assert "'chosen and rejected are the same': 1" in counted


def test_what_is_too_long_is_counted_and_left_out_unless_asked_for(made, tmp_path):
    long = [
        LONG,
        {**LONG, "rejected": LONG["chosen"] + "끝"},  # differs only behind the cut
        {"prompt": "라 " * 120, "chosen": "네.", "rejected": "아니요."},  # fills the context
    ]
    corpus = tiny_pairs.corpus(tmp_path, [*tiny_pairs.rows(9), *long], val_fraction=0)
    pairs = build_pairs(ShardsConfig(), corpus, made["tokenizer"], tmp_path / "pairs")
    kept, cut = packed({"pairs": pairs}), packed({"pairs": pairs}, truncate=True)
    assert (kept.report.pairs, kept.report.too_long, kept.report.no_room) == (9, 3, 0)
    assert (cut.report.pairs, cut.report.too_long, cut.report.no_room) == (10, 3, 2)
    longest = max(len(t) for b in cut.in_order() for _, *ts, _, _ in pairs_in(b) for t in ts)
    assert longest == 96


def test_lengths_are_reported(made):
    report = packed(made).report
    lengths = np.array([[len(a) for a in pair[2:]] for pair in expected(made)])
    assert report.chosen_tokens == pytest.approx(lengths[:, 0].mean())
    assert report.rejected_tokens == pytest.approx(lengths[:, 1].mean())
    assert report.chosen_longer == pytest.approx((lengths[:, 0] > lengths[:, 1]).mean())


def test_nothing_fits(made):
    with pytest.raises(DataError, match="No pair of pref fits into seq_len 4"):
        packed(made, seq_len=4)


def test_pairs_are_no_conversations(made):
    with pytest.raises(ArtifactError, match="'pairs' artifact; expected 'shards'"):
        PackedConversations(made["pairs"], 1, 96, Seed(0))


def test_a_corpus_without_preferences(made, tmp_path):
    corpus = tiny_pairs.corpus(tmp_path, [{"text": f"글 {i}"} for i in range(9)])
    with pytest.raises(DataError, match="has no preferences to learn from"):
        build_pairs(ShardsConfig(), corpus, made["tokenizer"], tmp_path / "pairs")
    assert not (tmp_path / "pairs").exists()


def test_unchanged_pairs_are_not_made_again(made):
    again = build_pairs(ShardsConfig(), made["corpus"], made["tokenizer"], made["pairs"].path)
    assert again.manifest.created == made["pairs"].manifest.created
