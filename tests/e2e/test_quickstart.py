"""The newcomer's command, with a minute to spend: everything is made, scored and ready to chat."""

import json
from pathlib import Path

import pytest

import yaongi
from yaongi.cli.main import run
from yaongi.core.artifact import open_artifact, trace

TASKS = {"add", "sub", "story_qa", "function"}


@pytest.mark.serial
def test_one_minute(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["quickstart", "--minutes", "1", "--out", "quick", "--json"]) == 0
    shown = capsys.readouterr()
    result = json.loads(shown.out)
    assert result["metrics"].keys() >= TASKS
    scores = {score["name"]: score for score in result["report"]["scores"]}
    assert all(scores[task]["baseline_name"] == "majority answer" for task in TASKS)
    assert scores["bpb/story"]["baseline_name"] == "xz -9"
    assert len(result["answers"]) == 3
    assert "pretraining" in shown.err

    model = yaongi.load(result["model"])
    assert isinstance(model.chat([{"role": "user", "content": "안녕?"}], max_tokens=5), str)
    kinds = {node.kind for _depth, node in trace(result["model"])}
    assert kinds == {"sft", "base", "shards", "tokenizer", "corpus", "source"}
    weights = open_artifact(result["model"]).path / "model.safetensors"
    before = weights.stat().st_mtime_ns

    assert run(["quickstart", "--minutes", "1", "--out", "quick"]) == 0  # everything is there
    assert weights.stat().st_mtime_ns == before
    assert "yaongi chat quick/5m/sft" in capsys.readouterr().out
