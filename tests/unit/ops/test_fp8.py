"""fp8 products: close to float32, at home with huge, tiny and zero tensors, honest about NaN."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from yaongi.core.errors import ShapeError
from yaongi.ops.quant.fp8 import E4M3, E5M2, fp8_linear, fp8_unavailable, loses, to_fp8

CPU = torch.device("cpu")


def problem(tokens=(3, 7), n_in=32, n_out=48, size=1.0, dtype=torch.float32):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(*tokens, n_in, generator=g).mul(size).to(dtype).requires_grad_()
    weight = torch.randn(n_out, n_in, generator=g).mul(0.02).requires_grad_()
    return x, weight, torch.randn(*tokens, n_out, generator=g).to(dtype)


def run(product, x, weight, g):
    y = product(x, weight)
    return [y.detach(), *torch.autograd.grad(y, (x, weight), g)]


def error(found, exact):
    return float((found.double() - exact.double()).norm() / exact.double().norm())


@pytest.mark.parametrize("tokens", [(3, 7), (32,), (1,)], ids=str)
def test_values_and_gradients_are_those_of_float32_within_fp8_rounding(tokens):
    """Rounding alone: 2^-4 relative at most for e4m3, 2^-3 for e5m2, and errors average out."""
    x, weight, g = problem(tokens)
    found, exact = run(fp8_linear, x, weight, g), run(F.linear, x, weight, g)
    for got, want, bound in zip(found, exact, (0.06, 0.09, 0.09), strict=True):
        assert got.shape == want.shape and got.dtype == want.dtype
        assert 1e-4 < error(got, want) < bound  # not the float32 product itself


def test_the_products_are_exactly_those_of_the_rounded_factors():
    x, weight, g = problem((21,))
    (x8, xs), (w8, ws), (g8, gs) = to_fp8(x, E4M3), to_fp8(weight, E4M3), to_fp8(g, E5M2)
    x_, w_, g_ = x8.float() * xs, w8.float() * ws, g8.float() * gs
    expected = [x_ @ w_.T, g_ @ w_, g_.T @ x_]
    for got, want in zip(run(fp8_linear, x, weight, g), expected, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("size", [1e30, 1e4, 1e-6, 1e-20])
def test_scales_follow_the_tensor(size):
    x, weight, g = problem((32,), size=size)
    found = run(fp8_linear, x, weight, g * size)
    exact = run(F.linear, x.double(), weight.double(), g.double() * size)
    assert error(found[0], exact[0]) < 0.06 and error(found[1], exact[1]) < 0.09
    if 1e-38 < size**2 < 1e38:  # the weight's gradient is a product of both
        assert error(found[2], exact[2]) < 0.09


@pytest.mark.parametrize("size", [0.0, 1e-40])
def test_nothing_gives_nothing(size):
    x, weight, g = problem((16,), size=size)
    y, dx, dw = run(fp8_linear, x, weight, g * size)
    assert y.abs().max() <= 1e-38 and dx.abs().max() <= 1e-38 and not dw.any()


@pytest.mark.parametrize("dtype", [E4M3, E5M2], ids=str)
def test_the_largest_value_becomes_the_formats_and_none_passes_it(dtype):
    x = torch.tensor([-3.0, 0.0, 1e-9, 2.9999999, 3.0, 3.0000002])
    rounded, scale = to_fp8(x, dtype)
    assert rounded.float().abs().max() == torch.finfo(dtype).max
    torch.testing.assert_close(rounded.float() * scale, x, rtol=0.13, atol=1e-6)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_so(bad):
    """A saturated infinity would train on; this one stops the run."""
    x, weight, _ = problem((16,))
    broken = x.detach().clone()
    broken[3, 5] = bad
    assert not fp8_linear(broken, weight)[3].isfinite().any()


def test_bfloat16_stream_and_float32_master_weight():
    x, weight, g = problem((16,), dtype=torch.bfloat16)
    y, dx, dw = run(fp8_linear, x, weight, g)
    assert (y.dtype, dx.dtype, dw.dtype) == (torch.bfloat16, torch.bfloat16, torch.float32)


def test_a_frozen_weight_costs_no_gradient():
    x, weight, g = problem((16,))
    y = fp8_linear(x, weight.detach())
    assert torch.autograd.grad(y, x, g)[0].shape == x.shape


def test_a_compiler_sees_through_it():
    """Without breaks in the graph; the kernels it would choose on a GPU are not run here."""
    x, weight, g = problem((16,))
    compiled = torch.compile(fp8_linear, backend="aot_eager", fullgraph=True)
    for got, want in zip(run(compiled, x, weight, g), run(fp8_linear, x, weight, g), strict=True):
        assert torch.equal(got, want)


def test_odd_shapes_are_refused():
    x, weight, _ = problem((4,), n_out=40)
    with pytest.raises(ShapeError, match=r"multiples of 16, not \(40, 32\)"):
        fp8_linear(x, weight)


def test_where_it_can_win():
    assert "multiple of 16" in (loses(5151, 4096) or "")
    assert "too small" in (loses(1024, 2048) or "") and "too small" in (loses(16, 4096) or "")
    assert loses(5152, 1024) is None and loses(1024, 4112) is None


@pytest.mark.parametrize(
    ("capability", "expected"),
    [((7, 5), "needs compute capability 8.9, this GPU has 7.5"), ((8, 6), "8.9"), ((8, 9), None),
     ((9, 0), None), ((10, 0), None)],
)  # fmt: skip
def test_devices(monkeypatch, capability, expected):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    reason = fp8_unavailable(torch.device("cuda"))
    assert (expected in (reason or "")) if expected else reason is None
    assert "CUDA" in (fp8_unavailable(CPU) or "")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("tokens", [(64,), (3, 7)], ids=str)
def test_the_gpu_gives_what_the_cpu_gives(tokens):
    if reason := fp8_unavailable(torch.device("cuda")):
        pytest.skip(reason)
    x, weight, g = problem(tokens, dtype=torch.bfloat16)
    on_gpu = run(fp8_linear, *(t.detach().cuda().requires_grad_() for t in (x, weight)), g.cuda())
    for got, want in zip(on_gpu, run(fp8_linear, x, weight, g), strict=True):
        assert error(got.cpu(), want) < 1e-2
