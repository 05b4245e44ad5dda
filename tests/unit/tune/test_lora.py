"""The stage that trains adapters, merging as an artifact, and the commands."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import tiny
import torch
from click.testing import CliRunner

import yaongi
from yaongi.cli.main import cli
from yaongi.core.artifact import open_artifact
from yaongi.core.config import parse
from yaongi.core.errors import ArtifactError, ConfigError
from yaongi.core.runlog import read_metrics
from yaongi.model.io import load_model, read_tensors
from yaongi.model.lora import adapter_tensors, add_adapters
from yaongi.text.tokenizer import Tokenizer
from yaongi.train.checkpoint import complete
from yaongi.train.optim.build import build_optimizer
from yaongi.tune.lora import LoRAConfig, lora, merge_adapter

CHATS = [
    [
        {"role": "user", "content": f"{i} 더하기 {i}는?"},
        {"role": "assistant", "content": f"{2 * i}입니다." * (1 + i % 3)},
        {"role": "user", "content": "고마워요."},
        {"role": "assistant", "content": "네!"},
    ]
    for i in range(24)
]
THANKS = [*CHATS[3][:2], {"role": "user", "content": "고마워요."}]


def config(**changes) -> LoRAConfig:
    settings = tiny.sft_config().as_json()
    adapter = {"rank": 4, **changes.pop("adapter", {})}
    optimizer = {"kind": "adamw", "lr": 1e-2, "weight_decay": 0.0}
    changes = {"optimizer": optimizer, "adapter": adapter, **changes}
    return parse(LoRAConfig, {k: v for k, v in {**settings, **changes}.items() if v is not None})


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("road")
    found = tiny.road(folder, CHATS)
    base = tiny.base(folder / "base", found["tokenizer"], tiny.lm())
    return {**found, "base": base}


@pytest.fixture(scope="module")
def trained(made, tmp_path_factory):
    adapter = {"rank": 16, "alpha": 32, "embedding_rows": "control"}
    cfg = config(steps=80, adapter=adapter)
    out = tmp_path_factory.mktemp("lora") / "polite"
    return lora(cfg, made["base"], made["shards"], out, seed=1)


def test_an_adapter_learns_the_answers_and_the_base_stays(made, trained):
    losses = [row["loss"] for row in read_metrics(trained.path)]
    assert losses[-1] < losses[0] / 5
    made["base"].verify()
    assert [p.kind for p in trained.manifest.parents] == ["base", "shards"]
    assert sorted(p.name for p in trained.path.iterdir()) == [
        "adapter.json", "adapter.safetensors", "manifest.json", "metrics.jsonl",
    ]  # fmt: skip
    known = json.loads((trained.path / "adapter.json").read_text())
    rows = known["adapter"]["embedding_rows"]
    assert rows == sorted(Tokenizer.load(made["base"].path).control_ids)
    learnt = sum(t.numel() for t in read_tensors(trained.path / "adapter.safetensors").values())
    assert trained.manifest.counts["parameters"] == learnt
    model = yaongi.load(made["base"].path, adapter=trained.path)
    assert model.adapters == ("polite",)
    assert model.chat(THANKS) == "네!" != model.chat(THANKS, adapter="base")


def test_only_adapters_have_optimizer_state_and_checkpoints(made, tmp_path):
    class Stop(Exception):
        pass

    def stop(step):
        if step.index == 2:
            raise Stop

    with pytest.raises(Stop):
        cfg = config(save_s=0)
        lora(cfg, made["base"], made["shards"], tmp_path / "cut", on_step=stop)
    found = complete(tmp_path / "cut.partial" / "checkpoints")[0]
    weights, training, _ = found.read()
    model = load_model(made["base"].path)
    add_adapters(model, cfg.adapter)
    own = sum(p.numel() for p in adapter_tensors(model).values())
    assert sum(t.numel() for t in weights.values()) == own
    moments = {k: t for k, t in training.items() if k.endswith(("exp_avg", "exp_avg_sq"))}
    assert sum(t.numel() for t in moments.values()) == 2 * own
    params = [p for g in build_optimizer(cfg.optimizer, model).param_groups for p in g["params"]]
    assert {id(p) for p in params} == {id(p) for p in adapter_tensors(model).values()}


KINDS = [{"dropout": 0.2, "targets": ["*[qkvo]_proj", "*in_proj"]}, {"dora": True, "base": "int8"}]


@pytest.mark.parametrize("adapter", KINDS, ids=str)
def test_an_interrupted_run_continues_bit_for_bit(adapter, made, tmp_path):
    whole = lora(config(adapter=adapter), made["base"], made["shards"], tmp_path / "whole")

    class Stop(Exception):
        pass

    def stop_at_four(step):
        if step.index == 4:
            raise Stop

    cfg = config(save_s=0, adapter=adapter)
    with pytest.raises(Stop):
        lora(cfg, made["base"], made["shards"], tmp_path / "cut", on_step=stop_at_four)
    torch.rand(3)  # a new process has other random numbers
    resumed = lora(cfg, made["base"], made["shards"], tmp_path / "cut")
    a, b = (read_tensors(x.path / "adapter.safetensors") for x in (whole, resumed))
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert lora(cfg, made["base"], made["shards"], tmp_path / "cut").hash == resumed.hash


def test_a_killed_run_continues_bit_for_bit(made, tmp_path):
    program = f"""
        import sys, time
        sys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parents[2])]!r}
        from test_lora import config, lora
        from yaongi.core.artifact import open_artifact
        base, shards = (open_artifact(p) for p in sys.argv[1:3])
        slow = lambda step: time.sleep(0.05)
        lora(config(save_s=0, steps=12), base, shards, sys.argv[3], seed=5, on_step=slow)
    """
    inputs = [str(made["base"].path), str(made["shards"].path)]
    out = tmp_path / "killed"
    command = [sys.executable, "-c", textwrap.dedent(program), *inputs, str(out)]
    running = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    checkpoints = tmp_path / "killed.partial" / "checkpoints"
    until = time.monotonic() + 120
    while not complete(checkpoints) and time.monotonic() < until:
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL and not out.exists()
    cfg = config(save_s=0, steps=12)
    resumed = lora(cfg, made["base"], made["shards"], out, seed=5)
    whole = lora(cfg, made["base"], made["shards"], tmp_path / "whole", seed=5)
    a, b = (read_tensors(x.path / "adapter.safetensors") for x in (whole, resumed))
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_a_glob_that_matches_nothing_stops_before_any_step(made, tmp_path):
    cfg = config(adapter={"targets": ["*.qproj"]})
    with pytest.raises(ConfigError, match="matches no matrix of this model"):
        lora(cfg, made["base"], made["shards"], tmp_path / "lora")


def test_a_merged_model_is_one_like_any_other(made, trained, tmp_path):
    merged = merge_adapter(trained, made["base"], tmp_path / "merged")
    assert [p.kind for p in merged.manifest.parents] == ["base", "adapter"]
    alone, beside = (
        yaongi.load(merged.path),
        yaongi.load(made["base"].path, adapter=trained.path),
    )
    ids = [[5, 100, 200, 7, 30]]
    torch.testing.assert_close(alone.logits(ids), beside.logits(ids), rtol=1e-4, atol=1e-5)
    assert alone.chat(THANKS) == "네!" and alone.context_len == 128
    lora(config(steps=1), merged, made["shards"], tmp_path / "again")  # and to train on


def test_several_adapters_are_chosen_by_name(made, trained, tmp_path):
    other = lora(config(steps=3), made["base"], made["shards"], tmp_path / "brief", seed=2)
    model = yaongi.load(made["base"].path, adapter=[trained.path, other.path])
    ids = torch.tensor([[5, 100, 200, 7, 30]]).expand(3, -1)
    alone = {name: model.logits(ids[:1], adapter=name) for name in ("polite", "brief", "base")}
    mixed = model.logits(ids, adapter=list(alone))
    torch.testing.assert_close(mixed, torch.cat(list(alone.values())), rtol=1e-4, atol=1e-5)
    with pytest.raises(ConfigError, match="say which with adapter=NAME: polite, brief, base"):
        model.logits(ids)
    with pytest.raises(ConfigError, match=r"no adapter 'bref'. Did you mean 'brief'"):
        model.chat(THANKS, adapter="bref")
    streams = [model.chat(THANKS, stream=True, adapter=name, max_tokens=6) for name in alone]
    taken = ["", "", ""]
    for _ in range(6):  # in turns
        for i, stream in enumerate(streams):
            taken[i] += next(stream, "")
    assert taken == [model.chat(THANKS, adapter=name, max_tokens=6) for name in alone]


def test_an_adapter_of_another_base_is_refused(made, trained, tmp_path):
    other = tiny.base(tmp_path / "other", made["tokenizer"], tiny.lm(seed=5))
    for use in (
        lambda: yaongi.load(other.path, adapter=trained.path),
        lambda: merge_adapter(trained, other, tmp_path / "merged"),
    ):
        with pytest.raises(ArtifactError, match=r"was trained on .*base .* not on .*other"):
            use()
    assert not (tmp_path / "merged").exists()


def recipe(folder: Path) -> Path:
    """A recipe with a section lora over the conversations of ``tiny.road``."""
    chats = folder / "chats.jsonl"
    chats.write_text("".join(json.dumps({"messages": m}) + "\n" for m in CHATS), "utf-8")
    source = {"path": str(chats), "domain": "chat", "licence": "CC0"}
    train = config(steps=2, domains=["chat"]).as_json()
    settings = {
        "lora": {"data": {"sources": [source], "val_fraction": 0.2}, "train": train},
        "eval": {"tasks": [{"kind": "bpb", "max_tokens": 500, "seq_len": 64}]},
    }
    (folder / "chat.yaml").write_text(json.dumps(settings), "utf-8")
    return folder / "chat.yaml"


def run(*args: object):
    return CliRunner().invoke(cli, [str(a) for a in args])


def test_the_commands(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    base = made["base"].path
    done = run("lora", recipe(tmp_path), "--model", base, "--out", "mine", "--json")
    assert done.exit_code == 0, done.output
    assert open_artifact("mine", "adapter").manifest.parents[0].hash == made["base"].hash
    done = run("generate", base, "--adapter", "mine", "--prompt", "철수는", "--max-tokens", 3)
    assert done.exit_code == 0, done.output
    done = run("merge", "mine", "--out", "whole")
    assert done.exit_code == 0 and "yaongi chat whole" in done.output, done.output
    done = run("export", "mine", "--to", "peft", "--base", base, "--out", "theirs")
    assert isinstance(done.exception, ConfigError) and "No architecture" in str(done.exception)
    done = run("export", base, "--to", "peft", "--out", "theirs")
    assert isinstance(done.exception, ArtifactError) and "expected 'adapter'" in str(done.exception)
    done = run("chat", "whole")
    assert done.exit_code == 0 and "has not learnt" not in done.output
    done = run("run", "chat.yaml", f"model={base}", "--json")
    assert done.exit_code == 0, done.output
    assert (
        open_artifact("runs/chat/model/lora-merged").manifest.parents[0].hash == made["base"].hash
    )
    other = tiny.base(tmp_path / "other", made["tokenizer"], tiny.lm(seed=5))
    done = run("merge", "mine", "--model", other.path, "--out", "no")
    assert isinstance(done.exception, ArtifactError) and "was trained on" in str(done.exception)
