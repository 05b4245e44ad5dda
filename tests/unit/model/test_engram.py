"""Engram: the hash equals the paper's formula, documents never meet, and every path agrees."""

from __future__ import annotations

import itertools
import json
import math

import pytest
import torch
import torch._dynamo as dynamo
from safetensors.torch import load_file, save_file
from shapes import ENGRAM, NANO_LIKE, config, engram_model, model, tokens

from yaongi.core.config import parse
from yaongi.core.errors import CheckpointError, ConfigError, ShapeError
from yaongi.model.count import count
from yaongi.model.engram import EngramConfig
from yaongi.model.io import load_config, load_model, save_model
from yaongi.model.layer import Context
from yaongi.model.lm import LM, LMConfig
from yaongi.model.presets import preset

LENGTH = 40
CUTS = [0, 1, 3, 10, 30, LENGTH]


def documents():
    ids = torch.zeros(2, LENGTH, dtype=torch.int32)
    for at in CUTS[1:-1]:
        ids[0, at:] += 1
    ids[1, 35:] += 1
    return ids


def close(a, b, scale=1.0):
    torch.testing.assert_close(a, b, rtol=2e-4, atol=2e-5 * scale)


def gradients(lm, hidden):
    """name -> gradient of an arbitrary function of the output, tables' as dense tensors."""
    loss = (hidden.float() * torch.linspace(-1, 1, hidden.shape[-1])).sum()
    found = torch.autograd.grad(loss, list(lm.parameters()), allow_unused=True)
    names = [name for name, _ in lm.named_parameters()]
    dense = [g.to_dense() if g is not None and g.is_sparse else g for g in found]
    return dict(zip(names, dense, strict=True))


# The hash ----------------------------------------------------------------------------------


def rows_by_formula(engram, text):
    """The rows of the last token of ``text``, in Python's own integers (paper, section 2.3)."""
    cfg, rows, first = engram.cfg, [], 0
    multipliers, primes = engram.multipliers.tolist(), engram.primes.tolist()
    padded = [0] * 9 + [number + 1 for number in text]
    for order, head in itertools.product(cfg.orders, range(cfg.heads)):
        mix = 0
        for k in range(order):
            product = padded[-1 - k] * multipliers[k]
            assert product < 2**63
            mix ^= product
        prime = primes[cfg.orders.index(order) * cfg.heads + head]
        rows.append(first + mix % prime)
        first += prime
    return rows


@pytest.mark.parametrize("layer", [1, 3])
def test_rows_follow_the_formula_and_stop_at_documents(layer):
    engram = model(NANO_LIKE, engram=ENGRAM).engrams()[layer]
    ids, docs, tail = tokens(2, LENGTH), documents(), 3
    numbers = torch.cat([torch.zeros(2, tail, dtype=torch.long), ids + 1], 1)
    found = engram.rows(numbers, torch.nn.functional.pad(docs, (tail, 0), value=-1), tail)
    assert found.shape == (2, LENGTH, engram.cfg.lookups)
    for row, t in itertools.product(range(2), range(LENGTH)):
        own = [
            int(i) for i, d in zip(ids[row, : t + 1], docs[row], strict=False) if d == docs[row, t]
        ]
        assert found[row, t].tolist() == rows_by_formula(engram, own)


def test_multipliers_are_odd_differ_by_layer_and_cannot_overflow():
    for vocab in (60, 32768, 2**31):
        cfg = config("MMMM", vocab_size=vocab, engram={**ENGRAM, "layers": [1, 3]})
        with torch.device("meta"):
            first, second = LM(cfg).engrams().values()
        found = [*first._hash[0], *second._hash[0]]
        assert len(set(found)) == len(found) == 3 + 4
        assert all(m % 2 == 1 and 0 < m * vocab < 2**63 for m in found)


def test_primes_are_the_next_ones_and_belong_to_one_head_only():
    cfg = parse(EngramConfig, {**ENGRAM, "modules": {3: {"heads": 3, "rows": 20}}})
    rows = cfg.table_rows()
    assert rows == {1: (31, 37, 41, 43), 3: (23, 29, 47, 53, 59, 61)}  # from 30; the rest from 20


def test_canonical_ids_make_tokens_one():
    lm = engram_model("M-M-").eval()
    ids = tokens(1, LENGTH)
    twins = ids ^ 1  # 2n and 2n+1 share a number
    memory = {}
    for name, given in (("ids", ids), ("twins", twins)):
        numbers = lm.ngram_ids(given, None)
        memory[name] = lm.engrams()[1].rows(numbers, None, lm.ngram_ids.tail)
    assert torch.equal(memory["ids"], memory["twins"])
    lm.ngram_ids.reset()
    assert not torch.equal(lm.engrams()[1].rows(lm.ngram_ids(twins, None), None, 3), memory["ids"])


# One result, whatever the path ---------------------------------------------------------------


def test_packed_documents_equal_separate_ones():
    lm, ids = engram_model(tied=False).eval(), tokens(2, LENGTH)
    packed = lm(ids, doc_ids=documents()).hidden
    parts = [lm(ids[:1, a:b]).hidden for a, b in itertools.pairwise(CUTS)]
    tail = [lm(ids[1:, :35]).hidden, lm(ids[1:, 35:]).hidden]
    apart = torch.cat([torch.cat(parts, 1), torch.cat(tail, 1)])
    close(packed, apart)
    assert (lm(ids).hidden - packed).abs().max() > 0.01
    wanted = gradients(lm, apart)
    for name, got in gradients(lm, packed).items():
        if wanted[name] is not None:
            close(got, wanted[name], scale=wanted[name].abs().max().item())


@pytest.mark.parametrize("docs", [False, True], ids=["plain", "documents"])
@pytest.mark.parametrize("cuts", [[1] * LENGTH, [7, 1, 2, 20, 10]], ids=["tokens", "chunks"])
def test_stepwise_equals_parallel(docs, cuts):
    lm, ids = engram_model().eval(), tokens(2, LENGTH)
    doc_ids = documents() if docs else None
    with torch.no_grad():
        whole = lm(ids, doc_ids=doc_ids).hidden
        state, outs, start = lm.init_state(2, LENGTH), [], 0
        for size in cuts:
            part = slice(start, start + size)
            given = None if doc_ids is None else doc_ids[:, part]
            out = lm(ids[:, part], doc_ids=given, state=state)
            state, start = out.state, start + size
            outs.append(out.hidden)
    close(torch.cat(outs, 1), whole)


def test_rows_padded_on_the_left_decode_as_alone():
    lm, ids = engram_model().eval(), tokens(2, 20)
    alone = lm(ids[1:, 8:]).hidden
    docs = torch.ones(2, 12, dtype=torch.int32)
    docs[1, :8] = 0
    state, outs = lm(ids[:, :12], doc_ids=docs, state=lm.init_state(2, 20)).state, []
    for t in range(12, 20):
        out = lm(ids[:, t : t + 1], state=state)
        state = out.state
        outs.append(out.hidden[1:])
    close(torch.cat(outs, 1), alone[:, 4:])


def test_recomputing_activations_changes_nothing():
    lm, ids = engram_model(), tokens(2, LENGTH)
    kept, again = lm(ids), lm(ids, checkpoint=True)
    assert torch.equal(kept.hidden, again.hidden)
    wanted = gradients(lm, kept.hidden)
    for name, got in gradients(lm, again.hidden).items():
        assert torch.equal(got, wanted[name]), name


@pytest.mark.parametrize("on_host", [False, True], ids=["device", "host"])
def test_it_compiles_but_for_the_lookups(on_host):
    lm, ids = engram_model("-*--"), tokens(2, LENGTH)
    if on_host:
        lm.keep_tables_on_host()
    torch.compiler.reset()
    dynamo.utils.counters.clear()
    compiled = torch.compile(lm, backend="aot_eager")
    got, want = compiled(ids, doc_ids=documents()), lm(ids, doc_ids=documents())
    close(got.hidden, want.hidden)
    wanted = gradients(lm, want.hidden)
    for name, grad in gradients(lm, got.hidden).items():
        close(grad, wanted[name], scale=wanted[name].abs().max().item())
    (reason,) = dynamo.utils.counters["graph_break"]
    assert "function `recall`" in reason


def test_tables_on_the_host_change_nothing_but_the_place():
    """On a CPU the thread and the upload run too; only pinned memory and streams need a GPU."""
    lm, ids = engram_model(), tokens(2, LENGTH)
    want = lm(ids, doc_ids=documents()).hidden
    wanted = gradients(lm, want)
    lm.keep_tables_on_host()
    got = lm(ids, doc_ids=documents()).hidden
    assert torch.equal(got, want)
    assert all(torch.equal(g, wanted[n]) for n, g in gradients(lm, got).items())
    assert lm.bfloat16().engrams()[1].table.weight.dtype == torch.bfloat16


def test_tables_on_the_host_stay_when_the_model_moves():
    lm = engram_model()
    lm.keep_tables_on_host()
    weight = lm.engrams()[1].table.weight
    before = weight.data_ptr()
    lm.to("meta")  # the only other device every machine has
    assert lm.embeddings.weight.is_meta
    assert weight.device.type == "cpu" and weight.data_ptr() == before


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("on_host", [False, True], ids=["device", "host"])
def test_on_a_gpu_it_computes_the_same(on_host):
    lm, ids = engram_model(), tokens(2, LENGTH)
    want = lm(ids, doc_ids=documents()).hidden
    wanted = gradients(lm, want)
    if on_host:
        lm.keep_tables_on_host()
    lm.cuda()
    assert lm.engrams()[1].table.weight.is_cuda is not on_host
    hidden = lm(ids.cuda(), doc_ids=documents().cuda()).hidden
    torch.testing.assert_close(hidden.cpu(), want, rtol=1e-3, atol=1e-3)
    loss = (hidden.float() * torch.linspace(-1, 1, hidden.shape[-1], device="cuda")).sum()
    weight = lm.engrams()[1].table.weight
    (grad,) = torch.autograd.grad(loss, [weight])
    assert grad.is_sparse and grad.device == weight.device
    torch.testing.assert_close(
        grad.to_dense().cpu(), wanted["layers.1.engram.table.weight"], rtol=1e-3, atol=1e-2
    )


# What it does --------------------------------------------------------------------------------


def test_the_gate_and_the_convolution_follow_the_paper():
    """Section 2.4 written out for one row, without documents."""
    lm = engram_model("M-M-")
    engram = lm.engrams()[1]
    x, memory = torch.randn(1, LENGTH, 22), torch.randn(1, LENGTH, engram.cfg.d_memory)

    def rms(v):
        return v * torch.rsqrt(v.square().mean(-1, keepdim=True) + 1e-5)

    k, v = memory @ engram.k_proj.weight.T, memory @ engram.v_proj.weight.T
    gate = torch.sigmoid((rms(k) * rms(x)).sum(-1) / math.sqrt(22))
    v = gate[..., None] * v
    padded = torch.cat([torch.zeros(1, 9, 22), rms(v)], 1)
    conv = sum(padded[:, 3 * j : 3 * j + LENGTH] * engram.conv[:, j] for j in range(4))
    y, _ = engram(x, memory, Context(lm.kernels), None)
    close(y, torch.nn.functional.silu(conv) + v)


def test_a_fresh_convolution_passes_its_input():
    engram = model("M-M-", engram=ENGRAM).engrams()[1]
    assert not engram.conv.any()
    with torch.no_grad():
        engram.norm_k.weight.zero_()  # a gate of one half
    x, memory = torch.randn(1, 5, 22), torch.randn(1, 5, engram.cfg.d_memory)
    y, _ = engram(x, memory, Context(model("M").kernels), None)
    close(y, memory @ engram.v_proj.weight.T / 2)


def test_every_parameter_learns():
    lm = engram_model()
    hidden = lm(tokens(2, LENGTH), doc_ids=documents()).hidden
    for name, grad in gradients(lm, hidden).items():
        assert grad is not None and grad.isfinite().all() and grad.any(), name


def test_autocast_keeps_the_stream_narrow_and_the_gradients_exact():
    lm, ids = engram_model("M*-E", init_std=0.05).eval(), tokens(2, LENGTH)
    with torch.autocast("cpu", torch.bfloat16):
        hidden = lm(ids, doc_ids=documents()).hidden
    assert hidden.dtype == torch.bfloat16
    found = gradients(lm, hidden)
    assert all(g is None or g.dtype == torch.float32 for g in found.values())


# Size, saving, bad input ---------------------------------------------------------------------


def test_count_equals_the_built_module():
    lm = engram_model(tied=False)
    sizes = count(lm.cfg)
    assert sizes.params_total == sum(p.numel() for p in lm.parameters())
    tables = sum(e.table.weight.numel() for e in lm.engrams().values())
    without = count(model(NANO_LIKE, tied=False).cfg)
    dense = sum(p.numel() for e in lm.engrams().values() for p in e.parameters()) - tables
    assert sizes.params_active == without.params_active + dense


def test_the_flagship_has_the_designs_size():
    """4.236 B in all, 0.624 B active, 0.657 B with the embedding."""
    cfg = preset(
        "yaongi-4b-a0.6b-stock",
        engram={
            "layers": [2, 26], "orders": [2, 3], "heads": 8, "head_dim": 64, "rows": 200_000,
            "modules": {26: {"orders": [2, 3, 4], "head_dim": 48, "rows": 500_000}},
        },
    )  # fmt: skip
    sizes = count(cfg)
    with torch.device("meta"):
        assert sizes.params_total == sum(p.numel() for p in LM(cfg).parameters())
    assert round(sizes.params_total / 1e9, 3) == 4.236
    assert round(sizes.params_active / 1e9, 3) == 0.624
    assert round(sizes.params_active_with_embedding / 1e9, 3) == 0.657


def test_a_saved_model_comes_back_with_its_hash(tmp_path):
    lm = engram_model().eval()
    engram = lm.engrams()[3]
    engram.multipliers += 2  # another hash than this program would choose
    save_model(lm, tmp_path)
    back = load_model(tmp_path)
    assert torch.equal(back.engrams()[3].multipliers, engram.multipliers)
    assert torch.equal(back.ngram_ids.canonical, lm.ngram_ids.canonical)
    assert load_config(tmp_path) == lm.cfg
    assert torch.equal(back(tokens(2, 9)).hidden, lm(tokens(2, 9)).hidden)
    narrow = load_model(tmp_path, dtype=torch.bfloat16, tables_on_host=True)
    assert narrow.engrams()[3].table.weight.dtype == torch.bfloat16
    assert narrow.engrams()[3].primes.dtype == torch.int64
    assert narrow.engrams()[3].table.on_host


def test_a_hash_that_reads_outside_its_table_is_named(tmp_path):
    save_model(engram_model(), tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["layers.3.engram.primes"][0] += 2
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"layers.3.engram.primes add up to \d+, but the tab"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": [3, 6]}, r"no layer 6; the pattern has 0 to 5"),
        ({"layers": [3, 1]}, r"layers must rise"),
        ({"layers": []}, r"layers must rise"),
        ({"layers": [1]}, r"3 is not one of the layers \[1\]"),
        ({"orders": [3, 2]}, r"orders must rise"),
        ({"orders": [1, 2]}, r"must be 2 or more"),
        ({"modules": {3: {"order": [2]}}}, r"Did you mean 'orders'"),
        ({"modules": {3: {"orders": [4, 2]}}}, r"orders must rise"),
        ({"rows": "1"}, r"must be more than 1"),
        ({"lookups": 3}, r"not a setting"),
    ],
)
def test_bad_settings_are_named(change, message):
    data = json.loads(json.dumps(config(NANO_LIKE).as_json()))
    with pytest.raises(ConfigError, match=message):
        parse(LMConfig, {**data, "engram": {**ENGRAM, **change}})


def test_canonical_ids_must_fit():
    with pytest.raises(ShapeError, match=r"60 numbers from 0 to 59; 59 came"):
        engram_model().set_canonical_ids(range(59))
    with pytest.raises(ShapeError, match=r"60 came, from 1 to 60"):
        engram_model().set_canonical_ids(range(1, 61))
    with pytest.raises(ShapeError, match=r"has no engram"):
        model("M").set_canonical_ids(range(60))
    with pytest.raises(ConfigError, match=r"this model has none"):
        model("M").keep_tables_on_host()
