"""Rows for new tokens: where they come from, and that nothing else moves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from pydantic import ValidationError
from torch import Tensor

from yaongi.core.errors import ConfigError, ShapeError
from yaongi.model.engram import LARGEST
from yaongi.model.extend import INITS, Extension, grow
from yaongi.model.io import load_model, save_model
from yaongi.model.lm import LM, LMConfig
from yaongi.text.canonical import canonical_ids
from yaongi.text.vectors import Similar
from yaongi.train.objectives import MicroBatch, next_token

OLD, NEW, PADDED = 450, 454, 512
PIECES = [[1, 2], [300, 301, 302], [449], [7, 7, 8]]
SIMILAR = Similar(
    np.array([[3, 4], [5, 6], [9, 0], [10, 11]]),
    np.array([[0.25, 0.75], [0.5, 0.5], [1, 0], [0.1, 0.9]], np.float32),
)
CANONICAL = [*range(OLD), OLD, 5, OLD + 1, OLD]  # the second means what token 5 does
EXTENSION = Extension(OLD, NEW, PADDED, PIECES, CANONICAL, similar=SIMILAR)


def model(**changes: Any) -> LM:
    """Vocabulary 460: a few rows more than the tokenizer has ids."""
    data = tiny.lm(vocab_size=460).cfg.as_json() | changes
    found = LM(LMConfig.model_validate(data))
    found.init_weights(1)
    return found.eval()


def untied() -> LM:
    return model(tied=False)


@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize("tied", [True, False])
def test_everything_old_is_bit_for_bit_the_same(init: str, tied: bool) -> None:
    old = model(tied=tied)
    before = {name: t.clone() for name, t in old.state_dict().items()}
    if tied and init == "eeve":
        with pytest.raises(ConfigError, match=r"one matrix for both \(tied\)"):
            grow(old, EXTENSION, init=init)
        return
    grown = grow(old, EXTENSION, init=init)
    assert (grown.cfg.vocab_size, grown.cfg.used_ids) == (PADDED, NEW)
    for name, tensor in grown.state_dict().items():
        assert torch.equal(tensor[:OLD] if "layers" not in name else tensor, _rows(before[name]))
        assert tensor.isfinite().all() and tensor.dtype == before[name].dtype
    assert all(torch.equal(t, before[name]) for name, t in old.state_dict().items())
    ids = torch.tensor([[0, 5, 449, 12, 300, 7]])
    assert torch.equal(grown(ids).hidden, old(ids).hidden)
    logits = grown.logits(grown(ids).hidden)
    assert torch.allclose(logits[..., :OLD], old.logits(old(ids).hidden)[..., :OLD], atol=1e-6)
    with torch.no_grad():  # a copy: training it leaves the old one alone
        for parameter in grown.parameters():
            parameter.zero_()
    assert all(torch.equal(t, before[name]) for name, t in old.state_dict().items())


def _rows(tensor: Tensor) -> Tensor:
    return tensor[:OLD] if len(tensor) == 460 else tensor


def test_what_each_init_makes() -> None:
    old = untied()
    table, head = old.embeddings.weight.detach(), old.head_weight.detach()
    means = torch.stack([table[pieces].mean(0) for pieces in PIECES])

    def made(init: str) -> tuple[Tensor, Tensor]:
        grown = grow(old, EXTENSION, init=init)
        new = EXTENSION.new_rows
        return grown.embeddings.weight.detach()[new], grown.head_weight.detach()[new]

    assert torch.allclose(made("mean")[0], means)
    assert torch.allclose(made("mean")[1][1], head[300:303].mean(0))
    assert torch.allclose(made("eeve")[0], means)
    assert torch.equal(made("eeve")[1], head[[1, 300, 449, 7]])
    assert torch.allclose(made("focus")[0][0], 0.25 * table[3] + 0.75 * table[4])
    assert torch.allclose(made("focus")[1][2], head[9])
    random = made("random")[0]
    assert not torch.allclose(random[0], random[1])
    assert torch.equal(random, made("random")[0])
    other = grow(old, EXTENSION, init="random", seed=1).embeddings.weight[EXTENSION.new_rows]
    assert not torch.equal(random, other)


def test_padding_is_the_mean_and_no_part_of_a_loss() -> None:
    grown = grow(model(), EXTENSION)
    kept = grown.embeddings.weight[:OLD].mean(0)
    assert torch.allclose(grown.embeddings.weight[NEW:], kept.expand(PADDED - NEW, -1))
    ids = torch.randint(0, NEW, (2, 8), generator=torch.Generator().manual_seed(0))
    batch = MicroBatch(ids, ids, torch.ones(2, 8), torch.zeros(2, 8, dtype=torch.long))
    loss = next_token(grown, batch).nll
    with torch.no_grad():
        grown.embeddings.weight[NEW:] += 100
    assert torch.equal(next_token(grown, batch).nll, loss)
    next_token(grown, batch).nll.backward()
    gradient = grown.embeddings.weight.grad
    assert gradient is not None and not gradient[NEW:].any() and gradient[OLD:NEW].any()


def test_untold_padding_costs_little() -> None:
    """As a program sees it that knows nothing of it: at most its share of the softmax."""
    old = model()
    ids = torch.arange(40)[None]
    whole = old.logits(old(ids).hidden)[..., :OLD].logsumexp(-1)
    grown = grow(old, EXTENSION)
    logits = grown.logits(grown(ids).hidden)
    both = torch.cat([logits[..., :OLD], logits[..., NEW:]], -1).logsumexp(-1)
    assert ((both - whole) <= np.log1p((PADDED - NEW) / OLD) + 1e-5).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("tied", [True, False])
def test_a_grown_model_reads_back_equal(tmp_path: Path, tied: bool, dtype: torch.dtype) -> None:
    grown = grow(model(tied=tied).to(dtype), EXTENSION)
    save_model(grown, tmp_path)
    back = load_model(tmp_path)
    assert back.cfg == grown.cfg
    assert (back.head_weight is back.embeddings.weight) == tied
    ids = torch.tensor([[0, 451, 453, 3]])
    assert torch.equal(back(ids).hidden, grown(ids).hidden)
    assert back.state_dict().keys() == grown.state_dict().keys()
    assert all(torch.equal(t, grown.state_dict()[n]) for n, t in back.state_dict().items())


def test_engram_lends_numbers_to_tokens_of_like_meaning(tmp_path: Path) -> None:
    words = tiny.tokenizer()
    size = words.vocab_size
    old = tiny.lm("*-*-", engram=tiny.ENGRAM)
    canonical = [*canonical_ids(words), *[canonical_ids(words)[i] for i in (90, 91)], 10**6]
    extension = Extension(size, size + 3, 512, [[90, 80], [91, 80], [85, 86]], canonical)
    grown = grow(old, extension)
    assert grown.ngram_ids is not None and old.ngram_ids is not None
    numbers = grown.ngram_ids.canonical
    assert torch.equal(numbers[:size], old.ngram_ids.canonical[:size])
    assert numbers[size : size + 2].tolist() == numbers[[90, 91]].tolist()
    assert int(numbers[size + 2]) == 1 + int(numbers[:size].max())
    ids = torch.randint(0, size, (2, 9), generator=torch.Generator().manual_seed(0))
    assert torch.equal(grown(ids).hidden, old(ids).hidden)
    save_model(grown, tmp_path)
    assert torch.equal(load_model(tmp_path)(ids).hidden, old(ids).hidden)


def test_engram_models_that_cannot_grow() -> None:
    old = tiny.lm("*-*-", engram=tiny.ENGRAM)
    size = tiny.tokenizer().vocab_size
    foreign = Extension(size, size + 1, 512, [[90, 80]])
    with pytest.raises(ConfigError, match="yaongi's own tokenizers only"):
        grow(old, foreign)
    next(iter(old.engrams().values())).multipliers.fill_(LARGEST // size)
    ours = Extension(size, size + 100, 576, [[90, 80]] * 100, list(range(size + 100)))
    with pytest.raises(ShapeError, match="Add fewer"):
        grow(old, ours)


def test_what_does_not_belong_together_is_refused() -> None:
    with pytest.raises(ShapeError, match="from 461 tokens, but the model has rows for 460"):
        grow(model(), Extension(461, 462, 512, [[1]]))
    with pytest.raises(ConfigError, match="Did you mean 'mean'"):
        grow(model(), EXTENSION, init="means")
    with pytest.raises(ConfigError, match=r"similar.safetensors"):
        grow(model(), Extension(OLD, OLD + 1, 512, [[1]]), init="focus")
    with pytest.raises(ValidationError, match=r"used_ids \(461\) cannot be more than vocab_size"):
        model(used_ids=461)


def test_a_model_with_room_already_may_shrink() -> None:
    """Rows without tokens are nobody's: the padding is what the extension says."""
    grown = grow(model(), Extension(OLD, OLD + 1, 455, [[1, 2]]))
    assert grown.cfg.vocab_size == 455
    assert grown.training is False and grown.device.type == "cpu"
