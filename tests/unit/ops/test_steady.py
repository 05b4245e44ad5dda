"""Operators of inference: a row's result does not depend on the rows beside it, to the bit."""

from __future__ import annotations

import functools

import pytest
import torch
from torch.nn import functional as F

from yaongi.ops.activation import steady
from yaongi.ops.linear import pack, packed_product
from yaongi.ops.moe.one_token import experts_one_token, quantized_experts_one_token
from yaongi.ops.moe.packed import experts_packed
from yaongi.ops.moe.reference import experts_reference


@pytest.mark.parametrize(("width", "out"), [(32, 4), (384, 1804), (2048, 64)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_packed_product_has_the_same_bits_whatever_rows_are_beside(width, out, dtype):
    """The promise the engine stands on; a new torch or machine that breaks it shows here."""
    rng = torch.Generator().manual_seed(0)
    weight, x = (torch.randn(n, width, generator=rng).to(dtype) for n in (out, 70))
    packed = pack(weight)
    whole = packed_product(x, packed)
    torch.testing.assert_close(whole, F.linear(x, weight), atol=0.02 * width**0.5, rtol=0.02)
    for n in (1, 2, 3, 5, 8, 15, 16, 17, 33, 64):
        for start in (0, 6):
            part = x[start : start + n].contiguous()
            assert torch.equal(packed_product(part, packed), whole[start : start + n])
            assert torch.equal(packed_product(part[:, None], packed)[:, 0], whole[start:][:n])


@pytest.mark.parametrize("fn", [F.silu, F.softplus, torch.sigmoid])
@pytest.mark.parametrize("width", [1, 12, 80])
def test_a_steady_function_has_the_same_bits_wherever_an_element_stands(fn, width):
    x = torch.randn(70, 1, width, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole = steady(fn, x)
        torch.testing.assert_close(whole, fn(x))
        for n in range(1, 70):
            assert torch.equal(steady(fn, x[-n:].contiguous()), whole[-n:])


@pytest.mark.parametrize("gated", [True, False])
def test_packed_experts_are_the_reference(gated):
    rng = torch.Generator().manual_seed(0)
    x, up, gate = (torch.randn(*s, generator=rng) for s in ((9, 32), (4, 64, 32), (4, 64, 32)))
    down, weights = torch.randn(4, 32, 64, generator=rng), torch.rand(9, 2, generator=rng)
    chosen = torch.rand(9, 4, generator=rng).topk(2).indices
    gates = gate if gated else None
    expected = experts_reference(x, chosen, weights, up, down, gates)
    banks = [[pack(w) for w in bank] for bank in (up, down, gate)]
    found = experts_packed(x, chosen, weights, banks[0], banks[1], banks[2] if gated else None)
    torch.testing.assert_close(found, expected, atol=1e-2, rtol=1e-4)
    alone = experts_packed(
        x[3:4], chosen[3:4], weights[3:4], *banks[:2], banks[2] if gated else None
    )
    assert torch.equal(alone, found[3:4])


@pytest.mark.parametrize("gated", [True, False])
def test_experts_of_one_token_are_the_reference(gated):
    rng = torch.Generator().manual_seed(0)
    x, up, gate = (torch.randn(*s, generator=rng) for s in ((1, 32), (4, 64, 32), (4, 64, 32)))
    down, weights = torch.randn(4, 32, 64, generator=rng), torch.rand(1, 2, generator=rng)
    chosen = torch.tensor([[3, 1]])
    banks = up, down, gate if gated else None
    expected = experts_reference(x, chosen, weights, *banks)
    near = {"atol": 1e-2, "rtol": 1e-4}
    torch.testing.assert_close(experts_one_token(x, chosen, weights, *banks), expected, **near)
    products = [bank if bank is None else _products(bank) for bank in banks]
    found = quantized_experts_one_token(x, chosen[0], weights[0], *products)
    torch.testing.assert_close(found, expected, **near)


def _products(bank):
    return [functools.partial(F.linear, weight=matrix) for matrix in bank]
