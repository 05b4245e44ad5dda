"""What an exported file says, which models are refused with which words, and that nothing
half-written stays."""

from __future__ import annotations

import errno
import re
import sys

import gguf
import numpy as np
import pytest
import tiny
import torch
from odd_models import GRAPHS, odd, saved

import yaongi.interop.gguf.file as file_module
from yaongi.core.artifact import draft
from yaongi.core.errors import (
    ArtifactError,
    CapabilityError,
    CheckpointError,
    ConfigError,
    NumericsError,
    StorageError,
    TokenizerError,
)
from yaongi.core.install import install_command
from yaongi.interop.gguf import QUANTS, export_gguf
from yaongi.interop.gguf.architectures import architecture
from yaongi.interop.gguf.tensors import targets
from yaongi.interop.gguf.types import choose
from yaongi.model.io import save_model
from yaongi.model.lm import LM, LMConfig
from yaongi.model.presets import PRESETS, preset
from yaongi.text.chat import CHAT_TEMPLATE


@pytest.fixture
def folder(tmp_path):
    return saved(odd("llama", 0), tmp_path / "model")


def field(path, key):
    return gguf.GGUFReader(path).fields[key].contents()


# --- what the file says --------------------------------------------------------------------------


def test_it_says_what_it_is(tmp_path):
    model = odd("nemotron_h_moe", 0)
    with draft(tmp_path / "야옹이", "base", config={"seq_len": 96}) as work:
        saved(model, work.path)
        work.finish(licences=["CC0", "apache-2.0"])
    out = tmp_path / "new" / "m.gguf"
    facts = export_gguf(tmp_path / "야옹이", out, quant="bf16")
    assert facts["bytes"] == out.stat().st_size
    expected = {
        "general.architecture": "nemotron_h_moe",
        "general.type": "model",
        "general.name": "야옹이",
        "general.license": "CC0 AND apache-2.0",
        "general.quantization_version": 2,
        "general.file_type": int(gguf.LlamaFileType.MOSTLY_BF16),
        "nemotron_h_moe.context_length": 96,
        "nemotron_h_moe.block_count": model.cfg.n_layers,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "llama-bpe",
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.padding_token_id": 1,
        "tokenizer.ggml.eos_token_id": 3,
        "tokenizer.ggml.eot_token_id": 3,
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.ggml.add_eos_token": False,
        "tokenizer.chat_template": CHAT_TEMPLATE,
    }
    assert {key: field(out, key) for key in expected} == expected


def test_tokens_have_their_types_and_spare_ids_are_unused(tmp_path):
    tokenizer = tiny.tokenizer()
    data = preset("5m", vocab_size=tokenizer.vocab_size + 2, d_model=32).as_json()
    model = saved(LM(LMConfig.model_validate(data)), tmp_path / "m")
    export_gguf(model, tmp_path / "m.gguf", context_len=8)
    names, types = (
        field(tmp_path / "m.gguf", f"tokenizer.ggml.{k}") for k in ("tokens", "token_type")
    )
    assert names[:4] == ["<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>"]
    assert types == [3] * 74 + [1] * (tokenizer.vocab_size - 74) + [5] * 2


@pytest.mark.parametrize("graph", GRAPHS)
def test_exported_weights_are_ours(graph, tmp_path):
    """Every tensor under llama.cpp's own list of names, and as f32 the very numbers."""
    model = odd(graph, 1)
    export_gguf(saved(model, tmp_path / "m"), tmp_path / "m.gguf", quant="f32", context_len=8)
    arch = next(k for k, v in gguf.MODEL_ARCH_NAMES.items() if v == graph)
    known = {gguf.TENSOR_NAMES[t] for t in gguf.MODEL_TENSORS[arch]}
    theirs = {t.name: t.data for t in gguf.GGUFReader(tmp_path / "m.gguf").tensors}
    state = model.state_dict()
    for target in targets(model.cfg, architecture(model.cfg)):
        plain = re.sub(r"^blk\.\d+", "blk.{bid}", target.name).removesuffix(".weight")
        assert plain.removesuffix(".bias") in known, target.name
        expected = target.make(state.__getitem__)
        assert np.array_equal(theirs.pop(target.name), expected.numpy()), target.name
    assert not theirs


def test_every_format_of_the_package_is_offered():
    numbers = np.zeros((1, 256), np.float32)
    able = set()
    for kind in gguf.GGMLQuantizationType:
        try:
            gguf.quants.quantize(numbers, kind)
        except NotImplementedError:
            continue
        able.add(kind.name.lower())
    assert able == set(QUANTS)


# --- refused models ------------------------------------------------------------------------------

A = {"n_heads": 2, "n_kv_heads": 1, "head_dim": 8}
ROTATED = {**A, "rope_theta": 1e4}
M = {"n_heads": 2, "head_dim": 8, "d_state": 4}
E = {"n_experts": 3, "top_k": 1, "d_ff": 8, "d_shared": 8}
SOFTMAX = {**E, "router": "softmax", "activation": "swiglu", "d_shared": 0}
SWIGLU = {"d_ff": 8, "activation": "swiglu"}
REFUSED = {
    "mixed feed-forward": (
        {"pattern": "M*-E", "attention": A, "mamba": M, "mlp": {"d_ff": 8}, "moe": E},
        "The pattern M*-E mixes '-' and 'E'",
    ),
    "no shared expert": (
        {"pattern": "M*E", "attention": A, "mamba": M, "moe": {**E, "d_shared": 0}},
        "nemotron_h_moe, needs moe.d_shared: 16 (it is 0)",
    ),
    "norms where the graph has none": (
        {"pattern": "M*-", "attention": {**A, "qk_norm": True}, "mamba": M, "mlp": {"d_ff": 8}},
        "nemotron_h, needs attention.qk_norm: false (it is true)",
    ),
    "positions in a hybrid": (
        {"pattern": "M*-", "attention": ROTATED, "mamba": M, "mlp": {"d_ff": 8}},
        "attention.rope_theta: null (it is 10000.0)",
    ),
    "several things at once": (
        {"pattern": "M*E", "attention": A, "mamba": M, "moe": SOFTMAX},
        'moe.activation: "relu2" (it is "swiglu"); moe.router: "sigmoid" (it is "softmax"); '
        "moe.d_shared",
    ),
    "no positions": (
        {"pattern": "*-", "attention": A, "mlp": SWIGLU},
        "llama, needs attention.rope_theta: 10000.0 (it is null)",
    ),
    "experts without norms": (
        {"pattern": "*E", "attention": ROTATED, "moe": SOFTMAX},
        "qwen3moe, needs attention.qk_norm: true (it is false)",
    ),
    "scaled experts": (
        {
            "pattern": "*E",
            "attention": {**ROTATED, "qk_norm": True},
            "moe": {**SOFTMAX, "scale": 2},
        },
        "qwen3moe, needs moe.scale: 1.0 (it is 2.0)",
    ),
    "biases and norms": (
        {"pattern": "*-", "attention": {**ROTATED, "qk_norm": True, "bias": "qkv"}, "mlp": SWIGLU},
        'qwen3, needs attention.bias: "none" (it is "qkv")',
    ),
    "gelu": (
        {"pattern": "*-", "attention": ROTATED, "mlp": {"d_ff": 8, "activation": "gelu"}},
        'llama, needs mlp.activation: "swiglu" (it is "gelu")',
    ),
    "no attention": (
        {"pattern": "M-", "mamba": M, "mlp": {"d_ff": 8}},
        "at least one '*' in the pattern",
    ),
    "no Mamba": (
        {"pattern": "**-", "attention": A, "mlp": {"d_ff": 8}},
        "at least one 'M' in the pattern",
    ),
    "a plug-in": (
        {"pattern": "MR", "mamba": M, "letters": {"R": {"kind": "shapes:DecayConfig"}}},
        "does not know the layers 'R' of the plug-in shapes:DecayConfig",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_models_no_graph_computes(case):
    settings, message = REFUSED[case]
    cfg = LMConfig.model_validate({"vocab_size": 450, "d_model": 16, **settings})
    with pytest.raises(CapabilityError, match=re.escape(message)):
        architecture(cfg)


def test_engram_is_refused_and_the_twin_offered():
    cfg = preset("5m").model_copy(update={"engram": {"layers": [2]}})
    with pytest.raises(CapabilityError, match=r"Engram.* twin 'yaongi-4b-a0.6b-stock'"):
        architecture(cfg)
    assert "yaongi-4b-a0.6b-stock" in PRESETS


@pytest.mark.parametrize("name", PRESETS)
def test_presets_go_as_they_are(name):
    cfg = preset(name)
    if cfg.engram is not None:
        pytest.skip("has Engram tables")
    graph = architecture(cfg)
    for quant in ("q4_0", "q8_0"):
        assert all(choose(target, quant) for target in targets(cfg, graph))


def test_a_selection_bias_the_graph_would_lose(tmp_path):
    model = odd("qwen3moe", 0)
    model.state_dict()["layers.1.mixer.gate.e_score_correction_bias"][1] = 0.1
    with pytest.raises(CapabilityError, match=r"layers\.1\.mixer\.gate\.e_score.* is not zero"):
        export_gguf(saved(model, tmp_path / "m"), tmp_path / "m.gguf", quant="f32", context_len=8)


# --- number formats ------------------------------------------------------------------------------


def narrow(tmp_path):
    attention = {"n_heads": 4, "n_kv_heads": 2, "head_dim": 16, "rope_theta": 1e4}
    data = {"vocab_size": 450, "d_model": 64, "pattern": "*-", "mlp": {**SWIGLU, "d_ff": 48},
            "attention": attention}  # fmt: skip
    return saved(LM(LMConfig.model_validate(data)), tmp_path / "m")


def test_rows_that_a_block_does_not_divide(tmp_path):
    with pytest.raises(ConfigError) as caught:
        export_gguf(narrow(tmp_path), tmp_path / "m.gguf", quant="q4_0", context_len=8)
    assert str(caught.value) == (
        "blk.0.ffn_down.weight (layers.1.mixer.down_proj.weight) has rows of 48 numbers; q4_0 "
        "packs blocks of 32, which does not divide them. Choose another type, or allow --fallback "
        "f16 for such tensors."
    )
    assert not (tmp_path / "m.gguf").exists()


def test_a_fallback_takes_only_what_does_not_fit(tmp_path):
    facts = export_gguf(
        narrow(tmp_path), tmp_path / "m.gguf", quant="q4_0", fallback="f16", context_len=8
    )
    # the tied embedding is the head too, so it stays at q8_0
    assert facts["tensors"] == {"q8_0": 1, "q4_0": 6, "f16": 1, "f32": 3}
    found = {t.name: t.tensor_type.name for t in gguf.GGUFReader(tmp_path / "m.gguf").tensors}
    assert found["blk.0.ffn_down.weight"] == "F16"
    assert found["token_embd.weight"] == "Q8_0"


def test_a_fallback_that_does_not_fit_either(tmp_path):
    with pytest.raises(ConfigError, match="q8_0 packs blocks of 32"):
        export_gguf(narrow(tmp_path), tmp_path / "o", quant="tq2_0", fallback="q8_0", context_len=8)


@pytest.mark.parametrize("option", ["quant", "fallback"])
def test_an_unknown_format(option, folder, tmp_path):
    with pytest.raises(ConfigError, match=r"'q8' is not a GGUF type. Did you mean 'q8_0'\?"):
        export_gguf(folder, tmp_path / "m.gguf", context_len=8, **{option: "q8"})


@pytest.mark.parametrize(
    ("value", "quant", "message"),
    [
        (torch.nan, "q8_0", r"v_proj\.weight.*not finite"),
        (-torch.inf, "f32", r"v_proj\.weight.*not finite"),
        (1e5, "f16", r"v_proj\.weight.*1e[+]05, too large for f16; export as bf16 or f32"),
    ],
)
def test_numbers_a_file_cannot_hold(value, quant, message, tmp_path):
    folder = narrow(tmp_path)
    model = LM(LMConfig.model_validate_json((folder / "config.json").read_text()))
    model.state_dict()["layers.0.mixer.v_proj.weight"][3, 5] = value
    save_model(model, folder)
    with pytest.raises(NumericsError, match=message):
        export_gguf(folder, tmp_path / "m.gguf", quant=quant, fallback="f16", context_len=8)
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


# --- folders, files, packages --------------------------------------------------------------------


def test_no_tokenizer(folder, tmp_path):
    (folder / "tokenizer.json").unlink()
    with pytest.raises(TokenizerError, match=r"tokenizer\.json is missing"):
        export_gguf(folder, tmp_path / "m.gguf", context_len=8)


def test_a_tokenizer_larger_than_the_model(tmp_path):
    cfg = LMConfig.model_validate({"vocab_size": 400, "d_model": 8, "pattern": "M", "mamba": M})
    with pytest.raises(TokenizerError, match="has 450 tokens; the model's embedding has only 400"):
        export_gguf(saved(LM(cfg), tmp_path / "m"), tmp_path / "m.gguf", context_len=8)


def test_nothing_says_how_long(folder, tmp_path):
    with pytest.raises(ConfigError, match="how long a sequence model was trained on"):
        export_gguf(folder, tmp_path / "m.gguf")


def test_no_model_there(tmp_path):
    with pytest.raises(ArtifactError, match=r"config\.json is missing"):
        export_gguf(tmp_path, tmp_path / "m.gguf", context_len=8)


def test_weights_of_another_shape(folder, tmp_path):
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(re.sub(r'"d_ff": \d+', '"d_ff": 7', text))
    with pytest.raises(CheckpointError, match=r"gate_proj\.weight is .* the config expects \(7, "):
        export_gguf(folder, tmp_path / "m.gguf", context_len=8)


def test_a_damaged_artifact(tmp_path):
    with draft(tmp_path / "m", "base", config={"seq_len": 8}) as work:
        saved(odd("mamba2", 0), work.path)
        work.finish()
    with (tmp_path / "m" / "model.safetensors").open("r+b") as stream:
        stream.seek(-1, 2)
        stream.write(b"\x01")
    with pytest.raises(ArtifactError, match="is damaged"):
        export_gguf(tmp_path / "m", tmp_path / "m.gguf")


def test_a_result_is_never_overwritten(folder, tmp_path):
    (tmp_path / "m.gguf").write_bytes(b"precious")
    with pytest.raises(ArtifactError, match=r"m\.gguf exists already"):
        export_gguf(folder, tmp_path / "m.gguf", context_len=8)
    assert (tmp_path / "m.gguf").read_bytes() == b"precious"


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), StorageError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_nothing_half_written_stays(failure, expected, folder, tmp_path, monkeypatch):
    real, done = file_module.pack, []

    def pack(name, weight, quant):
        if len(done) == 5:
            raise failure
        done.append(name)
        return real(name, weight, quant)

    monkeypatch.setattr(file_module, "pack", pack)
    with pytest.raises(expected):
        export_gguf(folder, tmp_path / "m.gguf", context_len=8)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_the_package_is_missing(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(CapabilityError, match=re.escape(install_command("gguf"))):
        export_gguf(folder, tmp_path / "m.gguf", context_len=8)
