"""Properties of models over arbitrary patterns, documents and cuts."""

from __future__ import annotations

import functools

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shapes import engram_model, model, tokens

from yaongi.model.pattern import expand
from yaongi.ops.cross_entropy import linear_cross_entropy
from yaongi.ops.cross_entropy.reference import linear_cross_entropy_reference
from yaongi.ops.moe import EXPERTS
from yaongi.ops.moe.sorted import route

LENGTH = 70
CPU = torch.device("cpu")
hybrid = functools.cache(lambda: model("ME*-").eval())
with_engram = functools.cache(lambda: engram_model("ME*-").eval())
models = st.sampled_from([hybrid, with_engram])
cuts = st.sets(st.integers(1, LENGTH - 1), max_size=8).map(sorted)


def spelled(tree) -> tuple[str, str]:
    """(pattern, its letters) of a tree of letters, groups and counts."""
    if isinstance(tree, str):
        return tree, tree
    parts, times = [spelled(t) for t in tree[0]], tree[1]
    body, letters = "".join(p for p, _ in parts), "".join(x for _, x in parts)
    return f"({body})x{times}", letters * times


trees = st.recursive(
    st.sampled_from("M*-E"),
    lambda inner: st.tuples(st.lists(inner, min_size=1, max_size=3), st.integers(1, 3)),
    max_leaves=6,
)


@given(trees)
def test_patterns_expand_to_what_they_spell(tree):
    pattern, letters = spelled(tree)
    assert expand(pattern) == letters


@settings(max_examples=15)
@given(models, st.lists(cuts, min_size=2, max_size=2), st.integers(0, 9))
def test_packing_never_mixes_documents(hybrid, starts, seed):
    ids = tokens(2, LENGTH, seed)
    doc_ids = torch.zeros(2, LENGTH, dtype=torch.int32)
    for row, places in enumerate(starts):
        for at in places:
            doc_ids[row, at:] += 1
    with torch.no_grad():
        packed = hybrid()(ids, doc_ids=doc_ids).hidden
        for row, places in enumerate(starts):
            for a, b in zip([0, *places], [*places, LENGTH], strict=True):
                alone = hybrid()(ids[row : row + 1, a:b]).hidden[0]
                torch.testing.assert_close(packed[row, a:b], alone, rtol=1e-3, atol=1e-4)


@settings(max_examples=15)
@given(models, cuts, st.booleans(), st.integers(0, 9))
def test_any_cutting_of_the_prefill_gives_the_same(hybrid, places, with_documents, seed):
    ids = tokens(2, LENGTH, seed)
    doc_ids = torch.zeros(2, LENGTH, dtype=torch.int32)
    doc_ids[:, 20:] += 1
    doc_ids[1, 50:] += 1
    given_ids = doc_ids if with_documents else None
    with torch.no_grad():
        whole = hybrid()(ids, doc_ids=given_ids).hidden
        state, parts = hybrid().init_state(2, LENGTH), []
        for a, b in zip([0, *places], [*places, LENGTH], strict=True):
            docs = doc_ids[:, a:b] if with_documents else None
            out = hybrid()(ids[:, a:b], doc_ids=docs, state=state)
            state = out.state
            parts.append(out.hidden)
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=1e-3, atol=1e-4)


@given(st.integers(1, 40), st.integers(1, 8), st.integers(0, 9), st.data())
def test_routing_is_a_stable_permutation(count, n_experts, seed, data):
    k = data.draw(st.integers(1, n_experts))
    scores = torch.rand(count, n_experts, generator=torch.Generator().manual_seed(seed))
    chosen = scores.topk(k).indices
    r = route(chosen, n_experts)
    assert sorted(r.back.flatten().tolist()) == list(range(count * k))
    assert r.counts == chosen.flatten().bincount(minlength=n_experts).tolist()
    experts = [e for e, n in enumerate(r.counts) for _ in range(n)]
    for token in range(count):
        for j in range(k):
            row = r.back[token, j]
            assert r.token[row] == token
            assert experts[row] == chosen[token, j]


@settings(max_examples=20)
@given(st.integers(1, 30), st.integers(0, 9))
def test_experts_do_not_depend_on_who_else_is_in_the_batch(count, seed):
    g = torch.Generator().manual_seed(seed)
    x, up, down = (torch.randn(s, generator=g) for s in ((count, 6), (4, 9, 6), (4, 6, 9)))
    chosen = torch.rand(count, 4, generator=g).topk(2).indices
    weights = torch.rand(count, 2, generator=g)
    run = EXPERTS.pick(CPU)
    whole = run(x, chosen, weights, up, down)
    alone = [run(x[i : i + 1], chosen[i : i + 1], weights[i : i + 1], up, down)
             for i in range(count)]  # fmt: skip
    torch.testing.assert_close(whole, torch.cat(alone), rtol=1e-4, atol=1e-5)


@settings(max_examples=25)
@given(st.integers(1, 200), st.integers(2, 50), st.integers(0, 9))
def test_loss_is_that_of_the_whole_logits(count, vocab, seed):
    g = torch.Generator().manual_seed(seed)
    hidden, weight = torch.randn(count, 5, generator=g), torch.randn(vocab, 5, generator=g)
    targets = torch.randint(vocab, (count,), generator=g)
    weights = torch.rand(count, generator=g).round(decimals=0)
    loss, total = linear_cross_entropy(hidden, weight, targets, weights)
    assert total == weights.sum()
    torch.testing.assert_close(
        loss, linear_cross_entropy_reference(hidden, weight, targets, weights)
    )
