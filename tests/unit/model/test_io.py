"""Saving and loading: what was saved comes back, and damage is named."""

from __future__ import annotations

import json
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from shapes import NANO_LIKE, config, model, tokens

from yaongi.core.errors import ArtifactError, CheckpointError, ConfigError
from yaongi.model.io import load_config, load_model, save_model
from yaongi.model.lm import LM


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("pattern", [NANO_LIKE, "(*-)x2"])
def test_round_trip(tmp_path, pattern, tied):
    lm = model(pattern, tied=tied).eval()
    for i, mixer in enumerate(lm.mixers()):
        mixer.after_step(torch.arange(5.0)) if i in (1, 3) else None
    save_model(lm, tmp_path)
    back = load_model(tmp_path)
    assert back.cfg == lm.cfg
    assert not back.training
    assert torch.equal(back(tokens(2, 9)).hidden, lm(tokens(2, 9)).hidden)
    state, again = lm.state_dict(), back.state_dict()
    assert state.keys() == again.keys()
    assert all(torch.equal(state[k], again[k]) for k in state)


def test_a_tied_head_is_stored_once(tmp_path):
    lm = model("M", tied=True)
    save_model(lm, tmp_path)
    names = load_file(tmp_path / "model.safetensors")
    assert [n for n in names if "embeddings" in n or "head" in n] == ["embeddings.weight"]
    back = load_model(tmp_path)
    assert back.head_weight is back.embeddings.weight


def test_loading_in_bfloat16_keeps_what_must_stay_exact(tmp_path):
    save_model(model(NANO_LIKE), tmp_path)
    lm = load_model(tmp_path, dtype=torch.bfloat16)
    kept = {n.split(".")[-1] for n, p in lm.named_parameters() if p.dtype == torch.float32}
    assert kept == {"A_log", "D", "dt_bias"}
    assert lm.mixers()[1].gate.e_score_correction_bias.dtype == torch.float32
    ids = tokens(1, 12)
    exact = load_model(tmp_path)(ids).hidden
    assert (lm(ids).hidden - exact).norm() < 0.2 * exact.norm()
    state = lm.init_state(1, 12)
    for t in range(12):
        state = lm(ids[:, t : t + 1], state=state).state
    assert state.length == 12


def damaged(tmp_path, change):
    save_model(model("M*"), tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def test_a_missing_tensor_is_named(tmp_path):
    damaged(tmp_path, lambda t: t.pop("layers.1.mixer.q_proj.weight"))
    with pytest.raises(CheckpointError, match=r"lacks the tensor layers.1.mixer.q_proj.weight"):
        load_model(tmp_path)


def test_an_unknown_tensor_is_named(tmp_path):
    damaged(tmp_path, lambda t: t.update(extra=torch.ones(2)))
    with pytest.raises(CheckpointError, match=r"has a tensor extra"):
        load_model(tmp_path)


def test_a_wrong_shape_is_named_with_both(tmp_path):
    damaged(tmp_path, lambda t: t.update({"norm_f.weight": torch.ones(3)}))
    with pytest.raises(CheckpointError, match=r"norm_f.weight is \(3,\); the config expects \(22"):
        load_model(tmp_path)


@pytest.mark.parametrize("keep", [0, 5, 200, -10])
def test_a_truncated_file_is_named(tmp_path, keep):
    save_model(model("M"), tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"model.safetensors is not readable.*cut short"):
        load_model(tmp_path)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(ArtifactError, match=r"config.json is missing"):
        load_model(tmp_path)
    save_model(model("M"), tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model.safetensors is missing"):
        load_model(tmp_path)


def test_a_config_of_something_else_is_named(tmp_path):
    save_model(model("M"), tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": 3}))
    with pytest.raises(ConfigError, match=r"config.json.*hidden_size is not a setting"):
        load_model(tmp_path)


def test_loading_never_imports_the_plugin_a_file_names(tmp_path, monkeypatch):
    save_model(model("R"), tmp_path)
    assert isinstance(load_model(tmp_path), LM)  # imported by this test already
    data = json.loads((tmp_path / "config.json").read_text())
    data["letters"]["R"]["kind"] = "antigravity:Layer"
    (tmp_path / "config.json").write_text(json.dumps(data))
    monkeypatch.delitem(sys.modules, "antigravity", raising=False)
    with pytest.raises(CheckpointError, match=r"import antigravity first if you trust it"):
        load_config(tmp_path)
    assert "antigravity" not in sys.modules


def test_the_saved_config_is_complete(tmp_path):
    save_model(model("M*"), tmp_path)
    assert load_config(tmp_path) == config("M*")
