"""Learning from others on the command line: an imported teacher, and one behind an address."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import foreign_road
import foreign_tokenizers
import loopback
import pytest
import tiny

import yaongi
from yaongi.cli.main import run
from yaongi.core.artifact import Artifact, open_artifact
from yaongi.interop.hf import import_hf

STUDENT = {
    "vocab_size": 344,
    "d_model": 16,
    "pattern": "*-",
    "attention": {"n_heads": 2, "n_kv_heads": 1, "head_dim": 8, "rope_theta": 1e4},
    "mlp": {"d_ff": 32},
}
TRAIN = {"model": STUDENT, "steps": 3, "batch_tokens": 256, "seq_len": 64, "eval_every": 3}
RECIPE: dict[str, Any] = {
    "data": {
        "root": "texts",
        "sources": [{"path": "ko.jsonl", "domain": "ko", "licence": "CC0-1.0"}],
        "val_fraction": 0.2,
    },
    "mix": {"ko": 1.0},
    "distill": {"train": TRAIN},
    "eval": {"tasks": [{"kind": "bpb", "max_tokens": 500, "xz_prime_bytes": 0}]},
}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A random model of Llama's kind with more rows than its tokenizer has ids."""
    make, template = foreign_tokenizers.make, foreign_tokenizers.LLAMA_LIKE
    folder = tmp_path_factory.mktemp("theirs")
    foreign_road.imported(folder, make, template)
    (folder / "theirs/LICENSE").write_text("LLAMA 3.1 COMMUNITY LICENSE AGREEMENT", "utf-8")
    return import_hf(folder / "theirs", folder / "under-licence")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, teacher: Artifact) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("YAONGI_DATA", raising=False)
    (tmp_path / "texts").mkdir()
    lines = [json.dumps({"text": f"{tiny.TEXTS[i % 3]} {i}번째"}) + "\n" for i in range(60)]
    (tmp_path / "texts/ko.jsonl").write_text("".join(lines), "utf-8")
    recipe = {**RECIPE, "distill": {"teacher": str(teacher.path), "train": TRAIN}}
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe), "utf-8")
    return tmp_path


def test_an_imported_model_teaches_one_from_nothing(
    place: Path, teacher: Artifact, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["run", "recipe.yaml", "--json"]) == 0
    capsys.readouterr()
    made = open_artifact("runs/recipe/model/distill", "base")
    assert [p.hash for p in made.manifest.parents][1] == teacher.hash
    assert "val_bpb/ko" in made.manifest.metrics
    assert open_artifact("runs/recipe/model/report").manifest.metrics["bpb/ko"] > 0
    assert yaongi.load(made.path).context_len == 64
    more = ["distill.train.top_k=8", "distill.train.divergence=jsd", "--out", "more"]
    assert run(["distill", "recipe.yaml", "--model", str(made.path), *more]) == 0
    assert "begins with “Llama”" in capsys.readouterr().out  # what its teacher's licence asks
    more_made = open_artifact("more")
    assert more_made.manifest.licences == ["CC0-1.0", "llama3.1"]
    assert (more_made.path / "LICENSE").is_file()
    kinds = [p.kind for p in more_made.manifest.parents]
    assert kinds == ["base", "shards", "base"] and list(place.glob("teacher-*"))


def test_conversations_that_are_too_long_are_told(
    place: Path, teacher: Artifact, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"instruction": f"{i}?", "output": "네. " * (200 if i == 3 else 2)} for i in range(12)]
    (place / "texts/chat.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), "utf-8")
    source = {"path": "chat.jsonl", "domain": "chat", "licence": "CC0-1.0"}
    data = {"root": "texts", "sources": [source], "val_fraction": 0}
    train = {**TRAIN, "steps": 1, "eval_every": 0}
    recipe = {"distill": {"teacher": str(teacher.path), "data": data, "train": train}}
    (place / "talk.yaml").write_text(json.dumps(recipe), "utf-8")
    assert run(["distill", "talk.yaml"]) == 0
    assert "1 left out because longer" in capsys.readouterr().err


def test_what_does_not_fit_is_said_before_any_work(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, template = foreign_tokenizers.make_sentencepiece, foreign_tokenizers.LLAMA2
    other = foreign_road.imported(tmp_path / "other", make, template)
    for arguments, words in (
        (["--model", str(other.path)], "have different tokenizers"),
        (["distill.train.model.vocab_size=20"], "but the model only 20"),
        (["--teacher", "nowhere"], "there is no such folder"),
        (["distill.train.model=null"], "needs one student"),
    ):
        assert run(["distill", "recipe.yaml", *arguments]) == 2
        message = capsys.readouterr().err
        assert words in message and "Traceback" not in message
    assert not Path("runs").exists()


def test_a_served_teacher_answers_the_prompts_of_a_recipe(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("openai")
    rows = [json.dumps({"text": f"{i} 더하기 {i}는?"}) + "\n" for i in range(12)]
    (place / "texts/prompts.jsonl").write_text("".join(rows), "utf-8")
    recipe = json.loads((place / "recipe.yaml").read_text("utf-8"))
    prompts = {"root": "texts", "sources": [{"path": "prompts.jsonl", "licence": "CC0-1.0"}]}
    with loopback.serve(lambda q, _: loopback.completion(f"{q} 답은 비밀입니다.")) as served:
        whom = {"url": served.url, "model": "big", "licence": "Apache-2.0"}
        recipe["ask"] = {"prompts": {**prompts, "val_fraction": 0.2}, "teacher": whom}
        (place / "recipe.yaml").write_text(json.dumps(recipe), "utf-8")
        assert run(["data", "ask", "recipe.yaml", "--out", "talk", "--json"]) == 0
        asked = len(served.asked)
        assert run(["data", "ask", "recipe.yaml", "--out", "talk", "--json"]) == 0
    assert asked == len(served.asked) == 12
    told = json.loads(capsys.readouterr().out.splitlines()[0])
    assert told["kind"] == "corpus"
    talk = open_artifact("talk", "corpus")
    assert talk.manifest.licences == ["Apache-2.0", "CC0-1.0"]
    assert talk.manifest.counts["domains"]["chat"]["train"]["forms"] == {"chat": 10}
    assert run(["data", "ask", "recipe.yaml", "ask.teacher.url=http://127.0.0.1:9/v1",
                "ask.teacher.retries=0", "--out", "other"]) != 0  # fmt: skip
