"""Every backend of every op that runs here against the op's reference: values and gradients.

A new backend is tested by its row in the op's table. Uninitialised memory is filled with NaN, so a
kernel that reads what it never wrote fails.
"""

from __future__ import annotations

import itertools
from collections import Counter

import kernel_stand_ins
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from yaongi.ops.attention import ATTENTION
from yaongi.ops.conv1d import CONV1D
from yaongi.ops.moe import EXPERTS
from yaongi.ops.moe.grouped import experts_grouped
from yaongi.ops.moe.sorted import experts_sorted
from yaongi.ops.norm import GATED_RMS_NORM, RMS_NORM
from yaongi.ops.ssd import SSD_OP

OPS = (SSD_OP, CONV1D, ATTENTION, EXPERTS, RMS_NORM, GATED_RMS_NORM)
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def poisoned_memory():
    torch.use_deterministic_algorithms(True, warn_only=True)
    assert torch.utils.deterministic.fill_uninitialized_memory
    yield
    torch.use_deterministic_algorithms(False)


SEEDS = itertools.count(1)


def rand(*shape, low=None):
    g = torch.Generator().manual_seed(next(SEEDS))
    value = torch.randn(shape, generator=g) if low is None else torch.rand(shape, generator=g) + low
    return value.requires_grad_()


def documents(batch, length):
    """Documents of assorted lengths, one of a single token, changing inside and between chunks."""
    cuts = torch.zeros(batch, length, dtype=torch.int32)
    for row in range(batch):
        for at in (3 + row, 4 + row, 40, 64, 100 + 7 * row):
            if at < length:
                cuts[row, at] = 1
    return cuts.cumsum(1)


def scan(length, *, docs=False, state=False, fresh=False, groups=2, strong=1.0, heads=4):
    doc_ids = documents(2, length + state) if docs else None
    if fresh:  # row 0 begins a document, row 1 goes on with that of the state
        doc_ids[0, 1:] += 1
    dt, a = rand(2, length, heads, low=0.01), -rand(heads, low=0.1).detach() * strong
    shape = (2, length, groups, 8)
    h0 = rand(2, heads, 6, 8) if state else None
    return (rand(2, length, heads, 6), dt, a.requires_grad_(), rand(*shape), rand(*shape),
            rand(heads), doc_ids, h0)  # fmt: skip


def conv(length, *, docs=False, taps=4):
    ids = documents(2, taps - 1 + length) if docs else None
    return rand(2, taps - 1 + length, 6), rand(6, taps), rand(6), ids


def attend(queries, keys, *, heads=(4, 2), masked=False):
    q, k, v = rand(2, heads[0], queries, 8), rand(2, heads[1], keys, 8), rand(2, heads[1], keys, 8)
    at = torch.arange(keys)
    mask = (at <= at[keys - queries :, None])[None, None] if queries != keys else None
    if masked:
        docs = documents(2, keys)
        same = docs[:, keys - queries :, None] == docs[:, None]
        mask = (same & (at <= at[keys - queries :, None]))[:, None]
    return q, k, v, mask, queries == keys


def experts(tokens, count, k, *, width=8, gated=False, favourite=False):
    scores = torch.rand(tokens, count, generator=torch.Generator().manual_seed(tokens))
    if favourite:  # the others get nothing
        scores[:, :k] += 10
    gate = rand(count, 16, width) if gated else None  # rows of 16 bytes even in bfloat16
    return (rand(tokens, width), scores.topk(k).indices, rand(tokens, k), rand(count, 16, width),
            rand(count, width, 16), gate)  # fmt: skip


CASES = {
    "ssd": {
        "even": lambda: scan(128),
        "odd": lambda: scan(131, groups=1),
        "shorter than a chunk": lambda: scan(5, groups=4),
        "documents": lambda: scan(150, docs=True),
        "continued": lambda: scan(70, state=True),
        "documents continued": lambda: scan(130, docs=True, state=True),
        "one step": lambda: scan(1, state=True),
        "one step, new document": lambda: scan(1, docs=True, state=True, fresh=True),
        "continued by a document": lambda: scan(9, docs=True, state=True, fresh=True, groups=1),
        "strong decay": lambda: scan(128, strong=60.0),
    },
    "conv1d": {
        "plain": lambda: conv(70),
        "one step": lambda: conv(1),
        "two taps": lambda: conv(9, taps=2),
        "five taps": lambda: conv(9, taps=5),
        "documents": lambda: conv(130, docs=True),
    },
    "attention": {
        "causal": lambda: attend(33, 33),
        "one head each": lambda: attend(33, 33, heads=(3, 3)),
        "continued": lambda: attend(5, 33),
        "one query": lambda: attend(1, 33),
        "documents": lambda: attend(70, 70, masked=True),
        "documents continued": lambda: attend(7, 70, masked=True),
    },
    "experts": {
        "squared relu": lambda: experts(50, 5, 2),
        "swiglu": lambda: experts(50, 5, 3, gated=True),
        "experts without tokens": lambda: experts(9, 6, 2, favourite=True),
        "one token": lambda: experts(1, 4, 1),
    },
    "rms_norm": {"": lambda: (rand(2, 700, 6), rand(6), 1e-5)},
    "gated_rms_norm": {
        "one group": lambda: (rand(2, 9, 12), rand(2, 9, 12), rand(12), 1e-5, 1),
        "three groups": lambda: (rand(2, 9, 12), rand(2, 9, 12), rand(12), 1e-5, 3),
    },
}


def runs():
    for op in OPS:
        for backend in op.backends:
            if backend.name != "reference" and backend.unavailable(CPU) is None:
                for name in CASES[op.name]:
                    yield pytest.param(op, backend, name, id=f"{op.name}-{backend.name}-{name}")


def outputs_and_gradients(function, inputs):
    out = function(*inputs)
    out = out if isinstance(out, tuple) else (out,)
    total = sum(
        (o.double() * torch.linspace(-1, 1, o.numel(), dtype=torch.double).view_as(o).sin()).sum()
        for o in out
    )
    leaves = [t for t in inputs if isinstance(t, torch.Tensor) and t.requires_grad]
    return [*out, *torch.autograd.grad(total, leaves)]


def reference_of(op):
    return next(b.run for b in op.backends if b.name == "reference")


@pytest.mark.parametrize(("op", "backend", "case"), runs())
def test_backend_equals_reference(op, backend, case):
    inputs = CASES[op.name][case]()
    found = outputs_and_gradients(backend.run, inputs)
    expected = outputs_and_gradients(reference_of(op), inputs)
    for got, want in zip(found, expected, strict=True):
        assert got.shape == want.shape
        assert (got - want).abs().max() <= 5e-5 * want.abs().max() + 1e-7


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_bfloat16_inputs_stay_close_and_keep_their_gradients_dtype(op):
    inputs = next(iter(CASES[op.name].values()))()
    exact = outputs_and_gradients(reference_of(op), inputs)
    narrow = [
        t.detach().bfloat16().requires_grad_()
        if isinstance(t, torch.Tensor) and t.requires_grad and t.ndim > 2 and t.shape[-1] > 4
        else t
        for t in inputs
    ]
    if op.name == "experts":  # weights of experts stay float32, as in training
        narrow[3:] = inputs[3:]
    for backend in op.backends:
        if backend.unavailable(CPU) is not None:
            continue
        for got, want in zip(outputs_and_gradients(backend.run, narrow), exact, strict=True):
            assert got.isfinite().all()
            assert (got - want).abs().max() <= 0.06 * want.abs().max()


def test_grouped_experts_equal_the_reference():
    """Its kernel is for GPUs, but PyTorch runs the same call anywhere."""
    g = torch.Generator().manual_seed(0)
    sizes = ((50, 8), (5, 12, 8), (5, 8, 12), (5, 12, 8))  # strides of 16 bytes
    x, up, down, gate = (torch.randn(s, generator=g).requires_grad_() for s in sizes)
    chosen = torch.rand(50, 5, generator=g).topk(2).indices
    weights = torch.rand(50, 2, generator=g).requires_grad_()
    for last in (gate, None):
        inputs = (x, chosen, weights, up, down, last)
        found = outputs_and_gradients(experts_grouped, inputs)
        for got, want in zip(
            found, outputs_and_gradients(reference_of(EXPERTS), inputs), strict=True
        ):
            torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


class Calls(TorchDispatchMode):
    """Every operator called, with its arguments."""

    def __init__(self):
        super().__init__()
        self.made = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.made.append((func.overloadpacket.__name__, args, kwargs or {}))
        return func(*args, **(kwargs or {}))


def calls(run, tokens):
    inputs = experts(tokens, 4, 2, width=8, gated=True)  # strides of 16 bytes
    with Calls() as seen:
        outputs_and_gradients(run, inputs)
    return seen.made


@pytest.mark.parametrize("run", [experts_sorted, experts_grouped])
def test_experts_add_nothing_by_scattering(run):
    """Scattered adds sum in the order threads happen to arrive; gathers do not."""
    adds = ("index_add", "scatter_add", "scatter_reduce", "embedding_dense_backward")
    for name, args, kwargs in calls(run, 40):
        assert not name.startswith(adds), name
        accumulates = name.strip("_").startswith("index_put") and (
            kwargs.get("accumulate") or args[3:] == (True,)
        )
        assert not accumulates


def test_experts_take_a_few_products_each_however_many_tokens():
    few, many = (Counter(name for name, _, _ in calls(experts_sorted, n)) for n in (20, 400))
    assert many["mm"] <= 4 * (3 + 5)  # 4 experts: 3 products forward, 5 or 6 backward
    assert many == few


def test_scan_resets_are_the_same_as_separate_calls():
    x, dt, a, b, c, d, ids, _ = scan(150, docs=True)
    whole, _ = SSD_OP.pick(CPU)(x, dt, a, b, c, d, ids)
    cuts = [0, *(ids[0].diff().nonzero()[:, 0] + 1).tolist(), 150]
    for start, end in itertools.pairwise(cuts):
        part = [t[:1, start:end] for t in (x, dt, b, c)]
        alone, _ = SSD_OP.pick(CPU)(part[0], part[1], a, part[2], part[3], d)
        torch.testing.assert_close(whole[:1, start:end], alone, rtol=1e-5, atol=1e-5)


def test_scan_keeps_digits_after_a_strong_decay():
    """A token that wipes the state must not blur the decays between the mild tokens after it."""
    length, heads = 64, 1
    dt = torch.full((1, length, heads), 1e-3)
    dt[:, 5] = 1000.0
    a = torch.tensor([-16.0])
    x, b, c = (torch.ones(1, length, 1, 1) for _ in range(3))
    y, _ = SSD_OP.pick(CPU)(x, dt, a, b, c, torch.zeros(1))
    exact, _ = reference_of(SSD_OP)(
        x.double(), dt.double(), a.double(), b.double(), c.double(), torch.zeros(1).double()
    )
    torch.testing.assert_close(y.double(), exact.double(), rtol=1e-5, atol=0)


@pytest.mark.parametrize("op", [SSD_OP, CONV1D, EXPERTS, RMS_NORM, GATED_RMS_NORM])
def test_autocast_around_does_not_reach_inside(op):
    inputs = next(iter(CASES[op.name].values()))()
    run = op.pick(CPU)
    expected = outputs_and_gradients(run, inputs)
    with torch.autocast("cpu", torch.bfloat16):  # the backward pass too
        found = outputs_and_gradients(run, inputs)
    for got, want in zip(found, expected, strict=True):
        assert torch.equal(got, want)


# Kernels of optional packages: their adapters here, with stand-ins; themselves on a GPU.

ADAPTERS = {"ssd": ("mamba_ssm", "fla"), "conv1d": ("causal_conv1d",)}
NARROW = {  # inputs in the stream's dtype; steps, decays, states, scales and banks are float32
    "ssd": (0, 3, 4), "conv1d": (0,), "attention": (0, 1, 2), "experts": (0,), "rms_norm": (0,),
    "gated_rms_norm": (0, 1),
}  # fmt: skip


def adapters():
    for op in OPS:
        for backend in op.backends:
            if backend.name in ADAPTERS.get(op.name, ()):
                for name in sorted(CASES[op.name].keys() - {"even", "strong decay"}):
                    yield pytest.param(op, backend, name, id=f"{op.name}-{backend.name}-{name}")


def narrowed(op, inputs, dtype):
    return [
        v.detach().to(dtype).requires_grad_() if i in NARROW[op.name] else v
        for i, v in enumerate(inputs)
    ]


@pytest.mark.parametrize(("op", "backend", "case"), adapters())
def test_adapter_to_a_stand_in_equals_reference(monkeypatch, op, backend, case):
    """Layout, types, document numbering and padding, not the kernel: that is the test below."""
    kernel_stand_ins.install(monkeypatch)
    inputs = CASES[op.name][case]()
    found = outputs_and_gradients(backend.run, inputs)
    expected = outputs_and_gradients(reference_of(op), inputs)
    for got, want in zip(found, expected, strict=True):
        assert got.shape == want.shape and got.dtype == want.dtype
        assert (got - want).abs().max() <= 5e-5 * want.abs().max() + 1e-7
    with torch.no_grad():  # decoding takes another way
        kept = [t.clone() if isinstance(t, torch.Tensor) else t for t in inputs]
        out = backend.run(*inputs)
    for got, want in zip(out if isinstance(out, tuple) else (out,), expected, strict=False):
        assert (got - want).abs().max() <= 5e-5 * want.abs().max() + 1e-7
    for now, then in zip(inputs, kept, strict=True):
        assert now is then is None or torch.equal(now, then), "an input was overwritten"


def test_adapters_take_bfloat16(monkeypatch):
    """As in training: float32 steps, decays and weights beside bfloat16 streams."""
    kernel_stand_ins.install(monkeypatch)
    for op in (SSD_OP, CONV1D):
        inputs = CASES[op.name]["documents"]()
        wide = reference_of(op)(*inputs)
        narrow = narrowed(op, inputs, torch.bfloat16)
        for backend in op.backends:
            if backend.name in ADAPTERS[op.name]:
                got, want = backend.run(*narrow), wide
                got, want = (v[0] if isinstance(v, tuple) else v for v in (got, want))
                assert got.dtype == torch.bfloat16
                assert (got - want).abs().max() <= 0.03 * want.abs().max()


def on_gpu(value):
    if not isinstance(value, torch.Tensor):
        return value
    return value.detach().cuda().requires_grad_(value.requires_grad)


def gpu_runs():
    for op in OPS:
        for backend in op.backends:
            if backend.name != "reference":
                for name in CASES[op.name]:
                    yield pytest.param(op, backend, name, id=f"{op.name}-{backend.name}-{name}")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(("op", "backend", "case"), gpu_runs())
def test_backend_equals_reference_on_a_gpu(op, backend, case, dtype):
    """Values and gradients; Triton multiplies float32 in TF32, hence the wide bound there."""
    device = torch.device("cuda")
    if reason := backend.unavailable(device):
        pytest.skip(reason)
    if dtype == torch.bfloat16 and torch.cuda.get_device_capability(device) < (8, 0):
        pytest.skip("this GPU has no bfloat16")
    inputs = [on_gpu(v) for v in CASES[op.name][case]()]
    narrow = narrowed(op, inputs, dtype)
    same = [v.detach().float().requires_grad_(v.requires_grad)
            if isinstance(v, torch.Tensor) and v.is_floating_point() else v
            for v in narrow]  # fmt: skip
    bound = 5e-3 if dtype == torch.float32 else 3e-2
    found = outputs_and_gradients(backend.run, narrow)
    for got, want in zip(found, outputs_and_gradients(reference_of(op), same), strict=True):
        assert got.shape == want.shape
        assert (got - want).abs().max() <= bound * want.abs().max() + 1e-7
