"""New rows that learn to be read as their old pieces were, on a model trained for the purpose."""

from __future__ import annotations

import math
from pathlib import Path

import extended
import numpy as np
import pytest
import torch

from yaongi.core.errors import DataError, NumericsError
from yaongi.model.extend import Extension, grow
from yaongi.model.lm import LM, LMConfig
from yaongi.text.aligned import Aligned, aligned
from yaongi.text.extend import ExtendConfig, stage
from yaongi.text.foreign import AnyTokenizer, load_tokenizer
from yaongi.train.token_distillation import DistillConfig, distill_rows

TEXTS = extended.TEXTS[:5]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("extended")
    extended.make(where / "old", "ours")
    stage(ExtendConfig(add=60), where / "old", extended.TEXTS, where / "new")
    return where


@pytest.fixture(scope="module")
def texts(folder: Path) -> list[Aligned]:
    return list(aligned(TEXTS, *_tokenizers(folder), 128))


def _tokenizers(folder: Path) -> tuple[AnyTokenizer, AnyTokenizer]:
    return load_tokenizer(folder / "old"), load_tokenizer(folder / "new")


@pytest.fixture(scope="module")
def learnt(texts: list[Aligned], folder: Path) -> LM:
    """A model that knows the texts by heart, in old tokens."""
    size = load_tokenizer(folder / "old").vocab_size
    data = {"vocab_size": size, "d_model": 32, "pattern": "*-*-", "tied": False,
            "attention": {"n_heads": 2, "n_kv_heads": 1, "head_dim": 16, "rope_theta": 1e4},
            "mlp": {"d_ff": 64, "activation": "swiglu"}}  # fmt: skip
    model = LM(LMConfig.model_validate(data))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for step in range(60):
        ids = torch.from_numpy(texts[step % len(texts)].before)[None]
        loss = _nats(model, ids)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def _nats(model: LM, ids: torch.Tensor) -> torch.Tensor:
    logits = model.logits(model(ids[:, :-1]).hidden)[..., : model.cfg.used_ids]
    return torch.nn.functional.cross_entropy(logits[0], ids[0, 1:], reduction="sum")


def bpb(model: LM, texts: list[Aligned]) -> float:
    """Bits per byte of the texts in new tokens."""
    size = sum(len(text.encode()) for text in TEXTS)
    with torch.no_grad():
        nats = sum(_nats(model, torch.from_numpy(t.after)[None]).item() for t in texts)
    return nats / math.log(2) / size


def test_tokens_end_where_they_did(folder: Path, texts: list[Aligned]) -> None:
    old, new = _tokenizers(folder)
    for text, whole in zip(texts, TEXTS, strict=True):
        assert len(text.after) < len(text.before) and len(text.ends) == len(text.after)
        for t, end in enumerate(text.ends, 1):
            assert new.decode(text.after[:t]) == old.decode(text.before[: end + 1])
        assert whole.startswith(new.decode(text.after[1:]))
    (cut,) = aligned(TEXTS[:1], old, new, 20)
    assert len(cut.before) == 20 and cut.ends[-1] <= 19


@pytest.mark.parametrize("kind", ["qwen2", "llama-bpe"])
def test_foreign_tokenizers_align_too(tmp_path: Path, kind: str) -> None:
    extended.make(tmp_path / "old", kind)
    stage(ExtendConfig(add=60), tmp_path / "old", extended.TEXTS, tmp_path / "new")
    test_tokens_end_where_they_did(tmp_path, list(aligned(TEXTS, *_tokenizers(tmp_path), 1000)))


def test_every_init_beats_random_and_distillation_beats_all(
    folder: Path, texts: list[Aligned], learnt: LM
) -> None:
    extension = Extension.read(folder / "new")
    found = {init: bpb(grow(learnt, extension, init=init), texts)
             for init in ("random", "mean", "eeve", "focus")}  # fmt: skip
    grown = grow(learnt, extension)
    before = {name: t.clone() for name, t in grown.state_dict().items()}
    cfg = DistillConfig(steps=40, rows=2, lr=1e-2)
    losses = distill_rows(grown, learnt, extension, texts, cfg)
    found["distilled"] = bpb(grown, texts)
    print(found)
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])
    assert found["distilled"] < min(found[name] for name in ("mean", "eeve", "focus"))
    assert found["mean"] < found["random"] and found["eeve"] < found["random"]
    for name, tensor in grown.state_dict().items():
        table = name in ("embeddings.weight", "lm_head.weight")
        changed = {i for i in range(len(tensor)) if not torch.equal(tensor[i], before[name][i])}
        assert changed <= (set(range(extension.old_size, extension.new_size)) if table else set())
    assert all(p.grad is None for p in grown.parameters())


def test_the_same_seed_gives_the_same_rows(folder: Path, texts: list[Aligned], learnt: LM) -> None:
    extension = Extension.read(folder / "new")
    made = []
    for seed in (0, 0, 1):
        grown = grow(learnt, extension)
        distill_rows(grown, learnt, extension, texts, DistillConfig(steps=2, rows=2), seed)
        made.append(grown.embeddings.weight.detach())
    assert torch.equal(made[0], made[1]) and not torch.equal(made[0], made[2])


def test_nothing_to_learn_from_is_said(folder: Path, texts: list[Aligned], learnt: LM) -> None:
    extension = Extension.read(folder / "new")
    plain = list(aligned(["The cat."], *_tokenizers(folder), 64))
    grown = grow(learnt, extension)
    with pytest.raises(DataError, match="None of the texts has a new token"):
        distill_rows(grown, learnt, extension, plain, DistillConfig(steps=1))
    with torch.no_grad():
        grown.norm_f.weight.fill_(float("nan"))
    with pytest.raises(NumericsError, match="not finite"):
        distill_rows(grown, learnt, extension, texts, DistillConfig(steps=1))
