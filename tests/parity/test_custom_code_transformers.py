"""What no stock architecture holds runs in transformers by our modeling file, with our logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from shapes import config, tokens
from twin_checks import close

import yaongi
from yaongi.core.errors import ConfigError
from yaongi.interop.hf import export_hf, import_hf
from yaongi.model.io import save_model
from yaongi.model.lm import LM

transformers = pytest.importorskip("transformers")


def test_a_hybrid_with_positions(tmp_path: Path) -> None:
    model = tiny.lm("M*-E")
    router: Any = model.mixers()[3].gate
    router.e_score_correction_bias[:] = torch.linspace(-0.3, 0.3, 4)
    save_model(model, tmp_path / "ours")
    export_hf(tmp_path / "ours", tmp_path / "theirs", custom_code=True)
    theirs, report = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "theirs", trust_remote_code=True, output_loading_info=True
    )
    assert not any(report.values()), report
    ids = torch.randint(512, (2, 30), generator=torch.Generator().manual_seed(1))
    ours = yaongi.load(tmp_path / "ours", dtype="fp32")
    with torch.no_grad():
        close(theirs.eval()(ids).logits, ours.logits(ids), 1e-5)
    found = theirs.generate(ids, max_new_tokens=3, do_sample=False, eos_token_id=-1)
    assert found.shape == (2, 33)
    with pytest.raises(ValueError, match="no padding"):
        theirs(ids, attention_mask=ids > 5)


def test_it_comes_back(tmp_path: Path) -> None:
    model = tiny.lm("M*-E")
    save_model(model, tmp_path / "ours")
    export_hf(tmp_path / "ours", tmp_path / "theirs", custom_code=True)
    back = yaongi.load(import_hf(tmp_path / "theirs", tmp_path / "back").path)
    assert back.config == model.cfg
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, back.lm.state_dict()[name]), name


def test_engram(tmp_path: Path) -> None:
    """Memories with every weight random: their tables, hashing and gate must all come along."""
    pytest.importorskip("yaongi.model.engram", reason="no Engram in this tree")
    memories = {"layers": [1, 3], "heads": 2, "head_dim": 5, "rows": 30,
                "modules": {3: {"orders": [2, 4], "heads": 3, "rows": 40}}}  # fmt: skip
    model = LM(config("ME*EM-", engram=memories)).eval()
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if "engram" in name:  # some start at zero
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
    save_model(model, tmp_path / "ours")
    with pytest.raises(ConfigError, match="it has Engram memories; export its twin without"):
        export_hf(tmp_path / "ours", tmp_path / "stock")
    export_hf(tmp_path / "ours", tmp_path / "theirs", custom_code=True)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "theirs", trust_remote_code=True
    )
    ids = tokens(2, 30)
    with torch.no_grad():
        close(theirs.eval()(ids).logits, model.logits(model(ids).hidden), 1e-5)
    back = yaongi.load(import_hf(tmp_path / "theirs", tmp_path / "back").path).lm
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, back.state_dict()[name]), name
