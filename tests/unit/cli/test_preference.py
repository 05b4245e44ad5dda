"""``yaongi dpo`` and ``yaongi reward`` from a recipe and a model, as a person types them."""

import json

import pytest
import tiny
import tiny_pairs
import tiny_run

from yaongi.cli.main import run
from yaongi.core.artifact import open_artifact

TRAIN = {**tiny_pairs.SETTINGS, "steps": 2}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A recipe with both sections, and a model to start from."""
    folder = tmp_path_factory.mktemp("cli")
    found = tiny_pairs.road(folder)
    sources = [{"path": "pref.jsonl", "domain": "pref", "licence": "CC0"}]
    data = {"root": str(folder), "sources": sources, "val_fraction": 0.25}
    recipe = {
        "name": "tiny",
        "data": data,
        "pretrain": {"model": {"preset": "5m", "vocab_size": 450}, "steps": 1},
        "tokenizer": {"vocab_size": 450},
        "dpo": {"data": data, "train": {**TRAIN, "loss": {"kind": "ipo"}}},
        "reward": {"data": data, "train": TRAIN},
    }
    (folder / "tiny.yaml").write_text(json.dumps(recipe))  # JSON is YAML
    return {**found, "recipe": folder / "tiny.yaml"}


def told(capsys):
    return json.loads(capsys.readouterr().out)


def test_dpo(made, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("yaongi.cli.console.PLAIN_EVERY_S", 0)
    command = ["dpo", str(made["recipe"]), "--model", str(made["base"].path), "--out", "out"]
    assert run([*command, "dpo.train.loss.tau=0.2", "--json"]) == 0
    out, err = capsys.readouterr()
    assert "reference 0%" in err and "held-out pairs 0%" in err  # what takes long says so
    found = json.loads(out)
    assert (found["kind"], found["counts"]["steps"]) == ("dpo", 2)
    assert open_artifact("out").manifest.config["loss"] == {"kind": "ipo", "tau": 0.2}
    assert open_artifact("runs/tiny/dpo-pairs", "pairs")
    assert run([*command, "dpo.train.loss.tau=0.2"]) == 0  # already done
    assert "Held out: the chosen answer wins in" in capsys.readouterr().out
    assert run([*command, "dpo.train.loss.beta=1"]) == 2
    assert "dpo.train.loss.beta is not a setting" in capsys.readouterr().err


def test_reward(made, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    section = json.loads(made["recipe"].read_text())["reward"]
    recipe = {"model": str(made["base"].path), "reward": section}  # makes no model of its own
    (tmp_path / "tiny.yaml").write_text(json.dumps(recipe))
    assert run(["reward", "train", "tiny.yaml", "--json"]) == 0
    trained = told(capsys)
    judge = ["reward", "evaluate", trained["path"], "runs/tiny/reward-pairs"]
    assert run([*judge, "--json"]) == 0
    found = told(capsys)
    assert found["accuracy"] == trained["metrics"]["val_accuracy"]
    assert found["low"] <= found["accuracy"] <= found["high"]
    assert run(judge) == 0
    text = capsys.readouterr().out
    assert "The chosen answer gets more in" in text and "the longer one in" in text
    assert 0 <= found["chosen_longer"] <= 1
    assert run(["chat", trained["path"]]) == 2
    assert "judges answers and is no model to talk to" in capsys.readouterr().err


def test_a_recipe_without_the_section(made, capsys):
    recipe = json.loads(made["recipe"].read_text())
    del recipe["dpo"]
    other = made["recipe"].with_name("other.yaml")
    other.write_text(json.dumps(recipe))
    assert run(["dpo", str(other), "--model", str(made["base"].path)]) == 2
    assert "has no section dpo" in capsys.readouterr().err


def test_run_takes_both_along(tmp_path, capsys, monkeypatch):
    """The road: pretraining, then preferences and the reward model, then the report on the last."""
    monkeypatch.chdir(tmp_path)
    texts = [{"text": f"{text} 번호 {i}번."} for i in range(6) for text in tiny.TEXTS[:6]]
    (tmp_path / "ko.jsonl").write_text("".join(json.dumps(row) + "\n" for row in texts))
    tiny_pairs.corpus(tmp_path)
    common = {"root": str(tmp_path), "val_fraction": 0.25}
    pairs = {**common, "sources": [{"path": "pref.jsonl", "domain": "pref", "licence": "CC0"}]}
    recipe = {
        "name": "tiny",
        "data": {**common, "sources": [{"path": "ko.jsonl", "domain": "ko", "licence": "CC0"}]},
        "mix": {"ko": 1.0},
        "tokenizer": {"vocab_size": 450, "allow_smaller": True},
        "pretrain": {
            **TRAIN,
            "model": {**tiny_run.HYBRID, "pattern": "M*"},
            "steps": 1,
            "optimizer": {"kind": "muon", "lr": 0.01},
        },
        "dpo": {"data": pairs, "train": {**TRAIN, "steps": 1}},
        "reward": {"data": pairs, "train": {**TRAIN, "steps": 1}},
        "eval": {"tasks": [{"kind": "bpb", "max_tokens": 500, "xz_prime_bytes": 0}]},
    }
    (tmp_path / "tiny.yaml").write_text(json.dumps(recipe))
    assert run(["run", "tiny.yaml", "--json"]) == 0
    found = told(capsys)
    assert open_artifact(found["model"]).manifest.kind == "dpo"
    assert open_artifact(found["reward"]).manifest.kind == "reward"
    parents = {p.kind: p.hash for p in open_artifact(found["report"]).manifest.parents}
    assert parents["dpo"] == open_artifact(found["model"]).hash
    assert run(["run", "tiny.yaml"]) == 0
    assert f"yaongi chat {found['model']}" in capsys.readouterr().out
