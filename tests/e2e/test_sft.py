"""Fine-tuning as a user meets it: a model given by its folder, stages one after another, and what
is said about the conversations."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import foreign_road
import foreign_tokenizers
import pytest
import tiny

import yaongi
from yaongi.cli.main import run
from yaongi.core.artifact import Artifact, open_artifact
from yaongi.core.runlog import read_metrics

TRAIN: dict[str, Any] = {
    "steps": 2, "batch_tokens": 256, "seq_len": 128, "precision": "fp32", "compile": "off",
    "device": "cpu",
}  # fmt: skip
ITEM = "달빛이 밝은 밤에 고양이 열두 마리가 기와지붕 위에서 무엇을 하고 있었는지 짧게 적어 보세요."


def talk(question: str, answer: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question},
                         {"role": "assistant", "content": answer}]}  # fmt: skip


FIRST = [
    *(talk(f"{i} 더하기 {i}는?", f"{2 * i}입니다.") for i in range(30)),
    talk("3 더하기 3은?", "6!"),
    talk("3 더하기 3은?", "여섯."),  # another answer to the same
    talk("5 더하기 5는?", "10입니다."),  # a copy
    talk(ITEM, "자고 있었어요."),  # an evaluation item
    *(talk(f"길게 말해 줘. {i}", "네! " * 200) for i in range(4)),  # longer than a row
    {"messages": [{"role": "user", "content": "아무도 없나요?"}]},  # nobody answers
    {"messages": [{"role": "assistant", "content": "먼저"}, {"role": "user", "content": "안녕"}]},
]
NEXT = [{"prompt": f"{i}번 고양이?", "completion": f"야옹 {i}"} for i in range(30)]


def section(name: str, **changes: Any) -> dict[str, Any]:
    source = {"path": f"{name}.jsonl", "domain": "chat", "licence": "CC0-1.0"}
    return {"data": {"root": "texts", "sources": [source], "val_fraction": 0.1, **changes},
            "train": TRAIN}  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    folder = tmp_path_factory.mktemp("base")
    return tiny.base(folder / "base", tiny.road(folder / "road")["tokenizer"], tiny.lm(std=0.02))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("YAONGI_DATA", raising=False)
    (tmp_path / "texts").mkdir()
    for name, rows in {"first": FIRST, "next": NEXT, "held": [{"prompt": ITEM}]}.items():
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (tmp_path / f"texts/{name}.jsonl").write_text(lines, "utf-8")
    filters = [{"kind": "decontaminate", "against": ["held.jsonl"]}]
    first = section("first", filters=filters)
    recipe = {"sft": {**first, "then": section("next")}, "eval": {"tasks": [{"kind": "bpb"}]}}
    (tmp_path / "two.yaml").write_text(json.dumps(recipe), "utf-8")
    (tmp_path / "one.yaml").write_text(json.dumps({"sft": first}), "utf-8")
    return tmp_path


def test_two_stages_of_a_given_model_and_what_is_said(
    place: Path, base: Artifact, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["run", "two.yaml", f"model={base.path}", "--out", "out", "--json"]
    assert run(command) == 0
    said = capsys.readouterr()
    told = json.loads(said.out)
    assert told["model"] == "out/model/sft-2" and "bpb/chat" in told["metrics"]
    first, last = (open_artifact(f"out/model/{name}") for name in ("sft", "sft-2"))
    assert [p.kind for p in last.manifest.parents] == ["sft", "shards"]
    assert last.manifest.parents[0].hash == first.hash
    assert first.manifest.counts["packing"]["too_long"] >= 3
    for line in (
        "dropped 2: 1 'assistant' cannot come first, 1 no answer to learn from",
        "dropped 1: 1 evaluation item",
        "dropped 1: 1 copy",
        "1 asks what another one asks",
        f"{first.manifest.counts['packing']['too_long']} left out because longer",
        "data examples out/chat-corpus",
    ):
        assert line in said.err, line
    assert run(command) == 0  # everything is there
    assert open_artifact("out/model/sft-2").manifest.created == last.manifest.created


def test_examples_of_what_was_dropped(
    place: Path, base: Artifact, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["sft", "one.yaml", "--model", str(base.path), "--out", "made"]) == 0
    capsys.readouterr()
    assert run(["data", "examples", "runs/one/chat-corpus"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"decontaminate: evaluation item \(1\)\n  \[first.jsonl:\d+\] 달빛이", said)
    assert "split: asks what another one asks (1)\n" in said and "    ~ 3 더하기 3은?" in said
    assert "아무도 없나요?" in said
    assert run(["data", "examples", "runs/one/chat-corpus", "--reason", "copy", "--json"]) == 0
    groups = json.loads(capsys.readouterr().out)["groups"]
    assert [(g["step"], g["documents"], len(g["examples"])) for g in groups] == [
        ("duplicates", 1, 1)
    ]
    assert run(["data", "examples", "runs/one/chat-corpus", "--reason", "nothing"]) == 2
    assert "There is: " in capsys.readouterr().err


def test_a_tuned_model_that_moved_goes_on(place: Path, base: Artifact) -> None:
    """Neither the base nor the tokenizer it learnt with is where it was: the model has a copy."""
    assert run(["sft", "one.yaml", "--model", str(base.path), "--out", "made"]) == 0
    shutil.move("made", "elsewhere")
    manifest = json.loads(Path("elsewhere/manifest.json").read_text())
    moved = json.dumps(manifest).replace(str(base.path.parent), "/nowhere")
    Path("elsewhere/manifest.json").write_text(moved)
    assert run(["sft", "two.yaml", "--model", "elsewhere", "--out", "again"]) == 0
    trained = [p.path for p in open_artifact("again").manifest.parents]
    assert trained == ["runs/two/model/sft", "runs/two/chat-2-shards"]
    assert open_artifact(trained[0]).manifest.parents[0].path == "elsewhere"


def test_an_imported_model_is_tuned(place: Path, tmp_path: Path) -> None:
    make, template = foreign_tokenizers.make, foreign_tokenizers.LLAMA_LIKE
    imported = foreign_road.road(tmp_path / "foreign", make, template)["base"]
    assert run(["sft", "one.yaml", "--model", str(imported.path), "--out", "made"]) == 0
    losses = [row["loss"] for row in read_metrics(Path("made"))]
    assert losses and open_artifact("made").manifest.parents[0].hash == imported.hash
    assert isinstance(yaongi.load("made").chat([{"role": "user", "content": "?"}]), str)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sft", "one.yaml"], "No model to tune: give --model DIR, or model in the recipe."),
        (["run", "one.yaml", "pretrain={model: 5m, steps: 1}"], "a recipe that makes a model"),
        (["run", "one.yaml", "model=nowhere"], "nowhere is not a yaongi artifact"),
        (["pretrain", "one.yaml"], "No model to tune"),
        (["data", "build", "one.yaml"], "has no section data"),
        (["sft", "two.yaml", "sft.then.train.stepz=1"], "sft.then.train.stepz is not a setting"),
    ],
)
def test_mistakes(
    place: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert run(words) == 2
    assert message in capsys.readouterr().err
