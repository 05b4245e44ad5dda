"""One recipe from text to exports by way of preferences and rewards; killed, and not killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import tiny_pairs
import yaml

from yaongi.cli.main import run
from yaongi.core.artifact import open_artifact, trace

STAGES = ("base", "sft", "dpo", "grpo")
TRAIN: dict[str, Any] = {
    "batch_tokens": 384, "seq_len": 192, "precision": "fp32", "compile": "off", "device": "cpu",
    "threads": 1, "save_s": 0, "optimizer": {"kind": "adamw", "lr": 1e-3},
}  # fmt: skip
MATH = {"kind": "synthetic", "story": 0, "math": 20_000, "code": 0, "qa": 0, "chat": 0}
RECIPE: dict[str, Any] = {
    "model_name": "tiny",
    "data": {"sources": [MATH]},
    "mix": {"math": 1.0},
    "tokenizer": {"vocab_size": 600, "regex": "qwen2"},
    "pretrain": {
        "model": {"vocab_size": 640, "d_model": 32, "pattern": "M*-",
                  "mamba": {"n_heads": 2, "head_dim": 32, "d_state": 16},
                  "attention": {"n_heads": 2, "n_kv_heads": 1, "head_dim": 16},
                  "mlp": {"d_ff": 64}},
        "steps": 6, **TRAIN},
    "sft": {"data": {"sources": [MATH]}, "train": {"steps": 4, **TRAIN}},
    "dpo": {"data": {"root": "texts", "val_fraction": 0.1, "sources": [
                {"path": "pairs.jsonl", "licence": "CC0-1.0"}]},
            "train": {"steps": 4, **TRAIN}},
    "grpo": {"data": {"sources": [MATH]},
             "train": {"steps": 4, "rewards": ["korean"], "prompts": 2, "group_size": 4,
                       "max_tokens": 8, **{k: v for k, v in TRAIN.items() if k != "batch_tokens"}}},
    "eval": {"tasks": [{"kind": "bpb", "max_tokens": 2000, "seq_len": 192}]},
    "export": [{"to": "hf", "options": {"custom_code": True}}],
}  # fmt: skip


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    texts = tmp_path / "texts"
    texts.mkdir()
    rows = [json.dumps(row, ensure_ascii=False) for row in tiny_pairs.rows()]
    (texts / "pairs.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (tmp_path / "chain.yaml").write_text(yaml.safe_dump(RECIPE), encoding="utf-8")
    return tmp_path / "chain.yaml"


def start(recipe: Path, out: Path) -> subprocess.Popen[bytes]:
    code = f"from yaongi.cli.main import run; run(['run', {str(recipe)!r}, '--out', {str(out)!r}])"
    return subprocess.Popen([sys.executable, "-c", code], cwd=recipe.parent, env=dict(os.environ))


def kill_in(stage: str, recipe: Path, out: Path) -> None:
    """Kill the run when the stage has written its first checkpoint."""
    process = start(recipe, out)
    checkpoints = out / "tiny" / f"{stage}.partial/checkpoints"
    while process.poll() is None and not list(checkpoints.glob("step-*")):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, f"{stage} was over before it could be killed"
    assert not (out / "tiny" / stage).exists()


def test_killed_in_every_stage_the_road_ends_in_the_same_model(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, broken = recipe.parent / "whole", recipe.parent / "broken"
    assert run(["run", str(recipe), "--out", str(whole), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["model"] == str(whole / "tiny/grpo")
    assert told["exports"] == [str(whole / "tiny/export-hf")]
    for stage in STAGES:
        kill_in(stage, recipe, broken)
    assert run(["run", str(recipe), "--out", str(broken)]) == 0
    for stage in STAGES:
        made = [open_artifact(road / "tiny" / stage) for road in (whole, broken)]
        weights = [one.manifest.files["model.safetensors"].sha256 for one in made]
        assert weights[0] == weights[1], stage
    exports = [open_artifact(road / "tiny/export-hf") for road in (whole, broken)]
    files = [one.manifest.files["hf/model.safetensors"].sha256 for one in exports]
    assert files[0] == files[1]
    kinds = [ancestor.kind for _, ancestor in trace(exports[0].path)]
    assert {"grpo", "dpo", "sft", "base", "shards", "corpus", "tokenizer"} <= set(kinds)
