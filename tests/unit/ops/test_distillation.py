"""The chunked distillation loss equals the published formulas in value and gradient."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from yaongi.core.errors import ShapeError
from yaongi.ops.cross_entropy import chunked
from yaongi.ops.distillation import Rules, Top, Whole, linear_distillation, top_log_probs
from yaongi.ops.distillation.reference import linear_distillation_reference

IDS, PADDED, TOKENS = 90, 96, 300


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(chunked, "CHUNK_ELEMENTS", {"cpu": PADDED * 64})
    monkeypatch.setattr(chunked, "MIN_TOKENS", 64)


def problem(seed=0, dtype=torch.float32):
    g = torch.Generator().manual_seed(seed)
    hidden = torch.randn(TOKENS, 16, generator=g).to(dtype).requires_grad_()
    weight = torch.randn(PADDED, 16, generator=g).requires_grad_()
    targets = torch.randint(IDS, (TOKENS,), generator=g)
    weights = torch.rand(TOKENS, generator=g)
    teacher = Whole(
        torch.randn(TOKENS, 24, generator=g).to(dtype), torch.randn(IDS, 24, generator=g) / 2
    )
    return hidden, weight, targets, weights, teacher


CASES = [(b, 2.5, k) for b in (0, 0.1, 0.5, 1) for k in (None, 7)]
CASES += [(0, 1.0, None), (0.9, 1.0, 1), (1, 1.0, IDS - 1)]


@pytest.mark.parametrize(("beta", "temperature", "k"), CASES)
def test_equals_the_formulas_in_value_and_gradient(beta, temperature, k):
    hidden, weight, targets, weights, teacher = problem()
    said = teacher if k is None else top_log_probs(teacher, k, temperature)
    rules = Rules(beta, temperature, soft=0.7)
    got = linear_distillation(hidden, weight, targets, weights, said, rules)
    want = linear_distillation_reference(hidden, weight, targets, weights, said, rules)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-3)
    ours = torch.autograd.grad(got.total / 3, (hidden, weight))
    for a, b in zip(ours, torch.autograd.grad(want[0] / 3, (hidden, weight)), strict=True):
        torch.testing.assert_close(a, b, rtol=2e-3, atol=2e-5)


def test_the_gradient_is_that_of_the_value():
    """Against finite differences, which know nothing of either implementation's derivative."""
    hidden, weight, targets, weights, teacher = problem()
    rules, step = Rules(0.3, 2.0, soft=1.0), 1e-2
    loss = linear_distillation(hidden, weight, targets, weights, teacher, rules).total
    (gradient,) = torch.autograd.grad(loss, hidden)
    direction = gradient / gradient.norm()

    def at(distance):
        moved = (hidden + distance * direction).detach()
        return linear_distillation(moved, weight, targets, weights, teacher, rules).total

    slope = float((at(step) - at(-step)).detach() / (2 * step))
    assert slope == pytest.approx(float(gradient.norm()), rel=1e-2)


def test_torch_agrees_on_both_kullback_leibler_divergences():
    hidden, weight, targets, weights, teacher = problem()
    log_q = (hidden @ weight.T)[:, :IDS].log_softmax(-1)
    log_p = teacher.log_probs(1.0)
    for beta, (one, other) in {0: (log_q, log_p), 1: (log_p, log_q)}.items():
        want = F.kl_div(one, other, reduction="none", log_target=True).sum(-1)
        got = linear_distillation(hidden, weight, targets, weights, teacher, Rules(beta, soft=1.0))
        torch.testing.assert_close(got.divergence, (want * weights).sum(), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("beta", [0, 0.5, 1])
def test_a_student_that_agrees_is_left_alone(beta):
    _, _, targets, weights, teacher = problem()
    hidden, weight = (t.clone().requires_grad_() for t in (teacher.hidden, teacher.weight))
    rules = Rules(beta, 2.0, soft=1.0)
    for said in (teacher, top_log_probs(teacher, 5, 2.0)):
        found = linear_distillation(hidden, weight, targets, weights, said, rules)
        assert abs(float(found.divergence)) < 1e-3
        (gradient,) = torch.autograd.grad(found.total, hidden)
        assert gradient.abs().max() < 1e-5


@pytest.mark.parametrize("beta", [0, 0.5, 1])
def test_knowing_more_of_the_teacher_never_lowers_the_divergence(beta):
    """Merging the rest into one class gives a lower bound, which becomes exact."""
    hidden, weight, targets, weights, teacher = problem()
    rules = Rules(beta, 1.5)
    parts = (hidden, weight, targets, weights)
    found = [
        float(linear_distillation(*parts, top_log_probs(teacher, k, 1.5), rules).divergence)
        for k in (1, 4, 16, 64, IDS - 1)
    ]
    whole = float(linear_distillation(*parts, teacher, rules).divergence)
    assert found == sorted(found) and found[0] < 0.9 * whole
    assert found[-1] == pytest.approx(whole, rel=1e-5)


def test_the_jensen_shannon_divergence_goes_over_into_both_others():
    """arXiv:2306.13649, section 3: divided by beta (or 1 - beta) its limits are the two KLs."""
    hidden, *rest, teacher = problem()
    near_each_other = Whole(teacher.hidden / 10, teacher.weight)
    parts = (hidden.detach() / 10, *rest, near_each_other)
    near = {b: float(linear_distillation(*parts, Rules(b)).divergence) for b in (0.01, 0.99)}
    forward, reverse = (float(linear_distillation(*parts, Rules(b)).divergence) for b in (0, 1))
    assert near[0.01] / 0.01 == pytest.approx(forward, rel=0.1)
    assert near[0.99] / 0.01 == pytest.approx(reverse, rel=0.1)
    assert float(linear_distillation(*parts, Rules(0.5)).divergence) < TOKENS * math.log(2)


def test_soft_gradients_keep_their_size_at_high_temperature():
    """What temperature^2 is for: near agreement the gradient nears that of matching logits."""
    parts = problem()
    sizes = [
        float(
            torch.autograd.grad(linear_distillation(*parts, Rules(0, t, soft=1.0)).total, parts[0])[
                0
            ].norm()
        )
        for t in (50.0, 100.0)
    ]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.05)


def test_logits_as_large_as_they_get_stay_finite():
    hidden, weight, targets, weights, teacher = problem()
    loud = Whole(teacher.hidden * 100, teacher.weight)
    for beta in (0, 0.5, 1):
        for said in (loud, top_log_probs(loud, 3, 1.0)):
            rules = Rules(beta)
            big = (hidden * 200).detach().requires_grad_()
            found = linear_distillation(big, weight, targets, weights, said, rules)
            (gradient,) = torch.autograd.grad(found.total, big)
            assert torch.isfinite(found.total) and torch.isfinite(gradient).all()


@pytest.mark.parametrize(("dtype", "rel"), [(torch.bfloat16, 0.05), (torch.float16, 0.01)])
def test_half_precision_is_close(dtype, rel):
    hidden, weight, targets, weights, teacher = problem(dtype=dtype)
    wide = [hidden.detach().float().requires_grad_(), weight, targets, weights]
    exact = Whole(teacher.hidden.float(), teacher.weight)
    rules = Rules(0.5, 2.0)
    got = linear_distillation(hidden, weight, targets, weights, teacher, rules)
    want = linear_distillation_reference(*wide, exact, rules)
    assert float(got.total.detach()) == pytest.approx(float(want[0]), rel=rel)
    ours = torch.autograd.grad(got.total, (hidden, weight))
    theirs = torch.autograd.grad(want[0], (wide[0], weight))
    for a, b in zip(ours, theirs, strict=True):
        assert float((a.float() - b).norm() / b.norm()) < rel


def test_nothing_to_learn_is_zero():
    hidden, weight, targets, weights, teacher = problem()
    none = slice(0, 0)
    found = linear_distillation(
        hidden[none], weight, targets[none], weights[none], teacher.part(none), Rules()
    )
    assert found.total == 0
    assert not torch.autograd.grad(found.total, weight)[0].any()


def test_no_whole_logits_are_ever_held():
    hidden, weight, targets, weights, teacher = problem()
    seen = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            seen.extend(t.numel() for t in (out,) if isinstance(t, torch.Tensor))
            return out

    with Watch():
        linear_distillation(hidden, weight, targets, weights, teacher, Rules(0.5, 2.0))
    assert max(seen) <= max(64 * PADDED, TOKENS * 24)


def test_a_student_with_fewer_ids_is_refused():
    hidden, weight, targets, weights, teacher = problem()
    with pytest.raises(ShapeError, match="has 80 ids, but the teacher speaks of 90"):
        linear_distillation(hidden, weight[:80], targets % 80, weights, teacher, Rules())


def test_the_rest_is_what_is_left():
    teacher = problem()[4]
    top = top_log_probs(teacher, 7, 2.0)
    assert isinstance(top, Top)
    torch.testing.assert_close(top.log_probs.exp().sum(-1), torch.ones(TOKENS))
    torch.testing.assert_close(
        top.log_probs[:, :-1], teacher.log_probs(2.0).gather(1, top.ids), rtol=1e-5, atol=1e-5
    )
