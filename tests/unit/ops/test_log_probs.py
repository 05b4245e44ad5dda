"""Log-probabilities of tokens chunk by chunk equal those of the whole logits."""

import pytest
import torch

from yaongi.ops.cross_entropy import chunked
from yaongi.ops.cross_entropy.log_probs import linear_log_probs


@pytest.mark.parametrize("tokens", [0, 1, 300])
def test_equals_log_softmax_in_value_and_gradient(monkeypatch, tokens):
    monkeypatch.setattr(chunked, "CHUNK_ELEMENTS", {"cpu": 90 * 64})
    monkeypatch.setattr(chunked, "MIN_TOKENS", 64)
    g = torch.Generator().manual_seed(0)
    hidden = torch.randn(tokens, 16, generator=g).requires_grad_()
    weight = torch.randn(90, 16, generator=g).requires_grad_()
    targets = torch.randint(90, (tokens,), generator=g)
    by_token = torch.randn(tokens, generator=g)  # a loss that weighs each differently
    found = linear_log_probs(hidden, weight, targets)
    expected = (hidden @ weight.T).log_softmax(-1).gather(1, targets[:, None])[:, 0]
    torch.testing.assert_close(found, expected)
    if tokens:
        for got, want in zip(
            torch.autograd.grad((found.exp() * by_token).sum(), (hidden, weight)),
            torch.autograd.grad((expected.exp() * by_token).sum(), (hidden, weight)),
            strict=True,
        ):
            torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-6)


def test_half_precision_comes_back_as_float32():
    hidden = torch.randn(5, 8, dtype=torch.bfloat16)
    found = linear_log_probs(hidden, torch.randn(30, 8), torch.zeros(5, dtype=torch.long))
    assert found.dtype == torch.float32
