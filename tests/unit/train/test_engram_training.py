"""Tables in training: sparse from the gradient to the update, exact under every setting."""

from __future__ import annotations

import copy
import os
import signal

import numpy as np
import pytest
import tiny_run
import torch
from shapes import VOCAB, engram_model, tokens
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from yaongi.core.errors import ConfigError, NumericsError
from yaongi.core.runlog import read_metrics
from yaongi.model.io import load_model
from yaongi.model.lm import LM
from yaongi.text.canonical import canonical_ids
from yaongi.text.tokenizer import Tokenizer
from yaongi.train.gradients import clip_gradients, merge_sparse
from yaongi.train.loop import LoopConfig, accumulate, train_steps
from yaongi.train.objectives import next_token
from yaongi.train.optim import OptimizerConfig
from yaongi.train.optim.adamw import AdamW
from yaongi.train.optim.build import TABLE_LR, build_optimizer
from yaongi.train.optim.groups import Role, members
from yaongi.train.optim.muon import Muon
from yaongi.train.optim.rowwise_adam import RowwiseAdam
from yaongi.train.precision import Precision
from yaongi.train.pretrain import pretrain
from yaongi.train.schedule import WSD

FP32 = Precision("fp32", torch.device("cpu"), "test")
CONSTANT = LoopConfig(schedule=WSD(warmup_fraction=0, decay_fraction=0))
TABLES = ("layers.1.engram.table.weight", "layers.3.engram.table.weight")
optimizers = pytest.mark.parametrize(
    "config", [AdamW(lr=0.01), Muon(lr=0.01)], ids=lambda c: c.kind
)


class Batch:
    """Four rows of two documents; the fields of ``data.batches.Batch``."""

    def __init__(self, seed: int, rows: int = 4, length: int = 12) -> None:
        self.ids = tokens(rows, length, seed).numpy()
        self.targets = np.roll(self.ids, -1, 1)
        self.weights = np.ones((rows, length), np.float32)
        self.doc_ids = (np.arange(length) > 6).astype(np.int32)[None].repeat(rows, 0)


class Batches:
    def batch(self, step):
        return Batch(step)


def off():
    return torch.amp.GradScaler("cpu", enabled=False)


def tables(model):
    found = dict(model.named_parameters())
    return [found[name] for name in TABLES]


# Roles and the optimizer of a run ------------------------------------------------------------


def test_every_parameter_of_an_engram_has_its_role():
    found = {
        m.name: m.role for m in members(engram_model()) if m.name.startswith("layers.1.engram")
    }
    assert {n.removeprefix("layers.1.engram."): r for n, r in found.items()} == {
        "conv": Role.VECTOR,
        "table.weight": Role.TABLE,
        "k_proj.weight": Role.MATRIX,
        "v_proj.weight": Role.MATRIX,
        "norm_k.weight": Role.VECTOR,
        "norm_q.weight": Role.VECTOR,
        "norm_conv.weight": Role.VECTOR,
    }


class Plain(OptimizerConfig):
    """A plug-in that knows nothing of roles."""

    def build(self, model):
        return torch.optim.SGD(model.parameters(), lr=self.lr)


@pytest.mark.parametrize("config", [AdamW(), Muon(), Plain()], ids=lambda c: type(c).__name__)
def test_tables_get_row_wise_adam_beside_any_optimizer(config):
    model = engram_model()
    optimizer = build_optimizer(config, model)
    *others, last = optimizer.param_groups
    assert {id(p) for p in last["params"]} == {id(p) for p in tables(model)}
    assert last["lr"] == TABLE_LR * config.lr and "weight_decay" not in last
    found = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(found) == sorted(id(p) for p in model.parameters())  # each exactly once
    steps = list(
        train_steps(model, optimizer, Batches(), next_token, CONSTANT, steps=3, precision=FP32)
    )
    assert steps[-1].metrics["lr"] == config.lr
    assert others


def test_without_tables_the_optimizer_is_the_named_one():
    model = LM(tiny_run.pretrain_config().model)
    assert type(build_optimizer(AdamW(), model)) is torch.optim.AdamW


# Row-wise Adam -------------------------------------------------------------------------------


def sparse(rows, values, like):
    return torch.sparse_coo_tensor(
        torch.tensor(rows)[None], values, like.shape, check_invariants=True
    )


def test_a_row_follows_adam_on_the_steps_in_which_it_occurs():
    torch.manual_seed(0)
    table = nn.Parameter(torch.randn(5, 3))
    alone = [nn.Parameter(table[i].detach().clone()) for i in range(5)]
    settings = {"lr": 0.1, "betas": (0.9, 0.95), "eps": 1e-12}
    optimizer = RowwiseAdam([table], **settings)
    references = [torch.optim.Adam([p], **settings) for p in alone]
    for rows in ([0, 1], [1, 3], [3], [0, 1, 2, 3], [1]):
        values = torch.randn(len(rows), 3)
        table.grad = sparse(rows, values, table)
        optimizer.step()
        for row, value in zip(rows, values, strict=True):
            alone[row].grad = value
            references[row].step()
        torch.testing.assert_close(table, torch.stack(list(alone)), rtol=1e-5, atol=1e-6)
    assert optimizer.state[table]["row_steps"].tolist() == [2, 4, 1, 3, 0]


def test_rows_that_do_not_occur_stay_bit_for_bit(monkeypatch):
    monkeypatch.setattr("yaongi.train.optim.rowwise_adam.CHUNK_ELEMENTS", 7)  # two rows at once
    torch.manual_seed(0)
    table = nn.Parameter(torch.randn(9, 3))
    before = table.detach().clone()
    twice = torch.randn(6, 3)
    table.grad = sparse([8, 1, 8, 2, 1, 5], twice, table)
    RowwiseAdam([table], lr=0.1).step()
    moved = (table != before).all(1).nonzero().flatten().tolist()
    assert moved == [1, 2, 5, 8]
    assert torch.equal(table[[0, 3, 4, 6, 7]], before[[0, 3, 4, 6, 7]])
    step = (before - table)[8] / 0.1  # Adam's first step is the sign of the summed gradient
    torch.testing.assert_close(step, torch.sign(twice[0] + twice[2]))


# Gradients -----------------------------------------------------------------------------------


def gradients(micro_batch, model=None, **settings):
    model = (model or engram_model()).train()
    objective = next_token
    if settings:
        objective = lambda m, b: next_token(m, b, **settings)  # noqa: E731
    totals = accumulate(model, Batch(0), objective, micro_batch, FP32, off())
    return totals.loss, {n: p.grad for n, p in model.named_parameters()}


@pytest.mark.parametrize("micro_batch", [1, 3])
def test_gradients_do_not_depend_on_the_micro_batch_and_stay_sparse(micro_batch):
    loss, expected = gradients(None)
    again, found = gradients(micro_batch)
    assert again == pytest.approx(loss, rel=1e-6)
    for name, grad in found.items():
        if name in TABLES:
            assert grad.is_sparse and grad.is_coalesced()
            assert grad._nnz() == expected[name]._nnz() <= 4 * 12 * 6
            grad, expected[name] = grad.to_dense(), expected[name].to_dense()
        torch.testing.assert_close(grad, expected[name], rtol=1e-4, atol=1e-7)


def test_recomputed_activations_give_the_same_gradients():
    (loss, expected), (again, found) = gradients(2), gradients(2, checkpoint=True)
    assert loss == again
    for name in found:
        assert torch.equal(found[name].to_dense(), expected[name].to_dense()), name


@pytest.mark.parametrize("limit", [1e-3, 1e3])
def test_clipping_counts_sparse_gradients(limit):
    torch.manual_seed(0)
    ours = [nn.Parameter(torch.zeros(4, 3)), nn.Parameter(torch.zeros(6, 2))]
    theirs = copy.deepcopy(ours)
    dense = torch.randn(4, 3)
    parts = sparse([5, 0, 5], torch.randn(3, 2), ours[1])
    ours[0].grad, ours[1].grad = dense.clone(), parts
    theirs[0].grad, theirs[1].grad = dense.clone(), parts.to_dense()
    merge_sparse(ours)
    norm = clip_gradients(ours, limit)
    assert norm == float(nn.utils.clip_grad_norm_(theirs, limit))
    for a, b in zip(ours, theirs, strict=True):
        assert torch.equal(a.grad.to_dense(), b.grad)


def test_a_table_that_is_not_finite_stops_before_the_step():
    model = engram_model()
    table = tables(model)[1]
    poison = table.register_hook(lambda g: g * float("nan"))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    optimizer = build_optimizer(Muon(), model)
    with pytest.raises(NumericsError, match="gradient norm nan"):
        next(
            train_steps(model, optimizer, Batches(), next_token, CONSTANT, steps=1, precision=FP32)
        )
    poison.remove()
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_a_loss_scaler_unscales_and_skips_tables():
    """As in float16 training: the scaler divides sparse gradients and leaves out overflows."""
    model, plain = engram_model(), engram_model()
    optimizer, reference = (build_optimizer(Muon(lr=0.01), m) for m in (model, plain))
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    more = {"steps": 1, "precision": FP32}
    next(train_steps(model, optimizer, Batches(), next_token, CONSTANT, scaler=scaler, **more))
    next(train_steps(plain, reference, Batches(), next_token, CONSTANT, **more))
    for a, b in zip(tables(model), tables(plain), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    overflow = tables(model)[0].register_hook(lambda g: g * float("inf"))
    next(train_steps(model, optimizer, Batches(), next_token, CONSTANT, scaler=scaler, **more))
    overflow.remove()
    assert scaler.get_scale() == 512.0
    assert torch.equal(tables(model)[0], before[TABLES[0]])


# Nothing of a table's size -------------------------------------------------------------------


class Allocations(TorchDispatchMode):
    """The bytes of the largest storage any operator made, those in ``known`` aside."""

    def __init__(self, known):
        super().__init__()
        self.known = {t.untyped_storage().data_ptr() for t in known}
        self.largest, self.by = 0, None

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for t in tree_leaves(out):
            if isinstance(t, torch.Tensor):
                parts = [t._values(), t._indices()] if t.is_sparse else [t]
                for part in parts:
                    storage = part.untyped_storage()
                    if storage.data_ptr() not in self.known and storage.nbytes() > self.largest:
                        self.largest, self.by = storage.nbytes(), str(func)
        return out


BIG = {"layers": [1], "head_dim": 8, "rows": 20_000}


@optimizers
def test_a_step_allocates_nothing_of_a_tables_size(config):
    model = engram_model("*-", engram=BIG)
    (table,) = [e.table.weight for e in model.engrams().values()]
    optimizer = build_optimizer(config, model)
    cfg = CONSTANT.model_copy(update={"micro_batch": 2})
    steps = train_steps(model, optimizer, Batches(), next_token, cfg, steps=3, precision=FP32)
    next(steps)  # makes the moments, once
    moments = [t for s in optimizer.state_dict()["state"].values() for t in s.values()]
    assert sum(t.shape == table.shape for t in moments) == 2
    known = [*model.parameters(), *model.buffers(), *moments]
    with Allocations(known) as seen:
        list(steps)
    rest = max(p.numel() for p in model.parameters() if p is not table)
    assert 0 < seen.largest < table.nbytes / 50, seen.by
    assert table.numel() > 100 * rest


def test_the_measure_sees_a_dense_gradient():
    model = engram_model("*-", engram=BIG)
    table = model.engrams()[1].table.weight
    with Allocations([table]) as seen:
        F.embedding(tokens(2, 5), table).sum().backward()
    assert seen.largest >= table.nbytes


# A whole run ---------------------------------------------------------------------------------

ENGRAM = {"layers": [1, 2], "head_dim": 4, "rows": 400, "heads": 2, "modules": {2: {"orders": [2]}}}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return tiny_run.shards(tmp_path_factory.mktemp("inputs"), documents=120)


def train(inputs, out, *, stop_after=None, **settings):
    def on_step(step):
        if step.index == stop_after:
            os.kill(os.getpid(), signal.SIGTERM)

    settings = {"model": {**tiny_run.HYBRID, "engram": ENGRAM}, "steps": 5, **settings}
    cfg = tiny_run.pretrain_config(**settings)
    return pretrain(cfg, *inputs, out, mix=tiny_run.MIX, on_step=on_step)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {
            "optimizer": {"kind": "adamw", "lr": 0.01},
            "micro_batch": 1,
            "checkpoint_activations": True,
        },
        {"tables_on_host": True, "precision": "bf16"},
    ],
    ids=["muon", "adamw", "host"],
)
def test_a_stopped_run_continues_bit_for_bit(inputs, tmp_path, settings):
    whole = train(inputs, tmp_path / "whole", **settings)
    with pytest.raises(KeyboardInterrupt):
        train(inputs, tmp_path / "base", stop_after=3, **settings)
    resumed = train(inputs, tmp_path / "base", **settings)
    weights = [(a.path / "model.safetensors").read_bytes() for a in (whole, resumed)]
    assert weights[0] == weights[1]
    losses = [line["loss"] for line in read_metrics(whole.path)]
    assert losses[-1] < losses[0]
    model, (_, tokenizer) = load_model(whole.path), inputs
    expected = canonical_ids(Tokenizer.load(tokenizer.path), 512)
    assert model.ngram_ids.canonical.tolist() == expected
    assert model.ngram_ids.canonical.tolist() != list(range(512))


def test_tables_on_the_host_need_tables(inputs, tmp_path):
    with pytest.raises(ConfigError, match="this model has none"):
        train(inputs, tmp_path / "base", model=tiny_run.HYBRID, tables_on_host=True)


def test_the_memory_is_used():
    """Facts of the form a b -> c, c drawn at random, are learnt by the tables alone."""
    model = engram_model("-", vocab_size=VOCAB, engram={"layers": [0], "head_dim": 8, "rows": 4000})
    model.ngram_ids.reset()

    class Facts:
        def batch(self, step):
            g = torch.Generator().manual_seed(0)
            ids = torch.randint(VOCAB, (8, 30), generator=g)
            found = Batch(0, 8, 30)
            found.ids, found.targets = ids.numpy(), ids.roll(-1, 1).numpy()
            found.weights[:, -1] = 0
            found.doc_ids[:] = 0
            return found

    optimizer = build_optimizer(Muon(lr=0.02), model)
    steps = train_steps(model, optimizer, Facts(), next_token, CONSTANT, steps=40, precision=FP32)
    losses = [s.loss for s in steps]
    assert losses[-1] < 0.5 < 3 < losses[0]
