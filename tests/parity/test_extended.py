"""A model grown by new tokens, in other programs: the same ids, the same logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import extended
import llamacpp
import pytest
import text_sample
import torch

import yaongi
from yaongi.interop.gguf import export_gguf
from yaongi.interop.hf import export_hf, import_hf
from yaongi.model.extend import Extension, grow
from yaongi.model.io import save_model
from yaongi.model.lm import LM, LMConfig
from yaongi.text.extend import ExtendConfig, stage
from yaongi.text.foreign import save_tokenizer
from yaongi.text.normalize import nfc

TEXTS = [*map(nfc, text_sample.HARD_TEXTS), *extended.TEXTS[:5], *extended.PLAIN]


@pytest.fixture(params=[(k, t) for k in extended.KINDS for t in (True, False)], ids=str,
                scope="module")  # fmt: skip
def folder(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``grown``: a model of Llama's shape with more tokens than it was made with."""
    kind, tied = request.param
    where = tmp_path_factory.mktemp("grown")
    extended.make(where / "old", kind)
    stage(ExtendConfig(add=60), where / "old", extended.TEXTS, where / "new")
    data = {"vocab_size": 410, "d_model": 32, "pattern": "*-*-", "tied": tied, "init_std": 0.3,
            "attention": {"n_heads": 2, "n_kv_heads": 1, "head_dim": 16, "rope_theta": 1e4},
            "mlp": {"d_ff": 64, "activation": "swiglu"}}  # fmt: skip
    model = grow(LM(LMConfig.model_validate(data)), Extension.read(where / "new"))
    save_model(model, where / "grown")
    save_tokenizer(where / "new", where / "grown")
    return where


def test_transformers(folder: Path) -> None:
    transformers = pytest.importorskip("transformers")
    export_hf(folder / "grown", folder / "hf")
    ours = yaongi.load(folder / "grown")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder / "hf")
    words = transformers.AutoTokenizer.from_pretrained(folder / "hf")
    assert ours.tokenizer is not None
    for text in TEXTS:
        ids = ours.tokenizer.encode(text)
        if "<|" not in text:  # which transformers takes for control tokens
            assert words.encode(text, add_special_tokens=False) == ids
            assert words.decode(ids) == text
        if ids:
            with torch.no_grad():
                found = theirs(torch.tensor([ids])).logits
            assert torch.allclose(found, ours.logits([ids]), atol=1e-4)
    back = yaongi.load(import_hf(folder / "hf", folder / "back").path)
    assert torch.equal(back.lm.head_weight, ours.lm.head_weight)


def test_llama_cpp(folder: Path) -> None:
    pytest.importorskip("xllamacpp", reason=llamacpp.REASON)
    file = folder / "model.gguf"
    export_gguf(folder / "grown", file, quant="f32", context_len=256)
    ours = yaongi.load(folder / "grown")
    assert ours.tokenizer is not None
    with llamacpp.opened(file, 256) as theirs:
        for text in TEXTS:
            assert theirs.tokenize(text) == ours.tokenizer.encode(text)
        prompt = ours.tokenizer.text_ids(extended.TEXTS[0])
        assert max(prompt) >= Extension.read(folder / "new").old_size
        found = theirs.most_likely(prompt, ours.tokenizer.encode("a")[0])
    wanted = ours.logits([prompt])[0, -1].log_softmax(-1)
    assert wanted.max() - wanted.median() > 1, "flat: nothing to compare"
    for token, value in found.items():
        assert value == pytest.approx(float(wanted[token]), abs=1e-4)
