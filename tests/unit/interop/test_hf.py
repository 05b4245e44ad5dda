"""Models in transformers' layout without that library: what is refused, and how it is said."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import foreign_tokenizers
import pytest
import safetensors.torch
import torch
from shapes import config

from yaongi.cli.main import run
from yaongi.core.artifact import draft, open_artifact, trace
from yaongi.core.errors import (
    ArtifactError,
    CapabilityError,
    CheckpointError,
    ConfigError,
    TokenizerError,
    YaongiError,
)
from yaongi.interop.hf import ARCHITECTURES, choose, export_hf, import_hf
from yaongi.interop.hf_files import INDEX, SINGLE, read_weights
from yaongi.model.io import load_model, save_model
from yaongi.model.lm import LM

LLAMA = {"n_heads": 2, "n_kv_heads": 1, "head_dim": 6, "rope_theta": 1e4}
MOE = {"n_experts": 5, "top_k": 2, "d_ff": 12, "activation": "swiglu", "router": "softmax",
       "bias_rate": 0.0}  # fmt: skip


def lm(pattern: str = "(*-)x2", **changes) -> LM:
    return LM(config(pattern, **{"attention": LLAMA, **changes}))


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    """A folder in transformers' layout, in shards."""
    save_model(lm(), tmp_path / "model")
    export_hf(tmp_path / "model", tmp_path / "llama", shard_bytes=3000)
    (tmp_path / "llama" / "manifest.json").unlink()  # as others' folders are
    return tmp_path / "llama"


def edit(folder: Path, **changes) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def reshape(folder: Path, name: str, change) -> str:
    """Apply ``change`` to one tensor where it lies; returns the shard."""
    shard = json.loads((folder / INDEX).read_text())["weight_map"][name]
    tensors = safetensors.torch.load_file(folder / shard)
    tensors[name] = change(tensors[name])
    safetensors.torch.save_file(tensors, folder / shard)
    return shard


def refused(folder: Path, error: type[YaongiError]) -> str:
    out = folder.parent / "out"
    with pytest.raises(error) as caught:
        import_hf(folder, out)
    assert not out.exists() and not out.with_name("out.partial").exists()
    return str(caught.value)


def test_a_whole_round(llama: Path, tmp_path: Path) -> None:
    made = import_hf(llama, tmp_path / "back")
    before, after = load_model(tmp_path / "model"), load_model(made.path)
    assert before.cfg.layers == after.cfg.layers and before.cfg.attention == after.cfg.attention
    for name, tensor in before.state_dict().items():
        assert torch.equal(tensor, after.state_dict()[name]), name


def test_an_unknown_architecture_lists_the_known_ones(llama: Path) -> None:
    edit(llama, model_type="gemma3")
    text = refused(llama, CapabilityError)
    assert "'gemma3' is not supported" in text
    assert all(kind in text for kind in ARCHITECTURES)


def test_a_tokenizer_whose_tokens_clash_is_not_imported(llama: Path) -> None:
    foreign_tokenizers.make(llama, None)
    spec = json.loads((llama / "tokenizer.json").read_text(encoding="utf-8"))
    spec["added_tokens"].append({**spec["added_tokens"][0], "content": "<|other|>"})
    (llama / "tokenizer.json").write_text(json.dumps(spec), encoding="utf-8")
    text = refused(llama, TokenizerError)
    assert "<|begin|> and <|other|>" in text


def test_a_missing_shard_is_named(llama: Path) -> None:
    shards = sorted(llama.glob("model-*.safetensors"))
    assert len(shards) > 3
    for path in shards[1:3]:
        path.unlink()
    text = refused(llama, CheckpointError)
    assert f"{len(shards)} shards, but 2 are missing: {shards[1].name}, {shards[2].name}" in text


def test_a_tensor_the_index_promises(llama: Path) -> None:
    index = json.loads((llama / INDEX).read_text())
    index["weight_map"]["model.layers.9.mlp.up_proj.weight"] = sorted(llama.glob("m*s"))[0].name
    (llama / INDEX).write_text(json.dumps(index))
    assert "promises the tensor model.layers.9.mlp.up_proj" in refused(llama, CheckpointError)


@pytest.mark.parametrize(
    "name", ["../model/model.safetensors", "/etc/passwd", "a/b.safetensors", "..", "..\\x", 3]
)
def test_an_index_cannot_name_files_elsewhere(llama: Path, name) -> None:
    index = json.loads((llama / INDEX).read_text())
    index["weight_map"]["model.norm.weight"] = name
    (llama / INDEX).write_text(json.dumps(index))
    assert "must be a file in the same folder" in refused(llama, CheckpointError)


def test_a_shape_mismatch_says_tensor_expected_found(llama: Path) -> None:
    reshape(llama, "model.layers.1.self_attn.k_proj.weight", lambda t: t[:-1].clone())
    text = refused(llama, CheckpointError)
    assert "model.layers.1.self_attn.k_proj.weight is (5, 22); the config expects (6, 22)" in text


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite(llama: Path, value: float) -> None:
    def spoil(t: torch.Tensor) -> torch.Tensor:
        t[1, 2:4] = value
        return t

    reshape(llama, "model.layers.0.mlp.down_proj.weight", spoil)
    text = refused(llama, CheckpointError)
    assert "2 of 880 numbers in the tensor model.layers.0.mlp.down_proj.weight" in text


def test_missing_and_unknown_tensors(llama: Path) -> None:
    edit(llama, num_hidden_layers=3)
    assert "lacks the tensor model.layers.2.input_layernorm.weight (22,)" in refused(
        llama, CheckpointError
    )
    edit(llama, num_hidden_layers=1)
    assert "has a tensor model.layers.1.input_layernorm.weight" in refused(llama, CheckpointError)


def test_numbers_that_are_quantized(llama: Path) -> None:
    edit(llama, quantization_config={"quant_method": "gptq"})
    assert "quantized" in refused(llama, CapabilityError)
    edit(llama, quantization_config=None)
    reshape(llama, "model.norm.weight", lambda t: t.to(torch.int8))
    assert "model.norm.weight is int8; expected float32" in refused(llama, CheckpointError)


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("hidden_act", "gelu", "hidden_act is 'gelu'; yaongi has layers for 'silu' only"),
        ("mlp_bias", True, "mlp_bias is True"),
        ("rope_parameters", {"rope_type": "yarn", "rope_theta": 1e4}, "of type 'yarn'"),
        ("partial_rotary_factor", 0.5, "partial_rotary_factor is 0.5"),
    ],
)
def test_settings_without_a_layer(llama: Path, setting: str, value, words: str) -> None:
    edit(llama, **{setting: value})
    assert words in refused(llama, CapabilityError)


def test_a_missing_setting(llama: Path) -> None:
    edit(llama, intermediate_size=None)
    assert "has no setting 'intermediate_size'" in refused(llama, ConfigError)


def test_settings_that_do_not_fit(llama: Path) -> None:
    edit(llama, num_key_value_heads=3)
    assert "n_heads (2) must be a multiple of n_kv_heads (3)" in refused(llama, ConfigError)


def test_a_tied_head_may_lie_there_if_it_is_the_embedding(llama: Path, tmp_path: Path) -> None:
    tensors = read_weights(llama)
    for path in llama.glob("model*"):
        path.unlink()
    head = {"lm_head.weight": tensors["model.embed_tokens.weight"].clone()}
    old = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(3)}
    safetensors.torch.save_file(tensors | head | old, llama / SINGLE)
    import_hf(llama, tmp_path / "same")
    head["lm_head.weight"][3] += 1
    safetensors.torch.save_file(tensors | head, llama / SINGLE)
    assert "ties lm_head.weight to the embedding, but the two differ" in refused(
        llama, CheckpointError
    )


def test_no_weights_and_no_folder(llama: Path) -> None:
    for path in llama.glob("model*"):
        path.unlink()
    (llama / "consolidated.pth").touch()
    assert "Found consolidated.pth" in refused(llama, CheckpointError)
    text = refused(llama.parent / "Qwen" / "Qwen3-0.6B", ArtifactError)
    assert "yaongi pull" in text


class Program:
    """What a malicious pickle does when it is read: here, a file appears."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def pickled(llama: Path, content) -> Path:
    for path in llama.glob("model*"):
        path.unlink()
    torch.save(content, llama / "pytorch_model.bin")
    return llama


def test_pickles_need_trust(llama: Path, tmp_path: Path) -> None:
    tensors = read_weights(llama)
    assert "can run a program hidden in it" in refused(pickled(llama, tensors), CapabilityError)
    made = import_hf(llama, tmp_path / "trusted", trust_pickle=True)
    assert made.manifest.counts["parameters"] == sum(t.numel() for t in tensors.values())
    (llama / "pytorch_model.bin").rename(llama / "full_sft.pth")
    import_hf(llama / "full_sft.pth", tmp_path / "one-file", trust_pickle=True)


def test_even_a_trusted_pickle_runs_nothing(llama: Path, tmp_path: Path) -> None:
    trap = tmp_path / "ran"
    pickle.loads(pickle.dumps(Program(trap)))
    assert trap.exists(), "the trap itself works"
    trap.unlink()
    pickled(llama, {"model.norm.weight": torch.ones(22), "x": Program(trap)})
    with pytest.raises(CheckpointError, match="holds more than tensors"):
        import_hf(llama, tmp_path / "out", trust_pickle=True)
    assert not trap.exists()


def test_a_pickle_that_is_no_table(llama: Path, tmp_path: Path) -> None:
    pickled(llama, {"model": {"a": torch.ones(1)}})
    with pytest.raises(CheckpointError, match="not a table of tensors"):
        import_hf(llama, tmp_path / "out", trust_pickle=True)


def test_older_spellings_of_rope(llama: Path, tmp_path: Path) -> None:
    scaling = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 64, "type": "llama3"}  # fmt: skip
    edit(llama, rope_parameters=None, rope_theta=5e5, rope_scaling=scaling)
    attention: Any = load_model(import_hf(llama, tmp_path / "out").path).cfg.attention
    assert attention.rope_theta == 5e5
    assert attention.rope_scaling.factor == 8 and attention.rope_scaling.original_context == 64


def test_a_sliding_window_bounds_the_context(llama: Path, tmp_path: Path) -> None:
    edit(llama, model_type="mistral", sliding_window=100, max_position_embeddings=4096)
    made = import_hf(llama, tmp_path / "window")
    assert made.manifest.config["seq_len"] == 100
    export_hf(made.path, tmp_path / "again")
    settings = json.loads((tmp_path / "again/config.json").read_text())
    assert settings["model_type"] == "mistral" and settings["max_position_embeddings"] == 100


def test_minimind_is_qwen3_by_another_name(tmp_path: Path) -> None:
    qk = {**LLAMA, "qk_norm": True, "rope_theta": 1e6}
    save_model(lm("(*E)x2", attention=qk, moe=MOE), tmp_path / "model")
    export_hf(tmp_path / "model", tmp_path / "qwen")
    (tmp_path / "qwen" / "manifest.json").unlink()
    edit(tmp_path / "qwen", model_type="minimind", use_moe=True, rope_parameters=None)
    back: Any = load_model(import_hf(tmp_path / "qwen", tmp_path / "back").path)
    assert back.cfg.layers == "*E*E" and back.cfg.attention.rope_theta == 1e6
    assert back.cfg.moe.router == "softmax"


PRESETS_TO = {
    "nemotron_h": ["5m", "61m-a25m", "146m", "0.5b-a0.1b", "yaongi-4b-a0.6b-stock", "bench-hybrid"],
    "llama": ["26m", "smallm-39m", "bench-dense"],
    "qwen3": ["minimind-64m"],
    "qwen3_moe": ["minimind-198m-a64m"],
    "mamba2": ["26m-mamba"],
}


@pytest.mark.parametrize(("kind", "presets"), PRESETS_TO.items())
def test_every_preset_has_an_architecture(kind: str, presets: list[str]) -> None:
    from yaongi.model.presets import preset

    for name in presets:
        assert choose(preset(name))[0].model_type == kind, name


def test_a_model_that_fits_nothing_is_told_why(tmp_path: Path) -> None:
    save_model(lm("M*-"), tmp_path / "odd")
    with pytest.raises(ConfigError) as caught:
        export_hf(tmp_path / "odd", tmp_path / "out")
    text = str(caught.value)
    assert "nemotron_h: attention has RoPE" in text and "mamba2: not every layer" in text
    assert all(kind in text for kind in ARCHITECTURES)
    assert not (tmp_path / "out").exists()


def test_plug_in_layers_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nemotron_h: layer 'R' is a plug-in"):
        choose(config("MR"))


def test_a_selection_bias_without_a_place(tmp_path: Path) -> None:
    model = lm("(*E)x2", attention={**LLAMA, "qk_norm": True}, moe=MOE)
    router: Any = model.mixers()[3].gate
    router.e_score_correction_bias[1] = 0.01
    save_model(model, tmp_path / "moved")
    with pytest.raises(ConfigError, match=r"no place for layers\.3\.mixer\.gate\.e_score"):
        export_hf(tmp_path / "moved", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_half_precision_decay_rates_are_exact_again(tmp_path: Path) -> None:
    mamba = {"n_heads": 4, "head_dim": 11, "n_groups": 2, "d_state": 7}
    save_model(LM(config("Mx2", mamba=mamba)), tmp_path / "model")
    export_hf(tmp_path / "model", tmp_path / "theirs")
    whole = {n: t.bfloat16() for n, t in read_weights(tmp_path / "theirs").items()}
    safetensors.torch.save_file(whole, tmp_path / "theirs" / SINGLE)
    (tmp_path / "theirs" / "manifest.json").unlink()
    made = import_hf(tmp_path / "theirs", tmp_path / "back")
    loaded = load_model(made.path).state_dict()
    assert loaded["layers.0.mixer.A_log"].dtype == torch.float32
    assert loaded["layers.0.mixer.in_proj.weight"].dtype == torch.bfloat16


def test_ancestry_and_licences_go_through(tmp_path: Path) -> None:
    with draft(tmp_path / "base", "base", config={"seq_len": 48}) as work:
        save_model(lm(), work.path)
        (work.path / "NOTICE").write_text("theirs")
        work.finish(licences=["cc-by-nc-4.0", "llama3.2"])
    export_hf(tmp_path / "base", tmp_path / "hf")
    assert (tmp_path / "hf/NOTICE").read_text() == "theirs"
    made = import_hf(tmp_path / "hf", tmp_path / "back")
    assert made.manifest.licences == ["cc-by-nc-4.0", "llama3.2"]
    assert [node.kind for _, node in trace(made.path)] == ["base", "hf", "base"]
    assert made.manifest.config["seq_len"] == 48
    with pytest.raises(ArtifactError, match="exists already"):
        export_hf(tmp_path / "base", tmp_path / "hf")


def test_a_damaged_model_is_not_exported(tmp_path: Path) -> None:
    with draft(tmp_path / "base", "base", config={}) as work:
        save_model(lm(), work.path)
        work.finish()
    with (tmp_path / "base" / SINGLE).open("r+b") as stream:
        stream.seek(-1, 2)
        stream.write(b"\x7f")
    with pytest.raises(ArtifactError, match="damaged"):
        export_hf(tmp_path / "base", tmp_path / "hf")


def test_the_commands(llama: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (llama / "README.md").write_text("---\nlicense: llama3.2\n---\n# A model\n")
    assert run(["import", str(llama), "--out", str(tmp_path / "in"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["architecture"] == "llama" and told["licences"] == ["llama3.2"]
    assert "Built with Llama" in told["terms"][0] and "begins with “Llama”" in told["terms"][1]
    assert open_artifact(tmp_path / "in").manifest.licences == ["llama3.2"]
    to = ["export", str(tmp_path / "in"), "--to", "hf", "--out", str(tmp_path / "out")]
    assert run([*to, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["architecture"] == "llama"
    assert run([*to, "--quant", "q8_0"]) == 2
    assert "has no option 'quant'" in capsys.readouterr().err
    assert run([*to[:2], "--to", "hff", "--out", str(tmp_path / "x")]) == 2
    assert "'hff' is not a known export target. Did you mean 'hf'?" in capsys.readouterr().err
    assert run(["import", str(tmp_path / "in"), "--out", str(tmp_path / "y")]) == 2
    assert "a model of yaongi already" in capsys.readouterr().err
