"""fp8 in a run: which matrices, why not the others, and that a run still learns and resumes."""

from __future__ import annotations

import logging
import os
import signal

import pytest
import tiny_run
import torch

from yaongi.core.errors import CapabilityError, ConfigError
from yaongi.core.runlog import read_metrics
from yaongi.model.layer import Linear
from yaongi.model.lm import LM
from yaongi.model.presets import preset
from yaongi.ops.quant import fp8 as op
from yaongi.train import fp8
from yaongi.train.pretrain import pretrain

CPU = torch.device("cpu")
DEEP = {**tiny_run.HYBRID, "pattern": "M-*E*-M-", "tied": False,
        "mamba": {"n_heads": 2, "head_dim": 32, "n_groups": 1, "d_state": 8},
        "moe": {**tiny_run.HYBRID["moe"], "n_experts": 16, "d_shared": 64}}  # fmt: skip


@pytest.fixture
def fp8_here(monkeypatch):
    """Let the device and shapes of a test through; places in the model are still respected."""
    monkeypatch.setattr(op, "fp8_unavailable", lambda device: None)
    monkeypatch.setattr(op, "SMALL_OUT", 16)


def tiny_model(**changes) -> LM:
    return LM(tiny_run.pretrain_config(model={**DEEP, **changes}).model)


def in_fp8(model: LM) -> set[str]:
    return {
        name
        for name, module in model.named_modules()
        if isinstance(module, Linear) and module.training_product is not None
    }


def test_the_flagships_matrices():
    """52 layers of width 1024: only wide outputs can win, and both ends stay."""
    with torch.device("meta"):
        model = LM(preset("yaongi-4b-a0.6b-stock"))
    reasons = {m.name: m.reason for m in fp8.decide(model)}
    chosen = [name for name, reason in reasons.items() if reason is None]
    letters = [model.cfg.layers[int(name.split(".")[1])] for name in chosen]
    assert {name.rpartition("mixer.")[2] for name in chosen} == {
        "in_proj.weight", "q_proj.weight", "shared_experts.up_proj.weight"
    }  # fmt: skip
    # MEMEM* ... EMEME: of 23 M, 6 * and 23 E the ends take ME and ME
    assert [letters.count(k) for k in "M*E"] == [21, 6, 21]
    assert "head" in (reasons["lm_head.weight"] or "")
    assert "first and last" in (reasons["layers.0.mixer.in_proj.weight"] or "")
    assert "first and last" in (reasons["layers.51.mixer.shared_experts.up_proj.weight"] or "")
    assert "too small" in (reasons["layers.5.mixer.o_proj.weight"] or "")
    assert "experts" in (reasons["layers.3.mixer.experts.up_proj"] or "")
    assert not any("gate.weight" in name or "norm" in name for name in reasons)


def test_excluded_layers_are_not_touched(fp8_here, caplog):
    model = tiny_model()
    with caplog.at_level(logging.INFO):
        fp8.use_fp8(model, CPU)
    assert in_fp8(model) == {
        "layers.2.mixer.q_proj", "layers.2.mixer.o_proj",
        "layers.3.mixer.shared_experts.up_proj", "layers.3.mixer.shared_experts.down_proj",
        "layers.4.mixer.q_proj", "layers.4.mixer.o_proj",
        "layers.5.mixer.up_proj", "layers.5.mixer.down_proj",
    }  # fmt: skip
    lines = [record.getMessage() for record in caplog.records]
    (chosen,) = [line for line in lines if line.startswith("fp8: ")]
    assert "q_proj 32x32 (2)" in chosen and "up_proj 64x32 (1)" in chosen
    assert any(line.startswith("bf16, too small") and "k_proj 16x32 (2)" in line for line in lines)
    assert any(line.startswith("bf16, the head") for line in lines)


def test_only_training_multiplies_in_fp8(fp8_here):
    model = tiny_model()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    ids = torch.arange(64).view(2, 32)
    plain = model.eval()(ids).hidden
    fp8.use_fp8(model, CPU)
    assert torch.equal(model.eval()(ids).hidden, plain)
    assert not torch.equal(model.train()(ids).hidden, plain)
    assert (model(ids).hidden - plain).norm() < 0.1 * plain.norm()
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.dtype == torch.float32 for p in model.parameters())


def test_a_device_without_fp8_is_told_so():
    with pytest.raises(CapabilityError, match=r"fp8 cannot be used here: it needs a CUDA device"):
        fp8.use_fp8(tiny_model(), CPU)


def test_a_model_it_cannot_help_is_told_so(monkeypatch):
    monkeypatch.setattr(op, "fp8_unavailable", lambda device: None)
    with pytest.raises(
        CapabilityError, match=r"would win nothing.*too small to win.*bf16 is faster"
    ):
        fp8.use_fp8(tiny_model(), CPU)


def test_fp8_with_another_precision_is_a_contradiction():
    with pytest.raises(ConfigError, match="fp8 goes with precision bf16, not fp32"):
        tiny_run.pretrain_config(fp8=True, precision="fp32")


def test_a_run_learns_and_resumes_bit_for_bit(fp8_here, tmp_path):
    (tmp_path / "inputs").mkdir()
    inputs = tiny_run.shards(tmp_path / "inputs")
    settings = {"model": DEEP, "steps": 6, "seq_len": 32, "batch_tokens": 128}
    cfg = tiny_run.pretrain_config(fp8=True, precision="bf16", **settings)

    def stop(step):
        if step.index == 3:
            os.kill(os.getpid(), signal.SIGINT)

    whole = pretrain(cfg, *inputs, tmp_path / "whole", mix=tiny_run.MIX)
    with pytest.raises(KeyboardInterrupt):
        pretrain(cfg, *inputs, tmp_path / "cut", mix=tiny_run.MIX, on_step=stop)
    resumed = pretrain(cfg, *inputs, tmp_path / "cut", mix=tiny_run.MIX)
    losses = [line["loss"] for line in read_metrics(whole.path)]
    assert losses[-1] < losses[0] - 0.2
    assert [line["loss"] for line in read_metrics(resumed.path)] == losses
    assert resumed.hash == whole.hash
    assert whole.manifest.config["fp8"] is True
    plain = tiny_run.pretrain_config(precision="bf16", **settings)
    other = pretrain(plain, *inputs, tmp_path / "bf16", mix=tiny_run.MIX)
    bf16 = [line["loss"] for line in read_metrics(other.path)]
    assert bf16 != losses and losses[-1] == pytest.approx(bf16[-1], abs=0.1)
