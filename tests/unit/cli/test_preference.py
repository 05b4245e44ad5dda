"""``yaongi dpo`` and ``yaongi reward`` from a recipe and a model, as a person types them."""

import json

import pytest
import tiny_pairs

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
    command = ["dpo", str(made["recipe"]), "--model", str(made["base"].path), "--out", "out"]
    assert run([*command, "dpo.train.loss.tau=0.2", "--json"]) == 0
    found = told(capsys)
    assert (found["kind"], found["counts"]["steps"]) == ("dpo", 2)
    assert open_artifact("out").manifest.config["loss"] == {"kind": "ipo", "tau": 0.2}
    assert open_artifact("runs/tiny/dpo-pairs", "pairs")
    assert run([*command, "dpo.train.loss.tau=0.2"]) == 0  # already done
    assert "Held out: the chosen answer wins in" in capsys.readouterr().out
    assert run([*command, "dpo.train.loss.beta=1"]) == 2
    assert "dpo.train.loss.beta is not a setting" in capsys.readouterr().err


def test_reward(made, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ["reward", "train", str(made["recipe"]), "--model", str(made["base"].path)]
    assert run([*command, "--json"]) == 0
    trained = told(capsys)
    judge = ["reward", "evaluate", trained["path"], "runs/tiny/reward-pairs"]
    assert run([*judge, "--json"]) == 0
    found = told(capsys)
    assert found["accuracy"] == trained["metrics"]["val_accuracy"]
    assert found["low"] <= found["accuracy"] <= found["high"]
    assert run(judge) == 0
    assert "The chosen answer gets more in" in capsys.readouterr().out
    assert run(["chat", trained["path"]]) == 2
    assert "is a 'reward' artifact" in capsys.readouterr().err


def test_a_recipe_without_the_section(made, capsys):
    recipe = json.loads(made["recipe"].read_text())
    del recipe["dpo"]
    other = made["recipe"].with_name("other.yaml")
    other.write_text(json.dumps(recipe))
    assert run(["dpo", str(other), "--model", str(made["base"].path)]) == 2
    assert "has no section dpo" in capsys.readouterr().err
