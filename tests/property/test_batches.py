"""Properties of batches: pure, mixed as asked, complete, for any shapes and any access order."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from byte_shards import byte_encoder, corpus_of, no_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from yaongi.core.seeds import Seed
from yaongi.data.batches import MixedBatches, PackedConversations, best_fit
from yaongi.data.dedup.exact import DUPLICATE, VAL, Held, assign
from yaongi.data.mix import Schedule
from yaongi.data.shards import ShardsConfig, build_shards

WEIGHTS = {"ko": 0.55, "en": 0.25, "chat": 0.2}


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("property")

    def turn(i):
        answer = "네" * (i % 7 + 1)
        return [{"role": "user", "content": f"{i}"}, {"role": "assistant", "content": answer}]

    domains = {
        "ko": [{"text": "가" * (1 + i * 7 % 30) + f" {i}"} for i in range(70)],
        "en": [{"text": f"a document, number {i}"} for i in range(9)],
        "chat": [{"messages": turn(i)} for i in range(30)],
    }
    corpus = corpus_of(folder, domains)
    return build_shards(
        ShardsConfig(), corpus, no_tokenizer(folder), folder / "s", encoder=byte_encoder()
    )


def loaders(shards, rows, seq_len, seed):
    return [
        MixedBatches(shards, WEIGHTS, rows, seq_len, Seed(seed)),
        PackedConversations(shards, rows, max(seq_len, 30), Seed(seed), domains=["chat"]),
    ]


def same(a, b):
    pairs = [(a.ids, b.ids), (a.targets, b.targets), (a.weights, b.weights),
             (a.doc_ids, b.doc_ids), (a.domains, b.domains)]  # fmt: skip
    return all(np.array_equal(x, y) for x, y in pairs)


@given(
    steps=st.lists(st.integers(0, 400), min_size=1, max_size=8),
    rows=st.integers(1, 6),
    seq_len=st.integers(1, 60),
    seed=st.integers(0, 3),
)
@settings(max_examples=40, deadline=None)
def test_a_batch_depends_on_seed_and_step_only(shards, steps, rows, seq_len, seed):
    """However the loader was used before: resuming needs nothing but the step."""
    for used, which in zip(loaders(shards, rows, seq_len, seed), (0, 1), strict=True):
        for step in steps:
            fresh = loaders(shards, rows, seq_len, seed)[which]
            assert same(used.batch(step), fresh.batch(step))


@given(
    changes=st.lists(st.tuples(st.integers(0, 60), *[st.integers(0, 5)] * 3), max_size=5),
    steps=st.lists(st.integers(0, 90), min_size=1, max_size=6),
    rows=st.integers(1, 5),
)
@settings(max_examples=40, deadline=None)
def test_changed_shares_leave_every_row_in_its_place(shards, changes, steps, rows):
    """Which rows a domain gives does not depend on the shares, only when: each is seen once."""
    mixes = [
        (step, dict(zip(WEIGHTS, shares, strict=True)))
        for step, *shares in sorted(changes)
        if any(shares)
    ]
    whole, resumed = (MixedBatches(shards, WEIGHTS, rows, 24, Seed(1)) for _ in range(2))
    plain = MixedBatches(shards, WEIGHTS, 1, 24, Seed(1))
    for change in mixes:
        resumed.change(*change)
    seen = dict.fromkeys(range(3), 0)
    for step in range(max(steps) + 1):
        for change in (c for c in mixes if c[0] == step):
            whole.change(*change)
        batch = whole.batch(step)
        if step in steps:
            assert same(batch, resumed.batch(step))
        for ids, domain in zip(batch.ids, batch.domains.tolist(), strict=True):
            assert np.array_equal(ids, plain._streams[domain].row(seen[domain])[0][:-1])
            seen[domain] += 1
    counts = np.array([seen[d] for d in range(3)]) / sum(seen.values())
    assert list(whole.reached(max(steps) + 1).values()) == pytest.approx(counts.tolist())


@given(
    step=st.integers(0, 300), rows=st.integers(1, 9), cuts=st.lists(st.integers(0, 9), max_size=3)
)
@settings(max_examples=40, deadline=None)
def test_ranks_and_micro_batches_share_one_batch(shards, step, rows, cuts):
    bounds = [0, *sorted(min(c, rows) for c in cuts), rows]
    for loader in loaders(shards, rows, 24, 0):
        whole = loader.batch(step)
        parts = [loader.rows(step, a, b) for a, b in pairwise(bounds)]
        for name in ("ids", "targets", "weights", "doc_ids", "domains"):
            joined = np.concatenate([getattr(p, name) for p in parts])
            assert np.array_equal(joined, getattr(whole, name))


@given(rows=st.integers(1, 5), seq_len=st.integers(1, 50))
@settings(max_examples=15, deadline=None)
def test_rows_do_not_depend_on_how_many_make_a_batch(shards, rows, seq_len):
    one, many = (MixedBatches(shards, WEIGHTS, n, seq_len, Seed(0)) for n in (1, rows))
    batch = many.batch(2)
    for i in range(rows):
        assert np.array_equal(one.batch(2 * rows + i).ids[0], batch.ids[i])


@given(st.dictionaries(st.text("abcdefgh", min_size=1, max_size=2),
                       st.one_of(st.integers(1, 60), st.floats(0.01, 9).map(lambda x: round(x, 2))),
                       min_size=1, max_size=7))  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_every_prefix_is_within_one_row_of_every_share(shares):
    schedule = Schedule(shares)
    if len(schedule.cycle) > 4000:
        return
    total = sum(Fraction(str(s)) for s in shares.values())
    exact = np.array([float(Fraction(str(shares[d])) / total) for d in schedule.domains])
    counted = np.zeros(len(exact))
    for row in range(2 * len(schedule.cycle)):
        counted[schedule.place(row)[0]] += 1
        assert np.abs(counted - (row + 1) * exact).max() < 1 + 1e-9


@given(st.lists(st.integers(1, 40), max_size=80), st.integers(40, 90))
@settings(max_examples=60, deadline=None)
def test_best_fit_loses_nothing_and_overfills_nothing(lengths, room):
    lengths = sorted(lengths, reverse=True)
    rows = best_fit(lengths, room)
    assert sorted(i for row in rows for i in row) == list(range(len(lengths)))
    sums = sorted(sum(lengths[i] for i in row) for row in rows)
    assert all(total <= room for total in sums)
    assert len(sums) < 2 or sums[0] + sums[1] > room  # two rows that would fit into one


@given(
    contents=st.lists(st.tuples(*(st.integers(0, n) for n in (15, 2, 1))), max_size=60),
    share=st.floats(0, 0.5),
    most=st.integers(1, 10),
)  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_no_content_is_on_two_sides(contents, share, most):
    keys = np.random.default_rng(7).integers(0, 2**64, (16, 2), dtype=np.uint64)
    content, domain, form = np.array(contents, dtype=np.int64).reshape(-1, 3).T
    sides = assign(keys[content], domain, form, np.zeros(len(domain)), Held(share, most))
    for c in range(16):
        assert len({int(s) for s in sides[content == c]} - {DUPLICATE}) <= 1
        for f in range(2):
            kept = sides[(content == c) & (form == f)] != DUPLICATE
            assert kept[:1].all() and kept.sum() == min(1, len(kept))
    if share == 0:
        assert VAL not in sides
