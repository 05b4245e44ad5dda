"""The newcomer's command, with a minute to spend: everything is made, scored and ready to chat."""

import io
import json
import re
import shlex
from pathlib import Path

import pytest

import yaongi
from yaongi.cli.main import run
from yaongi.core.artifact import open_artifact, trace

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
TASKS = {"add", "sub", "story_qa", "function"}


@pytest.mark.serial
def test_one_minute(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["quickstart", "--minutes", "1", "--json"]) == 0
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

    assert run(["quickstart", "--minutes", "1"]) == 0  # everything is there
    assert weights.stat().st_mtime_ns == before
    assert "yaongi chat runs/quickstart/5m/sft" in capsys.readouterr().out
    use_as_the_readme_says(capsys, monkeypatch)


def use_as_the_readme_says(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its chat command and its Python, word for word, on the model just made."""
    chat = re.search(r"^\.venv/bin/yaongi (chat .*)$", README, re.MULTILINE)
    python = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert chat and python
    monkeypatch.setattr(
        "sys.stdin", io.TextIOWrapper(io.BytesIO("안녕?\n/history\n/quit\n".encode()))
    )
    assert run(shlex.split(chat[1])) == 0
    assert "user: 안녕?" in capsys.readouterr().out
    exec(python[1], {})
    assert capsys.readouterr().out.strip()
    model = "runs/quickstart/5m/sft"
    assert run(["generate", model, "--prompt", "옛날 어느 마을에", "--max-tokens", "5"]) == 0
    assert run(["eval", model, "--tasks", "bpb", "--out", "runs/again"]) == 0
    assert "bpb/story" in capsys.readouterr().out
    assert run(["trace", model]) == 0
    assert "synthetic" in capsys.readouterr().out
