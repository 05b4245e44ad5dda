"""``yaongi plan`` and ``--dry-run`` as a person types them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from yaongi.cli.main import run

RECIPES = Path(__file__).parents[3] / "recipes"


def said(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    """The JSON of a command."""
    assert run([*arguments, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_a_preset_is_planned(capsys: pytest.CaptureFixture[str]) -> None:
    found = said(capsys, "plan", "26m", "--device", "t4", "--tokens", "15B", "--price", "0.5USD/h")
    assert found["params_total"] == 25_172_352 == found["params_active"]
    assert found["tokens"] == 15_000_000_000
    assert found["usd"] == pytest.approx(found["hours"] * 0.5)
    assert found["fits"] and found["memory"]["peak"] < found["memory"]["usable"]


def test_overrides_reach_the_plan(capsys: pytest.CaptureFixture[str]) -> None:
    found = said(capsys, "plan", "5m", "pretrain.seq_len=4096", "pretrain.optimizer=adamw")
    assert found["seq_len"] == 4096 and found["optimizer"] == "adamw"


@pytest.mark.parametrize("budget", ["tokens=1M", "minutes=20", "steps=7"])
def test_a_budget_replaces_the_recipes(
    budget: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for given in ("tokens: 2M", "minutes: 10"):
        path = tmp_path / "r.yaml"
        path.write_text(
            f"data: {{sources: [synthetic]}}\npretrain: {{model: 26m, {given}}}\n"
            "sft: {data: {sources: [synthetic]}, train: {epochs: 1}}\n"
        )
        said(capsys, "run", str(path), "--dry-run", f"pretrain.{budget}", f"sft.train.{budget}")
    both = ["pretrain.tokens=1M", "pretrain.minutes=5"]
    wrong = said(capsys, "run", str(path), "--dry-run", *both, code=2)
    assert "not both tokens and minutes" in wrong["error"]["message"]


def test_a_person_reads_a_table_and_a_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", "0.5b-a0.1b", "--device", "t4", "pretrain.micro_batch=256"]) == 0
    text = capsys.readouterr().out
    assert "assumed, not measured" in text and "₩" in text
    assert "It does not fit. Add: pretrain.micro_batch=" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["26n"], "Did you mean '26m'?"),
        (["26m", "--device", "h10"], "Did you mean 'h100'?"),
        (["26m", "--price", "cheap"], "2.39USD/h"),
        (["26m", "--tokens", "15X"], "15B"),
        (["recipes/nothing.yaml"], "There is no recipe"),
        (["26m", "pretrain.sequ_len=1"], "seq_len"),
        (["26m", "pretrain.lr=1e-3"], "Did you mean 'pretrain.optimizer.lr'?"),
        (
            ["26m", "pretrain.model={preset: 26m, pattern: M(*}"],
            "error[config]: pretrain.model: pattern: The pattern M(* is broken",
        ),
        (
            ["26m", "pretrain.model={preset: 26m, attention: {heads: 1}}"],
            "pretrain.model.attention.heads is not a setting",
        ),
        (["h100"], "yaongi plan 5m --device h100"),
    ],
)
def test_what_cannot_be_planned(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert run(["plan", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["run", "pretrain"])
def test_a_dry_run_writes_nothing(
    verb: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = str(RECIPES / "3090-64m.yaml")
    found = said(capsys, verb, recipe, "--dry-run", "--out", str(tmp_path / "out"))
    assert found["params_built"] == found["params_total"] == 63_912_192
    assert list(tmp_path.iterdir()) == []
