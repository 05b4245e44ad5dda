"""The chunked loss equals the plain one in value and gradient, and holds no whole logits."""

from __future__ import annotations

import pytest
import torch

from yaongi.ops.cross_entropy import chunked, linear_cross_entropy
from yaongi.ops.cross_entropy.reference import linear_cross_entropy_reference


def problem(tokens=300, width=16, vocab=90, seed=0):
    g = torch.Generator().manual_seed(seed)
    hidden = torch.randn(tokens, width, generator=g).requires_grad_()
    weight = torch.randn(vocab, width, generator=g).requires_grad_()
    targets = torch.randint(vocab, (tokens,), generator=g)
    weights = torch.rand(tokens, generator=g)
    weights[::3] = 0
    return hidden, weight, targets, weights


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(chunked, "CHUNK_ELEMENTS", {"cpu": 90 * 64})
    monkeypatch.setattr(chunked, "MIN_TOKENS", 64)


def test_equals_plain_loss_and_gradients(small_chunks):
    hidden, weight, targets, weights = problem()
    loss, total = linear_cross_entropy(hidden, weight, targets, weights)
    expected = linear_cross_entropy_reference(hidden, weight, targets, weights)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(total, weights.sum())
    for got, want in zip(
        torch.autograd.grad(loss / total, (hidden, weight)),
        torch.autograd.grad(expected / total, (hidden, weight)),
        strict=True,
    ):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_a_frozen_head_changes_no_gradient_of_the_rest(small_chunks, dtype):
    found = []
    for frozen in (False, True):
        hidden, weight, targets, weights = problem()
        narrow = hidden.detach().to(dtype).requires_grad_()
        weight.requires_grad_(not frozen)
        loss, _ = linear_cross_entropy(narrow, weight, targets, weights)
        loss.backward()
        assert (weight.grad is None) == frozen
        found.append((loss.detach(), narrow.grad))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)


def test_every_token_counts_one_without_weights():
    hidden, weight, targets, _ = problem()
    loss, total = linear_cross_entropy(hidden, weight, targets)
    assert total == len(targets)
    torch.testing.assert_close(
        loss, linear_cross_entropy_reference(hidden, weight, targets, torch.ones(len(targets)))
    )


def test_batched_shapes_are_the_flat_ones():
    hidden, weight, targets, weights = problem()
    flat, _ = linear_cross_entropy(hidden, weight, targets, weights)
    batched, _ = linear_cross_entropy(
        hidden.view(3, 100, -1), weight, targets.view(3, 100), weights.view(3, 100)
    )
    torch.testing.assert_close(flat, batched)


def test_nothing_to_learn_is_zero_with_zero_gradients():
    hidden, weight, targets, weights = problem()
    loss, total = linear_cross_entropy(hidden, weight, targets, weights * 0)
    assert loss.item() == 0
    assert total.item() == 0
    for grad in torch.autograd.grad(loss, (hidden, weight)):
        assert not grad.any()


def test_extreme_logits_stay_finite():
    hidden, weight, targets, weights = problem()
    loss, total = linear_cross_entropy(hidden * 100, weight * 100, targets, weights)
    expected = linear_cross_entropy_reference(hidden * 100, weight * 100, targets, weights)
    torch.testing.assert_close(loss / total, expected / total)
    assert all(g.isfinite().all() for g in torch.autograd.grad(loss, (hidden, weight)))


def test_bfloat16_hidden_with_float32_weight():
    hidden, weight, targets, weights = problem()
    narrow = hidden.detach().bfloat16().requires_grad_()
    loss, total = linear_cross_entropy(narrow, weight, targets, weights)
    exact, _ = linear_cross_entropy(hidden, weight, targets, weights)
    assert loss.dtype == torch.float32
    assert (loss - exact).abs() / total < 0.03
    dh, dw = torch.autograd.grad(loss, (narrow, weight))
    eh, ew = torch.autograd.grad(exact, (hidden, weight))
    assert dh.dtype == torch.bfloat16
    assert dw.dtype == torch.float32
    assert (dh - eh).norm() < 0.02 * eh.norm()
    assert (dw - ew).norm() < 0.02 * ew.norm()


def fp16_gradients(hidden, weight, targets, loss_scale):
    """Gradients under a loss scale, unscaled as ``GradScaler`` does; and the exact ones."""
    narrow = hidden.detach().half().requires_grad_()
    loss, _ = linear_cross_entropy(narrow, weight, targets)
    scaled = torch.autograd.grad(loss * loss_scale, (narrow, weight))
    h, w = (t.detach().double().requires_grad_() for t in (narrow, weight))
    exact = linear_cross_entropy_reference(h, w, targets, torch.ones(len(targets)).double())
    torch.testing.assert_close(loss.double(), exact.double(), rtol=2e-2, atol=1e-3)
    return [g.double() / loss_scale for g in scaled], torch.autograd.grad(exact, (h, w))


FP16_CASES = {  # name: (vocabulary, size of the logits, loss scale)
    "ordinary": (90, 1.0, 2.0**10),
    "more words than float16 can count": (70_000, 1e-3, 2.0**10),
    "a loss scale float16 cannot hold": (90, 1e-2, 2.0**17),
    "a model so sure that its gradients fade": (90, 1.0, 2.0**10),
}


@pytest.mark.parametrize("case", FP16_CASES)
def test_float16_neither_overflows_nor_fades_under_a_loss_scale(case):
    vocab, size, loss_scale = FP16_CASES[case]
    hidden, weight, targets, _ = problem(tokens=6, width=4, vocab=vocab)
    hidden, weight = hidden.detach() * 0.1, weight.detach().mul(10 * size).requires_grad_()
    if "sure" in case:  # the target's own direction: p = 1 - 1e-6 or so
        weight = torch.nn.functional.one_hot(torch.arange(vocab) % 4, 4) * 13.8
        weight = (weight * (torch.arange(vocab) < 4)[:, None]).float().requires_grad_()
        targets = torch.arange(6) % 4
        hidden = torch.nn.functional.one_hot(targets, 4).float()
    found, exact = fp16_gradients(hidden, weight, targets, loss_scale)
    for got, want in zip(found, exact, strict=True):
        assert got.isfinite().all()
        assert (got - want).norm() < 0.01 * want.norm()


def test_never_holds_all_logits(small_chunks):
    hidden, weight, targets, weights = problem(tokens=2000)
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor):
                largest = max(largest, out.numel())
            return out

    with Watch():
        loss, _ = linear_cross_entropy(hidden, weight, targets, weights)
        loss.backward()
    assert largest < 2000 * 90 / 4
