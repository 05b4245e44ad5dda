"""llama.cpp computes from an exported file what the model computes: probabilities and choices."""

from __future__ import annotations

import llamacpp
import pytest
import tiny
import torch
from odd_models import GRAPHS, odd, saved

from yaongi.interop.gguf import export_gguf
from yaongi.model.lm import LM

pytest.importorskip("xllamacpp", reason=llamacpp.REASON)

ENDS = [0, 3]  # <|endoftext|> and <|im_end|>: llama.cpp ends there
TEXT = (
    "안녕하세요. 12 더하기 34는 46입니다. def f(x):\n    return x + 1\n고양이가 야옹 하고 울었어요."
)


@pytest.fixture(scope="module")
def prompt() -> list[int]:
    tokenizer = tiny.tokenizer()
    return [tokenizer.eot_id, *tokenizer.encode(TEXT)]


@torch.no_grad()
def log_probs(model: LM, ids: list[int]) -> torch.Tensor:
    return model.logits(model(torch.tensor([ids])).hidden)[0, -1].log_softmax(-1)


def greedy(model: LM, ids: list[int], count: int) -> list[int]:
    said: list[int] = []
    for _ in range(count):
        scores = log_probs(model, ids + said)
        scores[ENDS] = -torch.inf
        said.append(int(scores.argmax()))
    return said


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("graph", GRAPHS)
def test_same_probabilities_and_the_same_choices(graph, seed, prompt, tmp_path):
    model, file = odd(graph, seed), tmp_path / "model.gguf"
    facts = export_gguf(saved(model, tmp_path / "m"), file, quant="f32", context_len=128)
    assert facts["architecture"] == graph
    say = tiny.tokenizer().encode("a")[0]
    with llamacpp.opened(file) as llama:
        for length in (1, 2, 9, len(prompt)):
            ours = log_probs(model, prompt[:length])
            assert ours.max() - ours.median() > 1, "flat: nothing to compare"
            theirs = llama.most_likely(prompt[:length], say)
            assert set(theirs) == set(ours.topk(5).indices.tolist())
            for token, value in theirs.items():
                assert value == pytest.approx(float(ours[token]), abs=1e-4)
        assert llama.greedy(prompt, 12) == greedy(model, prompt, 12)


def test_another_model_is_told_apart(prompt, tmp_path):
    """The comparison above can fail."""
    file = tmp_path / "model.gguf"
    export_gguf(saved(odd("llama", 0), tmp_path / "m"), file, quant="f32", context_len=128)
    other = odd("llama", 1)
    with llamacpp.opened(file) as llama:
        theirs = llama.most_likely(prompt, tiny.tokenizer().encode("a")[0])
        assert llama.greedy(prompt, 12) != greedy(other, prompt, 12)
    ours = log_probs(other, prompt)
    assert max(abs(value - float(ours[token])) for token, value in theirs.items()) > 0.1
