"""Quantized products: every backend is its reference within stated rounding, rows alone or not."""

import functools
import os
import subprocess
import sys

import pytest
import torch

from yaongi.core.errors import CheckpointError
from yaongi.ops.backend import Op
from yaongi.ops.moe.in_int8 import experts_int8
from yaongi.ops.moe.packed import experts_packed
from yaongi.ops.quant import INT4, INT8
from yaongi.ops.quant.from_int4 import int8_from_int4, int8_from_int4_reference
from yaongi.ops.quant.int4 import dequantize_groups, quantize_groups
from yaongi.ops.quant.int8 import dequantize_rows, quantize_rows
from yaongi.ops.quant.layouts import BLOCKS, LAYOUTS, pack, unpack

CPU = torch.device("cpu")
SHAPES = [(16, 32), (64, 64), (80, 96), (144, 128)]  # whole blocks, parts of one, both


def runnable(op: Op) -> list[str]:
    return [b.name for b in op.backends if b.unavailable(CPU) is None]


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", runnable(INT8))
def test_int8_product_is_the_dequantized_one(name, shape):
    product = INT8.pick(CPU, name)
    ints, scale = quantize_rows(normal(*shape))
    for rows in (1, 3, 40):
        x = normal(2, rows, shape[1], seed=rows)
        expected = x @ dequantize_rows(ints, scale).T
        found = product(x, ints, scale)
        # each x is off by at most 1/254 of its row's largest
        off = x.abs().amax(-1, keepdim=True) / 254 * dequantize_rows(ints, scale).abs().sum(1)
        assert ((found - expected).abs() <= off + 1e-4).all()
        assert found.dtype == x.dtype
        assert product(x.bfloat16(), ints, scale).dtype == torch.bfloat16


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", runnable(INT4))
def test_int4_product_is_the_dequantized_one(name, shape):
    kernel = INT4.pick(CPU, name)
    ints, scales = quantize_groups(normal(*shape), 32)
    weight = dequantize_groups(ints, scales)
    packed = pack(ints, kernel.layout)
    for rows in (1, 3, 40):
        x = normal(2, rows, shape[1], seed=rows)
        expected = x @ weight.T
        found = kernel(x, packed, scales)
        # x and y are rounded to bfloat16: 1/512 of each
        off = (x.abs() @ weight.abs().T + expected.abs()) / 500
        assert ((found - expected).abs() <= off + 1e-4).all()
        assert found.dtype == x.dtype


@pytest.mark.parametrize("op", [INT4, INT8], ids=lambda op: op.name)
def test_a_row_has_the_same_bits_alone_and_together(op):
    product = op.pick(CPU)
    if product is op.pick(CPU, "reference"):
        pytest.skip("the reference multiplies as PyTorch does, and makes no promise")
    for n, k in [(80, 1088), (512, 2048)]:
        if op is INT8:
            matrix = quantize_rows(normal(n, k))
        else:
            ints, scales = quantize_groups(normal(n, k), 32)
            matrix = pack(ints, product.layout), scales
        x = normal(37, k, seed=1)
        together = product(x, *matrix)
        for count in (1, 2, 5, 16):
            parts = [product(part, *matrix) for part in x.split(count)]
            assert torch.equal(torch.cat(parts), together)


def test_int8_sums_do_not_overflow():
    ints = torch.full((16, 4096), 127, dtype=torch.int8)
    for name in runnable(INT8):
        found = INT8.pick(CPU, name)(torch.full((1, 4096), -1.0), ints, torch.ones(16))
        assert torch.equal(found, torch.full((1, 16), -127.0 * 4096))


def test_groups_are_off_by_less_than_with_steps_over_their_whole_reach():
    weight = normal(3, 16, 96)
    ints, scales = quantize_groups(weight, 32)
    assert int(ints.min()) == 0
    assert int(ints.max()) == 15
    parts = weight.unflatten(-1, (-1, 32))
    low, high = (t[..., None] for t in parts.aminmax(dim=-1))
    step = (high - low) / 15
    plain = ((parts - low) / step).round() * step + low
    error = (dequantize_groups(ints, scales) - weight).square().mean()
    assert error < 0.95 * (plain - parts).square().mean()


@pytest.mark.parametrize("value", [0.5, 0.0, -3.0])
def test_a_group_of_equal_values_stays_what_it_is(value):
    weight = torch.full((16, 64), value)
    found = dequantize_groups(*quantize_groups(weight, 32))
    torch.testing.assert_close(found, weight, atol=1e-20, rtol=0)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_layout_can_be_read_back(layout, shape):
    ints = torch.randint(0, 16, (3, *shape), dtype=torch.uint8)
    packed = pack(ints, layout)
    assert packed.shape == (3, shape[0], shape[1] // 2)
    assert torch.equal(unpack(packed, layout), ints)
    assert torch.equal(packed[1], pack(ints[1], layout))  # experts one by one


def test_an_unknown_layout_names_the_nearest():
    with pytest.raises(CheckpointError, match="int4pack/avx512"):
        unpack(torch.zeros(16, 16, dtype=torch.uint8), "int4pack/avx51")


LIKE_TORCH = """
import torch
from yaongi.ops.quant.layouts import pack
from yaongi.ops.quant.int4pack import LAYOUT
for shape in {shapes}:
    ints = torch.randint(0, 16, shape, dtype=torch.uint8)
    theirs = torch.ops.aten._convert_weight_to_int4pack_for_cpu(ints.int(), 1)
    assert torch.equal(pack(ints, LAYOUT), theirs), shape
print(LAYOUT)
"""


@pytest.mark.parametrize("layout", list(BLOCKS))
def test_layouts_are_those_of_torch(layout):
    """In a process of its own, which can pretend to have narrower vectors."""
    isa = layout.partition("/")[2]
    env = os.environ | {"ATEN_CPU_CAPABILITY": isa}
    done = subprocess.run(
        [sys.executable, "-c", LIKE_TORCH.format(shapes=SHAPES)],
        env=env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    if done.stdout.strip() != layout:
        pytest.skip(f"this machine has no {isa}")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [*SHAPES, (96, 32)])
def test_int4_becomes_int8_within_half_a_step_whatever_the_layout(layout, shape):
    ints, scales = quantize_groups(normal(*shape), 32)
    weight = dequantize_groups(ints, scales)
    found, scale = int8_from_int4(pack(ints, layout), scales, layout)
    assert ((dequantize_rows(found, scale) - weight).abs() <= 0.501 * scale[:, None]).all()
    plain = quantize_rows(weight)[1]
    assert (scale <= 1.1 * plain).all()
    same = int8_from_int4_reference(pack(ints, layout), scales, layout)
    assert torch.equal(found, same[0])
    assert torch.equal(scale, same[1])


def test_an_int4_matrix_of_zeros_becomes_one():
    ints, scales = quantize_groups(torch.zeros(64, 64), 32)
    for layout in LAYOUTS:
        found = dequantize_rows(*int8_from_int4(pack(ints, layout), scales, layout))
        torch.testing.assert_close(found, torch.zeros(64, 64), atol=1e-20, rtol=0)


@pytest.mark.parametrize("gated", [False, True])
def test_experts_in_int8_are_one_product_after_the_other(gated):
    if "int_mm" not in runnable(INT8):
        pytest.skip("no int_mm here")
    banks = [quantize_rows(normal(5, *s, seed=i)) for i, s in enumerate([(48, 32), (32, 48)])]
    banks += [quantize_rows(normal(5, 48, 32, seed=9))] if gated else []
    x, weights = normal(37, 32), normal(37, 2).abs()
    chosen = normal(37, 4).topk(2).indices  # the fifth is nobody's
    product = INT8.pick(CPU)
    stacks = [
        [functools.partial(product, ints=i, scale=s) for i, s in zip(*b, strict=True)]
        for b in banks
    ]
    expected = experts_packed(x, chosen, weights, *stacks, product=lambda x, p: p(x))
    together = experts_int8(x, chosen, weights, *banks)
    assert torch.equal(together, expected)
    alone = [experts_int8(x[i, None], chosen[i, None], weights[i, None], *banks) for i in (0, 36)]
    assert torch.equal(torch.cat(alone), together[[0, 36]])
