"""``yaongi grpo``: a recipe, a reward of the user's own beside it, and what goes wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import tiny_grpo

import yaongi
from yaongi.cli.main import run
from yaongi.core.artifact import open_artifact

REWARD = """
from yaongi.tune.rewards import Reward

class Short(Reward):
    kind: str = "my_rewards:Short"

    def score(self, sample):
        return 1 / (1 + len(sample.text))
"""
RECIPE: dict[str, Any] = {
    "grpo": {
        "prompts": "prompts.jsonl",
        "train": {
            "rewards": ["my_rewards:Short", {"kind": "arithmetic", "weight": 2}],
            "prompts": 2,
            "group_size": 3,
            "max_tokens": 6,
            "seq_len": 64,
            "steps": 2,
        },
    },
}


@pytest.fixture
def at_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model, questions, a reward and a recipe."""
    tiny_grpo.base(tmp_path)
    tiny_grpo.prompts(tmp_path)
    (tmp_path / "my_rewards.py").write_text(REWARD, "utf-8")
    (tmp_path / "sums.yaml").write_text(json.dumps(RECIPE), "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("YAONGI_DATA", str(tmp_path))
    return tmp_path


def test_a_recipe_with_a_reward_of_ones_own(
    at_work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["grpo", "sums.yaml", "--model", "base", "--out", "tuned", "--json"]
    assert run(command) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["kind"] == "grpo" and told["counts"]["rollouts"] == 2
    assert 0 < told["metrics"]["reward/Short"] <= 1 and told["metrics"]["reward/arithmetic"] == 0
    made = open_artifact(at_work / "tuned", "grpo")
    assert len(list((made.path / "rollouts").iterdir())) == 2
    assert yaongi.load(made.path).chat([{"role": "user", "content": "1 더하기 1은?"}]) is not None
    assert run(command) == 0  # done already
    assert open_artifact(at_work / "tuned").manifest.created == made.manifest.created


@pytest.mark.parametrize(
    ("override", "slug", "message"),
    [
        ("grpo.train.rewards=[my_reward:Short]", "config", "cannot be imported"),
        ("grpo.train.rewards=[python_tests]", "reward", "no column tests or test_list"),
        ("grpo.prompts=missing.jsonl", "data", "Did you mean"),
        ("grpo.train.group_sise=4", "config", "Did you mean .*group_size"),
        ("grpo.data={sources: [a.jsonl]}", "config", "give one of data"),
        ("grpo=null", "config", "has no section grpo"),
    ],
)
def test_what_is_wrong_is_said(
    at_work: Path, capsys: pytest.CaptureFixture[str], override: str, slug: str, message: str
) -> None:
    command = ["grpo", "sums.yaml", override, "--model", "base", "--out", "tuned", "--json"]
    assert run(command) == 2
    error = json.loads(capsys.readouterr().out.splitlines()[-1])["error"]
    assert error["slug"] == slug and re.search(message, error["message"]), error


def test_questions_of_a_corpus_with_the_answers_it_had(
    at_work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sums = "{sources: [{kind: synthetic, math: 20KB, story: 0, code: 0, qa: 0, chat: 0}]}"
    changes = ["grpo.prompts=null", f"grpo.data={sums}", "grpo.train.rewards=[arithmetic]",
               "grpo.train.seq_len=256", "model=base"]  # fmt: skip
    assert run(["grpo", "sums.yaml", *changes, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["counts"]["prompts"] > 50 and told["metrics"]["reward/arithmetic"] == 0
    made = open_artifact(told["path"])
    assert [p.kind for p in made.manifest.parents] == ["base", "corpus"]
    assert made.path == Path("runs/sums/model/grpo")
