"""A run in its folder: stops and continues exactly, plans its time once, refuses another run."""

from __future__ import annotations

import json
import logging
import os
import signal
from pathlib import Path

import pytest
import tiny_run
import torch

from yaongi.core.artifact import Artifact, open_artifact
from yaongi.core.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    NumericsError,
    StorageError,
)
from yaongi.core.runlog import read_metrics
from yaongi.model.io import load_model
from yaongi.train import run as run_module
from yaongi.train.pretrain import pretrain


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> tuple[Artifact, Artifact]:
    return tiny_run.shards(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="module")
def whole(inputs, tmp_path_factory) -> Artifact:
    """The run nobody disturbed."""
    return train(inputs, tmp_path_factory.mktemp("whole") / "base")


def train(inputs, out: Path, *, stop_after: int | None = None, **more) -> Artifact:
    def on_step(step):
        if step.index == stop_after:
            os.kill(os.getpid(), signal.SIGTERM if stop_after % 2 else signal.SIGINT)

    settings = more.pop("config", {})
    cfg = tiny_run.pretrain_config(**settings)
    more.setdefault("on_step", on_step)
    return pretrain(cfg, *inputs, out, mix=tiny_run.MIX, **more)


def losses(folder: Path) -> list[tuple[float, ...]]:
    keys = ("step", "loss", "lr", "grad_norm", "tokens")
    return [tuple(line[k] for k in keys) for line in read_metrics(folder)]


def same_weights(a: Path, b: Path) -> bool:
    return (a / "model.safetensors").read_bytes() == (b / "model.safetensors").read_bytes()


def test_the_folder_is_a_complete_model(whole, inputs):
    _, tokenizer = inputs
    model = load_model(whole.path, verify=True)
    assert model.cfg.vocab_size == 512
    assert {p.name for p in whole.path.iterdir()} == {
        "model.safetensors", "config.json", "metrics.jsonl", "manifest.json",
        *tokenizer.manifest.files,
    }  # fmt: skip
    assert not list(whole.path.parent.glob(".*"))
    counts = whole.manifest.counts
    assert counts["steps"] == 8 and counts["tokens"] == 8 * 256
    assert counts["mix"]["asked"] == tiny_run.MIX
    assert counts["mix"]["reached"] == pytest.approx(tiny_run.MIX, abs=1 / 32)
    assert whole.manifest.licences == ["CC0-1.0"]
    assert losses(whole.path)[-1][1] < losses(whole.path)[0][1]


def test_the_log_tells_the_load_of_every_layer_with_experts(whole):
    for line in read_metrics(whole.path):
        assert 1 <= line["expert_load_max/3"] == line["expert_load_max"] <= 4
        assert 0 < line["expert_entropy/3"] <= 1


@pytest.mark.parametrize("stop_after", [1, 4, 7])
def test_a_stopped_run_continues_bit_for_bit(inputs, whole, tmp_path, stop_after):
    out = tmp_path / "base"
    with pytest.raises(KeyboardInterrupt):
        train(inputs, out, stop_after=stop_after)
    assert not out.exists()
    assert len(read_metrics(tmp_path / "base.partial")) == stop_after
    resumed = train(inputs, out)
    assert same_weights(resumed.path, whole.path)
    assert losses(resumed.path) == losses(whole.path)
    assert resumed.hash == whole.hash


def test_lines_after_the_checkpoint_are_cut(inputs, whole, tmp_path):
    out = tmp_path / "base"
    with pytest.raises(KeyboardInterrupt):
        train(inputs, out, stop_after=3)
    with (tmp_path / "base.partial" / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 4, "loss": 9.0}\n{"step": 5, "lo')
    assert losses(train(inputs, out).path) == losses(whole.path)


def test_a_run_killed_while_finishing_keeps_its_work(inputs, whole, tmp_path, monkeypatch):
    def killed(work, **manifest):
        raise SystemExit

    out = tmp_path / "base"
    monkeypatch.setattr(run_module.Draft, "finish", killed)
    with pytest.raises(SystemExit):
        train(inputs, out)
    monkeypatch.undo()
    seen = []
    done = train(inputs, out, on_step=seen.append)
    assert seen == []  # nothing was trained again
    assert done.hash == whole.hash
    assert not list(tmp_path.glob(".*"))


def test_a_finished_run_is_not_repeated(inputs, whole):
    seen = []
    assert train(inputs, whole.path, on_step=seen.append).hash == whole.hash
    assert seen == []


@pytest.mark.parametrize(
    ("change", "message"),
    [({"clip": 0.5}, "clip: 1.0 -> 0.5"),
     ({"optimizer": {"kind": "muon", "lr": 0.02}}, "optimizer.lr: 0.01 -> 0.02"),
     ({"steps": 9}, "steps: 8 -> 9")],
)  # fmt: skip
def test_a_run_of_other_settings_is_refused(inputs, tmp_path, change, message):
    out = tmp_path / "base"
    with pytest.raises(KeyboardInterrupt):
        train(inputs, out, stop_after=2)
    with pytest.raises(CheckpointError, match="unfinished run of different settings") as caught:
        train(inputs, out, config=change)
    assert message in str(caught.value)
    assert caught.value.exit_code == 2
    assert len(read_metrics(tmp_path / "base.partial")) == 2


def test_another_seed_is_another_run(inputs, whole, tmp_path):
    out = tmp_path / "base"
    with pytest.raises(KeyboardInterrupt):
        train(inputs, out, stop_after=2)
    with pytest.raises(CheckpointError, match="seed: 0 -> 1"):
        train(inputs, out, seed=1)
    other = train(inputs, tmp_path / "other", seed=1)
    assert not same_weights(other.path, whole.path)


def test_what_does_not_change_the_result_may_change(inputs, whole, tmp_path):
    out = tmp_path / "base"
    with pytest.raises(KeyboardInterrupt):
        train(inputs, out, stop_after=2)
    done = train(inputs, out, config={"save_s": "1h", "keep": 5, "trackers": ["tensorboard"]})
    assert same_weights(done.path, whole.path)


def test_a_damaged_checkpoint_costs_steps_but_not_exactness(inputs, whole, tmp_path, caplog):
    out = tmp_path / "base"
    with pytest.raises(KeyboardInterrupt):
        train(inputs, out, stop_after=5, config={"save_s": 0})
    newest = tmp_path / "base.partial/checkpoints/step-00000005/model.safetensors"
    newest.write_bytes(newest.read_bytes()[:-100])
    with caplog.at_level(logging.WARNING):
        done = train(inputs, out, config={"save_s": 0})
    assert "step-00000005" in caplog.text
    assert done.path.exists() and same_weights(done.path, whole.path)


def test_only_damaged_checkpoints_are_an_error(inputs, tmp_path):
    out = tmp_path / "base"
    with pytest.raises(KeyboardInterrupt):
        train(inputs, out, stop_after=2)
    weights = tmp_path / "base.partial/checkpoints/step-00000002/training.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"training\.safetensors is damaged: expected"):
        train(inputs, out)


def test_other_threads_warn_and_go_on(inputs, tmp_path, caplog):
    out = tmp_path / "base"
    with pytest.raises(KeyboardInterrupt):
        train(inputs, out, stop_after=2)
    with caplog.at_level(logging.WARNING):
        train(inputs, out, config={"threads": 2})
    assert "threads: 1 -> 2" in caplog.text


def test_probes_are_logged_and_the_best_checkpoint_stays(inputs, tmp_path):
    values = iter([3.0, 1.0, 2.0, 2.5])
    kept = []

    def on_step(step):
        kept.append(sorted(p.name for p in (tmp_path / "base.partial/checkpoints").glob("step-*")))

    done = train(
        inputs,
        tmp_path / "base",
        config={"eval_every": 2, "keep": 1},
        probes={"val_bpb/ko": lambda model: next(values)},
        on_step=on_step,
    )
    found = {m["step"]: m["val_bpb/ko"] for m in read_metrics(done.path) if "val_bpb/ko" in m}
    assert found == {2: 3.0, 4: 1.0, 6: 2.0, 8: 2.5}
    assert kept[-1] == ["step-00000004", "step-00000008"]  # the best and the last
    assert done.manifest.metrics["val_bpb/ko"] == 2.5


def test_probes_see_a_model_in_eval_mode_and_training_is_not_disturbed(inputs, whole, tmp_path):
    def probe(model):
        assert not model.training
        assert not torch.is_grad_enabled()
        torch.rand(3)
        return float(model(torch.zeros(1, 4, dtype=torch.long)).hidden.sum())

    done = train(inputs, tmp_path / "base", config={"eval_every": 1}, probes={"p": probe})
    assert same_weights(done.path, whole.path)


def test_a_time_budget_is_planned_once_and_then_exact(inputs, tmp_path, monkeypatch):
    monkeypatch.setattr(run_module, "REVISE_SHARE", 1e9)
    budget = {"steps": None, "minutes": 0.02, "log_every": 1, "eval_every": 3}
    out = tmp_path / "timed"
    with pytest.raises(KeyboardInterrupt):
        train(inputs, out, stop_after=2, config=budget)
    plan = json.loads((tmp_path / "timed.partial/checkpoints/run.json").read_text())["plan"]
    done = train(inputs, out, config=budget)
    assert done.manifest.counts["steps"] == plan["steps"] > 2
    again = {**budget, "minutes": None, "steps": plan["steps"], "precision": plan["precision"]}
    counted = train(inputs, tmp_path / "counted", config=again)
    assert same_weights(done.path, counted.path)  # timing left no trace


class Clock:
    """A clock on which every training step takes a second."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def tick(self, step) -> None:
        self.now += 1.0


@pytest.mark.parametrize("planned", [12, 50, 100_000])
def test_a_wrong_plan_is_mended_before_the_decay(inputs, tmp_path, monkeypatch, planned):
    """The timing at the start met another machine than the run did: much slower, much faster."""
    clock = Clock()
    monkeypatch.setattr(run_module, "time", clock)
    monkeypatch.setattr(run_module._Run, "_steps_in", lambda self, budget_s: planned)
    budget = {"steps": None, "minutes": 1, "log_every": 1}
    done = train(inputs, tmp_path / "timed", config=budget, on_step=clock.tick)
    assert 50 <= done.manifest.counts["steps"] <= 60
    lrs = [line["lr"] for line in read_metrics(done.path)]
    assert max(lrs) > 50 * lrs[-1]  # it ended with its decay


def test_a_mended_plan_survives_a_kill(inputs, tmp_path, monkeypatch, caplog):
    clock = Clock()
    monkeypatch.setattr(run_module, "time", clock)
    monkeypatch.setattr(run_module._Run, "_steps_in", lambda self, budget_s: 12)

    def killed(step):
        clock.tick(step)
        if step.index == 20:
            os.kill(os.getpid(), signal.SIGTERM)

    budget = {"steps": None, "minutes": 1, "log_every": 1}
    with pytest.raises(KeyboardInterrupt):
        train(inputs, tmp_path / "timed", config=budget, on_step=killed)
    plan = json.loads((tmp_path / "timed.partial/checkpoints/run.json").read_text())["plan"]
    assert plan["steps"] > 20
    caplog.clear()
    done = train(inputs, tmp_path / "timed", config=budget, on_step=clock.tick)
    assert "Continuing after step 20 of" in caplog.text
    assert done.manifest.counts["steps"] >= plan["steps"]


def test_a_stop_in_the_last_step_keeps_the_result_and_stops(inputs, whole, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(inputs, tmp_path / "base", stop_after=whole.manifest.counts["steps"])
    assert same_weights(tmp_path / "base", whole.path)
    assert not list(tmp_path.glob(".base*")) and not (tmp_path / "base.partial").exists()
    train(inputs, tmp_path / "base")  # nothing is left to do


@pytest.mark.parametrize(("compiling", "words"), [(True, "compiling the model"), (False, "step;")])
def test_the_first_ctrl_c_says_what_belongs_to_the_step_and_the_second_acts(
    caplog, compiling, words
):
    with pytest.raises(KeyboardInterrupt), run_module._Signals(lambda: compiling) as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.requested and words in caplog.text
        signal.raise_signal(signal.SIGINT)


def test_numbers_that_are_not_finite_name_the_checkpoint(inputs, tmp_path):
    config = {"optimizer": {"kind": "adamw", "lr": 1e30}, "save_s": 0}
    with pytest.raises(NumericsError, match=r"Last good checkpoint: .*step-0000000\d"):
        train(inputs, tmp_path / "base", config=config)


def test_a_full_disk_leaves_a_run_that_continues(inputs, whole, tmp_path, monkeypatch):
    def full(tensors, path, **kwargs):
        raise OSError(28, "No space left on device")

    out = tmp_path / "base"
    with pytest.raises(KeyboardInterrupt):
        train(inputs, out, stop_after=2)
    with monkeypatch.context() as patch:
        patch.setattr("yaongi.train.checkpoint.save_file", full)
        with pytest.raises(StorageError, match="No space left"):
            train(inputs, out, config={"save_s": 0})
    assert same_weights(train(inputs, out).path, whole.path)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"steps": None}, "give a budget"),
     ({"tokens": "1M"}, "one budget"),
     ({"batch_tokens": 100}, "multiple of seq_len"),
     ({"model": "27m"}, "Did you mean '26m'"),
     ({"model": {"preset": "5m", "d_modle": 3}}, "Did you mean 'd_model'"),
     ({"model": {**tiny_run.HYBRID, "vocab_size": 128}}, "vocabulary of 400"),
     ({"learning_rate": 1}, "learning_rate is not a setting")],
)  # fmt: skip
def test_bad_settings_are_refused(inputs, tmp_path, change, message):
    with pytest.raises(ConfigError, match=message) as caught:
        train(inputs, tmp_path / "base", config=change)
    assert caught.value.exit_code == 2


def test_shards_of_another_tokenizer_are_refused(inputs, tmp_path):
    shards, tokenizer = inputs
    other = Artifact(tokenizer.path, tokenizer.manifest.model_copy(update={"seed": 9}))
    with pytest.raises(DataError, match="not encoded with the tokenizer"):
        train((shards, other), tmp_path / "base")


def test_presets_take_changes():
    cfg = tiny_run.pretrain_config(model={"preset": "5m", "vocab_size": 4096})
    assert (cfg.model.vocab_size, cfg.model.d_model) == (4096, 192)
    assert tiny_run.pretrain_config(model="5m").model.vocab_size == 8192


def test_tokens_become_steps(inputs, tmp_path):
    done = train(inputs, tmp_path / "base", config={"steps": None, "tokens": "1K"})
    assert done.manifest.counts["steps"] == 4
    assert open_artifact(tmp_path / "base", "base").hash == done.hash
